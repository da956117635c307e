// The picture in the page: a scene as elements of SVG, whose texts and states change with the moment.
//
//     const stage = chainruleStage.over(svg, {choose, toggle, describe})
//     stage.draw(scene, context)      a new scene
//     stage.tell(context, moment)     the same scene at a moment
//
// choose(node) and toggle(group) are called when a box is clicked or gets Enter; describe(box) gives what a screen reader says.
"use strict";

globalThis.chainruleStage = (() => {
  const { drawn } = chainruleDom;
  const { counted } = chainruleWords;

  function over(svg, calls) {
    const layer = drawn("g", { class: "layer" });
    svg.append(layer);
    const stage = { svg, layer, camera: chainruleCamera.over(svg, layer), boxes: new Map(), edges: [], places: new Map() };
    stage.draw = (scene, context) => draw(stage, scene, context, calls);
    stage.tell = (context, moment) => tell(stage, context, moment, calls);
    stage.place = (id) => stage.places.get(id);
    stage.mark = (ids) => stage.boxes.forEach(({ element }, id) => element.classList.toggle("trail", ids.has(id)));
    svg.addEventListener("focusin", ({ target }) => {
      const id = target.closest?.("[data-id]")?.dataset.id;
      if (id && stage.places.has(id) && target.matches(":focus-visible")) stage.camera.follow(stage.places.get(id));
    });
    return stage;
  }

  // ---- a new scene --------------------------------------------------------------------------------------------------

  function draw(stage, scene, context, calls) {
    const focused = document.activeElement?.closest?.("svg [data-id]")?.dataset.id;
    stage.boxes.clear();
    stage.places.clear();
    stage.edges = [];
    stage.layer.replaceChildren(sceneElement(stage, scene, context, calls, 0, 0));
    stage.camera.picture(scene.placed.width, scene.placed.height);
    if (focused) stage.boxes.get(focused)?.element.focus({ preventScroll: true });
  }

  // x and y: where the scene begins in the whole picture, for whoever looks for a box in it.
  function sceneElement(stage, scene, context, calls, x, y) {
    const opened = new Map(scene.frames.map((frame) => [`g${frame.group}`, frame]));
    const made = drawn("g", { class: "scene" });
    for (const frame of scene.frames) made.append(frameElement(stage, frame, context, calls));
    const edges = scene.view.edges.map((edge, i) => edgeElements(edge, scene.placed.edges[i]));
    stage.edges.push(...edges);
    made.append(...edges.flatMap((entry) => entry.elements.slice(0, 1)), ...edges.flatMap((entry) => entry.elements.slice(1)));
    for (const box of scene.view.nodes) {
      const { x: bx, y: by, width, height } = scene.placed.nodes[box.id];
      // An outside box may be there in several frames; only what belongs to the graph can be found again.
      const place = { left: x + bx - width / 2, top: y + by - height / 2, width, height };
      if (box.kind !== "outside") stage.places.set(box.id, place);
      if (!opened.has(box.id)) made.append(boxElement(stage, box, scene.placed.nodes[box.id], calls));
    }
    for (const frame of scene.frames) {
      const inner = sceneElement(stage, frame.scene, context, calls, x + frame.x, y + frame.y);
      inner.setAttribute("transform", `translate(${frame.x} ${frame.y})`);
      made.append(inner);
    }
    return made;
  }

  function frameElement(stage, frame, { tree }, calls) {
    const { left, top, width, height } = frame.box;
    const { name } = tree.groups[frame.group];
    const close = () => calls.toggle(frame.group);
    const header = drawn(
      "g",
      {
        class: "header",
        role: "button",
        tabindex: "-1",
        "data-id": `g${frame.group}`,
        "aria-expanded": "true",
        "aria-label": `${name}, open; Enter closes it`,
        onclick: guarded(stage, close),
      },
      drawn("rect", { x: left, y: top, width, height: chainruleScene.HEADER, rx: 8 }),
      drawn("text", { x: left + 10, y: top + 17 }, `− ${name}`),
    );
    stage.boxes.set(`g${frame.group}`, {
      element: header,
      box: { id: `g${frame.group}`, kind: "frame", group: frame.group },
      slots: [],
      act: close,
    });
    return drawn("g", { class: "frame" }, drawn("rect", { x: left, y: top, width, height, rx: 8 }), header);
  }

  // An edge, and its label, which stands over all edges.
  function edgeElements(edge, { points, label }) {
    const lines = drawn(
      "g",
      { class: edge.outer ? "edge outer" : "edge" },
      drawn("g", { class: "there" }, ...line(points)),
      drawn("g", { class: "back" }, ...line(points.toReversed())), // for a gradient
    );
    return { edge, elements: edge.label && label ? [lines, plate(edge, label)] : [lines] };
  }

  const line = (points) => [
    drawn("path", { class: "wire", d: chainruleDraw.path(points) }),
    drawn("path", { class: "head", d: chainruleDraw.arrow(points) }),
  ];

  // A label on a plate, so that it can be read where it crosses lines.
  function plate({ label, edge }, [x, y]) {
    const width = chainruleDraw.textWidth(label, 11) + 8;
    return drawn(
      "g",
      { class: edge === undefined ? "edge count" : "edge derivative" },
      drawn("rect", { class: "plate", x: x - width / 2, y: y - 7, width, height: 14, rx: 3 }),
      drawn("text", { class: "slope", x, y: y + 4 }, label),
    );
  }

  function boxElement(stage, box, place, calls) {
    const { outline, texts } = chainruleDraw.shapes(box.kind === "outside" ? { ...box, kind: "op" } : box, place);
    const act =
      box.group !== undefined ? () => calls.toggle(box.group) : box.node !== undefined ? () => calls.choose(box.node) : null;
    const roles = rolesOf(box);
    const up = box.kind === "group" ? 5 : 0; // over the progress
    const slots = texts.map(({ x, y, text }, i) => drawn("text", { x, y: y - up, class: roles[i] }, text));
    const element = drawn("g", { class: `node ${box.kind}`, "data-id": box.kind === "outside" ? null : box.id });
    if (box.kind === "group")
      element.append(drawn("rect", { class: "behind", ...outline, x: outline.x + 3, y: outline.y + 3 }));
    element.append(drawn("rect", { class: "outline", ...outline, ry: outline.rx }));
    if (box.rows?.[0].kind === "title")
      element.append(drawn("path", { class: "bar", d: `M${outline.x},${texts[0].y + 5}h${outline.width}` }));
    if (box.kind === "group")
      element.append(
        ...progressBar(outline),
        drawn("text", { class: "plus", x: outline.x + outline.width - 11, y: outline.y + 16 }, "+"),
      );
    element.append(...slots);
    if (act) {
      element.addEventListener("click", guarded(stage, act));
      if (box.kind !== "op")
        for (const [name, value] of [
          ["role", "button"],
          ["tabindex", "-1"],
        ])
          element.setAttribute(name, value);
    }
    if (box.kind !== "outside") stage.boxes.set(box.id, { element, box, slots, act });
    return element;
  }

  function progressBar({ x, y, width, height }) {
    const at = { x: x + 10, y: y + height - 11, height: 5, rx: 2.5 };
    return [
      drawn("rect", { class: "track", ...at, width: width - 20 }),
      drawn("rect", { class: "progress", ...at, width: 0, "data-full": width - 20 }),
    ];
  }

  // What each text of a box is, in their order.
  function rolesOf(box) {
    if (box.rows) return box.rows.map((row) => row.kind);
    const title = chainruleDraw.plainLines(box.title).map(() => "title");
    return [...title, ...box.lines.map(() => "about")];
  }

  const guarded = (stage, act) => () => {
    if (!stage.svg.dragged) act();
  };

  // ---- a moment -----------------------------------------------------------------------------------------------------

  function tell(stage, context, moment, calls) {
    const { graph, passes, tree } = context;
    const now = chainruleTimeline.at(graph, passes.timeline, moment);
    for (const entry of stage.boxes.values()) {
      const { box, element } = entry;
      if (box.kind === "value" || box.kind === "constant")
        tellValue(entry, chainruleBoxes.value(graph, passes, box.node, moment));
      if (box.kind === "group") tellGroup(entry, chainruleBoxes.closed(graph, passes, tree, box.group, moment));
      if (box.kind === "op")
        setState(element, `node op ${now.node === box.node ? "current" : ""} ${opState(passes, box.node, moment, now)}`);
      if (box.kind !== "op" && box.kind !== "frame") element.setAttribute("aria-label", calls.describe(box, moment));
    }
    markOther(stage, passes, now);
    for (const entry of stage.edges) tellEdge(entry, context, moment, now);
  }

  function opState(passes, n, moment, now) {
    if (now.steps < 0) return passes.timeline.forward[n] <= moment ? "" : "waiting";
    return passes.timeline.backward[n] >= 0 && passes.timeline.backward[n] <= moment ? "done" : "";
  }

  function tellValue({ element, slots, box }, { rows, state }) {
    slots.forEach((slot, i) => {
      setText(slot, rows[i].text);
      setState(slot, rows[i].kind);
    });
    setState(element, `node ${box.kind} ${state}`);
  }

  function tellGroup({ element, slots, box }, { title, lines, state, share }) {
    const rows = [...title.split("\n"), ...lines];
    slots.forEach((slot, i) => setText(slot, rows[i] ?? ""));
    setState(element, `node group ${state}`);
    const bar = element.querySelector(".progress");
    bar.setAttribute("width", share * Number(bar.dataset.full));
    element.setAttribute("aria-expanded", "false");
    element.dataset.group = box.group;
  }

  // Which node the mistaken pass is at.
  function markOther(stage, { other }, now) {
    const at = other && now.phase === "backward" ? other.order[now.steps - 1] : -1;
    const n = at === now.node ? -1 : at;
    for (const { box, element } of stage.boxes.values())
      element.classList.toggle("astray", box.node === n && box.kind !== "op");
  }

  // An edge is lit while its node is at work; then the local derivative on it is known.
  function tellEdge({ edge, elements }, { graph, passes }, moment, now) {
    const n = edge.edge !== undefined ? graph.consumer[edge.edge] : edge.node;
    const active = n !== undefined && n === now.node && now.phase !== "seed";
    const passed = n !== undefined && passes.timeline.backward[n] >= 0 && passes.timeline.backward[n] <= moment;
    const flows = edge.edge === undefined || graph.flows[edge.edge] || now.phase === "forward";
    for (const { classList } of elements) {
      classList.toggle("active", active && flows);
      classList.toggle("backward", passed && flows);
      classList.toggle("cut", edge.edge !== undefined && edge.edge === passes.cut);
    }
  }

  function setText(slot, text) {
    if (slot.textContent !== text) slot.textContent = text;
  }

  function setState(element, classes) {
    const clean = classes.trim().replace(/ +/g, " ");
    if (element.getAttribute("class") !== clean) element.setAttribute("class", clean);
  }

  // How many boxes there are, for a screen reader.
  function summary(stage) {
    const kinds = [...stage.boxes.values()].map(({ box }) => box.kind);
    const count = (kind) => kinds.filter((each) => each === kind).length;
    const values = count("value") + count("constant");
    return [
      counted(values, "value"),
      count("group") ? counted(count("group"), "closed group") : "",
      count("frame") ? counted(count("frame"), "open group") : "",
    ]
      .filter((part) => part)
      .join(", ");
  }

  return { over, summary };
})();
