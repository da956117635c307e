// What is shown of a graph, and where: the nodes and closed groups of a group, and the open groups in frames of their own.
//
//     chainruleScene.build(graph, tree, passes, open)  ->  scene
//
// A scene has the view that chainruleDraw lays out, `placed` (what came of it), and `frames`, the scenes of the open groups in
// it with their places. Each group is laid out by itself, so opening one lays out what is in it and the few boxes around
// it; nothing that is closed is laid out. In a frame, what comes from outside and goes there has a small box at the border.
"use strict";

globalThis.chainruleScene = (() => {
  const { isLeaf, isConstant, row } = chainruleGraph;
  const { name, grouped, short } = chainruleWords;
  const HEADER = 26; // of a frame, for its name
  const EDGE = 6; // between a frame and what is in it
  const OUTSIDE = 12; // boxes for what is outside of a frame, on each side; more become one
  const FEW = 120; // boxes; where there are more, edges go without their local derivatives
  const MOST = 800; // boxes that are shown at once

  function build(graph, tree, passes, open) {
    const slopes = size(tree, open) <= FEW;
    return sceneOf({ graph, tree, passes, open, slopes, end: passes.timeline.total }, 0);
  }

  // The local derivative of an edge, which is its label.
  function slope(graph, e) {
    return graph.kind === "value" && graph.flows[e] ? `× ${short(graph.slope[e])}` : "";
  }

  function sceneOf(about, id) {
    const group = about.tree.groups[id];
    const item = itemsOf(about, group);
    const frames = new Map(
      group.children.filter((child) => about.open.has(child)).map((child) => [child, sceneOf(about, child)]),
    );
    const view = { direction: "LR", nodes: [], edges: [] };
    const edges = edgesOf(about, group, item);
    view.nodes.push(
      ...edges.outside.filter((box) => box.enters),
      ...boxesOf(about, group, frames),
      ...edges.outside.filter((box) => !box.enters),
    );
    view.edges.push(...edges.list);
    const placed = chainruleDraw.layout(view);
    return { group: id, view, placed, frames: [...frames].map(([child, scene]) => framed(child, scene, placed)) };
  }

  // A number for each node of a group: what it is part of here, a child group or itself; 0 outside.
  function itemsOf({ graph, tree }, group) {
    const item = new Int32Array(graph.count);
    for (const child of group.children) {
      const { from, to } = tree.groups[child];
      for (let k = from; k < to; k++) item[tree.order[k]] = -child;
    }
    for (const n of group.nodes) item[n] = n + 1;
    return item;
  }

  const boxId = (item) => (item < 0 ? `g${-item}` : `n${item - 1}`);

  // ---- boxes --------------------------------------------------------------------------------------------------------

  function boxesOf(about, group, frames) {
    const { tree } = about;
    const things = [
      ...group.children.map((child) => ({
        start: startOf(tree, child),
        boxes: [frames.has(child) ? frameBox(child, frames.get(child)) : closedBox(about, child)],
      })),
      ...group.nodes.map((n) => ({ start: n, boxes: nodeBoxes(about, n) })),
    ];
    return things.sort((a, b) => a.start - b.start).flatMap((thing) => thing.boxes);
  }

  function startOf(tree, id) {
    let least = Infinity;
    for (let k = tree.groups[id].from; k < tree.groups[id].to; k++) least = Math.min(least, tree.order[k]);
    return least;
  }

  function nodeBoxes({ graph, passes, end }, n) {
    const { rows } = chainruleBoxes.value(graph, passes, n, end);
    const lines = [rows.map((row) => row.text).join("\n")]; // one under the other, as the picture grows to the right
    const box = { id: `n${n}`, kind: isConstant(graph, n) ? "constant" : "value", title: "", lines, rows, node: n };
    return isLeaf(graph, n) ? [box] : [{ id: `n${n}op`, kind: "op", title: row(graph, n).symbol, lines: [], node: n }, box];
  }

  function closedBox({ graph, passes, tree, end }, id) {
    const { title, lines } = chainruleBoxes.closed(graph, passes, tree, id, end);
    const width =
      Math.max(
        ...title.split("\n").map((row) => BOLD * chainruleDraw.textWidth(row)),
        ...lines.map((row) => chainruleDraw.textWidth(row)),
      ) + 44;
    const height = 29 + 17 * (title.split("\n").length + lines.length - 1) + 18; // with room for the progress
    return { id: `g${id}`, kind: "group", title, lines, group: id, width, height };
  }

  const BOLD = 1.13; // how much wider bold type is

  function frameBox(id, scene) {
    return {
      id: `g${id}`,
      kind: "group",
      title: "",
      lines: [],
      group: id,
      width: scene.placed.width + 2 * EDGE,
      height: scene.placed.height + HEADER + 2 * EDGE,
    };
  }

  function framed(id, scene, placed) {
    const box = placed.nodes[`g${id}`];
    const [left, top] = [box.x - box.width / 2, box.y - box.height / 2];
    const x = left + (box.width - scene.placed.width) / 2;
    return { group: id, scene, box: { left, top, width: box.width, height: box.height }, x, y: top + HEADER + EDGE };
  }

  // ---- edges --------------------------------------------------------------------------------------------------------

  // The edges between boxes, those of groups once with their number, and boxes for what is outside.
  function edgesOf(about, group, item) {
    const { graph, tree } = about;
    const list = [];
    const counts = new Map(); // of edges that are drawn as one, by both ends in one number
    const [enters, leaves] = [new Map(), new Map()];
    const wide = 4 * graph.count;
    const join = (from, to) =>
      counts.set(
        (from + graph.count) * wide + to + graph.count,
        (counts.get((from + graph.count) * wide + to + graph.count) ?? 0) + 1,
      );
    const note = (found, x, part) => found.set(x, (found.get(x) ?? new Set()).add(part));
    for (let k = group.from; k < group.to; k++) {
      const n = tree.order[k];
      const own = item[n];
      if (own > 0 && !isLeaf(graph, n)) list.push({ from: `n${n}op`, to: `n${n}`, label: "", node: n });
      for (let e = graph.first[n]; e < graph.first[n + 1]; e++) {
        const source = item[graph.input[e]];
        if (source === own && own < 0) continue;
        if (!source) note(enters, graph.input[e], { to: own < 0 ? boxId(own) : `n${n}op`, e });
        else if (own < 0) join(source, own);
        else list.push({ from: boxId(source), to: `n${n}op`, label: about.slopes ? slope(graph, e) : "", edge: e });
      }
      for (let u = graph.useFirst[n]; u < graph.useFirst[n + 1]; u++) {
        const consumer = graph.consumer[graph.useEdge[u]];
        if (!item[consumer]) note(leaves, consumer, { from: boxId(own) });
      }
    }
    for (const [pair, count] of counts) {
      const [from, to] = [Math.floor(pair / wide), pair % wide].map((item) => boxId(item - graph.count));
      list.push({ from, to, label: count > 1 ? grouped(count) : "" });
    }
    const outside = [...incoming(about, enters, list), ...outgoing(about, leaves, list)];
    return { list, outside };
  }

  // Boxes for inputs from outside: each by name if they are few, else all as one.
  function incoming({ graph }, enters, list) {
    if (!enters.size) return [];
    const one = enters.size > OUTSIDE;
    const parts = new Map();
    for (const [x, uses] of enters) {
      const id = one ? "from" : `from${x}`;
      for (const { to, e } of uses) {
        const single = to.endsWith("op");
        const key = single ? `${id} ${e}` : `${id} ${to}`;
        if (!parts.has(key)) parts.set(key, { from: id, to, label: "", edge: single ? e : undefined, outer: true });
      }
    }
    list.push(...parts.values());
    if (one)
      return [{ id: "from", kind: "outside", title: `${grouped(enters.size)} values from outside`, lines: [], enters: true }];
    return [...enters.keys()].map((x) => ({
      id: `from${x}`,
      kind: "outside",
      title: name(graph, x),
      lines: [],
      enters: true,
      node: x,
    }));
  }

  function outgoing({ graph }, leaves, list) {
    if (!leaves.size) return [];
    const one = leaves.size > OUTSIDE / 2;
    const parts = new Set();
    for (const [consumer, uses] of leaves) for (const { from } of uses) parts.add(`${from} ${one ? "to" : `to${consumer}`}`);
    for (const pair of parts) {
      const [from, to] = pair.split(" ");
      list.push({ from, to, label: "", outer: true });
    }
    if (one)
      return [{ id: "to", kind: "outside", title: `to ${grouped(leaves.size)} nodes outside`, lines: [], enters: false }];
    return [...leaves.keys()].map((n) => ({
      id: `to${n}`,
      kind: "outside",
      title: `to ${name(graph, n)}`,
      lines: [],
      enters: false,
      node: n,
    }));
  }

  // ---- what is there ------------------------------------------------------------------------------------------------

  // The scene and those in its frames.
  function* within(scene) {
    yield scene;
    for (const frame of scene.frames) yield* within(frame.scene);
  }

  // The nodes behind each thing that is shown: one of a value, all of a closed group.
  function shown(tree, scene) {
    const found = [];
    for (const { view, frames } of within(scene)) {
      const opened = new Set(frames.map((frame) => frame.group));
      for (const box of view.nodes) {
        if (box.kind === "group" && !opened.has(box.group))
          found.push(tree.order.subarray(tree.groups[box.group].from, tree.groups[box.group].to));
        if (box.kind === "value" || box.kind === "constant") found.push([box.node]);
      }
    }
    return found;
  }

  // How many boxes would be shown if these groups were open.
  function size(tree, open) {
    const things = (id) => tree.groups[id].nodes.length + tree.groups[id].children.length;
    return [...open].reduce((sum, id) => sum + things(id), things(0));
  }

  return { build, within, shown, size, MOST, HEADER };
})();
