// The drawing of a graph: where its boxes and edges lie, and the SVG of them.
//
//     chainruleDraw.layout(view)  ->  {width, height, nodes: {id: {x, y, width, height}}, edges: [{points, label}]}
//     chainruleDraw.svg(view)     ->  "<svg ...>...</svg>", which stands alone
//
// A view holds nodes {id, kind: "value" | "op" | "constant" | "group", title, lines, state, width?, height?}, edges {from, to,
// label, state} and a direction: "LR", "RL", "TB" or "BT". x and y are the centre of a box; points go from border to border.
// Nodes come inputs first, and the edges into an operation in the order of its operands: they enter it in that order, the
// first on top. The same view gives the same picture, and a node more at the end leaves the others where they are. `shapes`,
// `path` and `arrow` are what a node and an edge are drawn with, for who draws them with other means than `svg`.
//
// It runs in a page and, without one, in V8: no document, nothing measured by a browser, nothing but the global `dagre`,
// which gives the first coordinates across the layers. Layers and their order are found here, as dagre knows no order of
// operands and would draw a line of its own for each use of a node.
"use strict";

globalThis.chainruleDraw = (() => {
  // Verdana has the widths of DejaVu Sans, so that one of the two gives the same picture on every machine.
  const FONT = { family: "DejaVu Sans, Verdana, sans-serif", size: 13, line: 17 };
  const SIZES = {
    padding: 9, // beside the text of a cell
    height: 29, // of a box of one line
    cell: 106, // least width of "data -3.0000": boxes of everyday numbers are equally wide
    corner: 3, // radius
    op: 29, // least diameter
    port: 8, // between the edges that enter an operation
    stem: 20, // from an operation to its result
    between: 18, // boxes of a layer
    lines: 10, // lines that pass a layer
    layer: 40, // least gap between layers
    steepest: 150, // widest gap that steep edges ask for
    arrow: 8, // length of a head
    margin: 12,
    label: 11, // font of an edge's label
    longest: 100, // characters of a line
    most: 12, // lines of a label
    deepest: 1000, // layers that dagre, which walks by recursion, is given
  };
  const STATES = {
    "": { fill: "#ffffff", op: "#e9eff8", stroke: "#3b4250", text: "#14171c", line: 1.1 },
    current: { fill: "#fff0bf", op: "#ffe08a", stroke: "#a85b00", text: "#14171c", line: 2.4 },
    done: { fill: "#e8f5ea", op: "#cfe9d4", stroke: "#2c7a3a", text: "#14171c", line: 1.1 },
    waiting: { fill: "#ffffff", op: "#f4f4f5", stroke: "#a9adb5", text: "#676c75", line: 1.1 },
    wrong: { fill: "#fdeaea", op: "#f9cfcf", stroke: "#bf2222", text: "#14171c", line: 2.0 },
  };
  const known = (state) => (Object.hasOwn(STATES, state ?? "") ? (state ?? "") : "");
  const look = (state) => STATES[known(state)];

  // ---- text ---------------------------------------------------------------------------------------------------------

  // Of the characters from " " to "~", in thousandths of the font's size.
  const ADVANCES = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636, 636,
    636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
    603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635,
    634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
  ];
  const WIDE = /[\p{Extended_Pictographic}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\uff00-\uff60]/u;

  function advance(character) {
    const usual = ADVANCES[character.codePointAt(0) - 32];
    if (usual !== undefined) return usual;
    if (/[\p{M}\u200b-\u200f\ufe00-\ufe0f]/u.test(character)) return 0;
    return WIDE.test(character) ? 1300 : 800;
  }

  function textWidth(text, size = FONT.size) {
    let sum = 0;
    for (const character of text) sum += advance(character);
    return (sum * size) / 1000;
  }

  // The lines of a text as a picture can show them: what cannot stand in an SVG file becomes U+FFFD.
  function plainLines(text) {
    const start = String(text ?? "").slice(0, 4 * SIZES.longest * SIZES.most).replace(/\r\n?/g, "\n").replaceAll("\t", " ");
    const lines = start.split("\n").map((line) => cut(line.replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "\ufffd")));
    return lines.length > SIZES.most ? [...lines.slice(0, SIZES.most - 1), "…"] : lines;
  }

  function cut(line) {
    const characters = Array.from(line);
    return characters.length > SIZES.longest ? characters.slice(0, SIZES.longest).join("") + "…" : line;
  }

  const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  const escaped = (text) => text.replace(/[&<>"']/g, (c) => ESCAPES[c]);

  // ---- boxes --------------------------------------------------------------------------------------------------------

  // The cells of a node, side by side: [{lines, width}], and the size of the whole.
  function measured(node, inputs, flat) {
    const title = node.title === "" || node.title == null ? [] : plainLines(node.title);
    const facts = (node.lines ?? []).map(plainLines);
    if (node.kind === "op") return measuredOp(title, inputs, flat);
    const texts = node.kind === "group" ? [[title, ...facts].flat()] : [...(title.length ? [title] : []), ...facts];
    const cells = texts.map((lines, i) => {
      const least = node.kind === "group" || (i === 0 && title.length) ? SIZES.height : SIZES.cell;
      return { lines, width: Math.max(least, ...lines.map((line) => textWidth(line) + 2 * SIZES.padding)) };
    });
    const natural = cells.reduce((sum, cell) => sum + cell.width, 0);
    const width = Math.max(natural, node.width ?? 0, SIZES.height);
    for (const cell of cells) cell.width *= width / natural;
    const rows = Math.max(1, ...cells.map((cell) => cell.lines.length));
    const air = node.kind === "group" ? 8 : 0;
    return { cells, width, height: Math.max(SIZES.height + air + (rows - 1) * FONT.line, node.height ?? 0) };
  }

  // An operation is as broad as its inputs need, on the side where they enter it.
  function measuredOp(title, inputs, flat) {
    const text = Math.max(0, ...title.map((line) => textWidth(line)));
    const breadth = (inputs - 1) * SIZES.port + 14;
    const height = Math.max(SIZES.op + (Math.max(1, title.length) - 1) * FONT.line, flat ? breadth : 0);
    return { cells: [{ lines: title, width: text }], width: Math.max(SIZES.op, text + 22, flat ? 0 : breadth), height };
  }

  // How far a border is from its box's middle, along the drawing and at an offset across it; an operation has round ends.
  function reach(box, offset) {
    if (!box.round) return box.along;
    const radius = Math.min(box.along, box.across);
    const bend = Math.max(0, Math.abs(offset) - (box.across - radius));
    return box.along - radius + Math.sqrt(Math.max(0, radius ** 2 - bend ** 2));
  }

  // ---- layers -------------------------------------------------------------------------------------------------------

  // What is laid out as one: a node, or an operation and its only result, which stand on one line.
  function units(view, sizes, flat) {
    const index = new Map(view.nodes.map((node, i) => [node.id, i]));
    const edges = view.edges.map((edge, i) => ({ i, from: index.get(edge.from), to: index.get(edge.to) }));
    for (const { i, from, to } of edges) {
      if (from === undefined || to === undefined) throw new Error(`edge ${i} of the view names a node that is not in it`);
    }
    const [into, out] = [view.nodes.map(() => []), view.nodes.map(() => [])];
    for (const edge of edges) {
      into[edge.to].push(edge);
      out[edge.from].push(edge);
    }
    const unitOf = new Array(view.nodes.length);
    const all = [];
    view.nodes.forEach((node, i) => {
      if (unitOf[i] !== undefined) return;
      const only = node.kind === "op" && out[i].length === 1 ? out[i][0].to : undefined;
      const fused = only !== undefined && only !== i && view.nodes[only].kind !== "op" && into[only].length === 1;
      const members = fused && unitOf[only] === undefined ? [i, only] : [i];
      for (const member of members) unitOf[member] = all.length;
      const depth = (m) => (flat ? sizes[m].width : sizes[m].height);
      const breadth = (m) => (flat ? sizes[m].height : sizes[m].width);
      all.push({
        members,
        along: members.reduce((sum, m) => sum + depth(m), 0) + (members.length - 1) * SIZES.stem,
        across: Math.max(...members.map(breadth)),
        into: [],
        out: [],
      });
    });
    return { all, unitOf, edges, into };
  }

  // The edges between units, without those that would close a circle, which are turned round; and the units, outputs first.
  function arcs({ all, unitOf, edges, into }, view) {
    const between = edges.filter(({ from, to }) => unitOf[from] !== unitOf[to]);
    const outgoing = all.map(() => []);
    for (const edge of between) outgoing[unitOf[edge.from]].push(edge);
    const [state, finished, turned] = [new Uint8Array(all.length), [], new Set()];
    for (let start = 0; start < all.length; start++) {
      const stack = state[start] ? [] : [[start, 0]];
      while (stack.length) {
        const top = stack[stack.length - 1];
        const [unit, done] = top;
        state[unit] = 1;
        const edge = outgoing[unit][done];
        top[1]++;
        if (edge === undefined) {
          state[unit] = 2;
          finished.push(unit);
          stack.pop();
        } else if (state[unitOf[edge.to]] === 1) {
          turned.add(edge.i);
        } else if (state[unitOf[edge.to]] === 0) {
          stack.push([unitOf[edge.to], 0]);
        }
      }
    }
    for (const edge of between) {
      const back = turned.has(edge.i);
      const ordered = !back && view.nodes[edge.to].kind === "op";
      const arc = {
        edge: edge.i,
        back,
        from: unitOf[back ? edge.to : edge.from],
        to: unitOf[back ? edge.from : edge.to],
        port: ordered ? into[edge.to].indexOf(edge) : -1,
        ports: ordered ? into[edge.to].length : 1,
      };
      all[arc.from].out.push(arc);
      all[arc.to].into.push(arc);
    }
    return finished;
  }

  // The layer of each unit, as late as possible: a leaf stands right before the first operation that needs it, and a unit
  // added at the end moves all others by one layer.
  function rank(all, finished) {
    for (const u of finished) {
      all[u].rank = all[u].out.reduce((least, arc) => Math.min(least, all[arc.to].rank - 1), 0);
    }
    const first = all.reduce((least, unit) => Math.min(least, unit.rank), 0);
    for (const unit of all) unit.rank -= first;
  }

  // Items fill the layers: the units, and for each unit the trunk of its edges, one item in each layer that they pass.
  // Links join items of neighbouring layers.
  function items(all) {
    const list = all.map((unit, u) => ({ unit: u, rank: unit.rank, across: unit.across, into: [], out: [] }));
    const link = (from, to, port, ports) => {
      list[from].out.push({ item: to, port, ports });
      list[to].into.push({ item: from, port, ports });
    };
    all.forEach((unit, u) => {
      const last = unit.out.reduce((most, arc) => Math.max(most, all[arc.to].rank), 0);
      unit.trunk = [u]; // by distance
      for (let r = unit.rank + 1; r < last; r++) {
        unit.trunk.push(list.length);
        list.push({ unit: -1, rank: r, across: 0, into: [], out: [] });
        link(unit.trunk[unit.trunk.length - 2], list.length - 1, -1, 1);
      }
    });
    for (const unit of all) {
      for (const arc of unit.into) link(all[arc.from].trunk[unit.rank - all[arc.from].rank - 1], arc.to, arc.port, arc.ports);
    }
    return list;
  }

  // ---- order within the layers --------------------------------------------------------------------------------------

  // Where a link ends, as a number that sorts: the place of the item, then the port.
  const end = (place, link) => place[link.item] + (link.port < 0 ? 0.5 : (link.port + 1) / (link.ports + 1));

  // The layers as lists of items. At first as a walk from the outputs meets them, operands in order, which draws a tree
  // without a crossing; then sweeps to and fro, of which the order with the fewest crossings is kept.
  function ordered(list) {
    let best = swapped(list, walked(list));
    let fewest = crossings(list, best);
    let layers = best;
    for (let round = 0; round < 12 && fewest > 0; round++) {
      layers = swapped(list, swept(list, layers, round % 2 === 0));
      const count = crossings(list, layers);
      if (count < fewest) [best, fewest] = [layers, count];
    }
    return best;
  }

  function walked(list) {
    const layers = Array.from({ length: 1 + list.reduce((most, item) => Math.max(most, item.rank), 0) }, () => []);
    const seen = new Uint8Array(list.length);
    const stack = [];
    for (let i = list.length - 1; i >= 0; i--) if (!list[i].out.length) stack.push(i);
    while (stack.length) {
      const i = stack.pop();
      if (seen[i]) continue;
      seen[i] = 1;
      layers[list[i].rank].push(i);
      const inputs = list[i].into;
      for (let k = inputs.length - 1; k >= 0; k--) stack.push(inputs[k].item);
    }
    return layers;
  }

  function places(list, layers) {
    const place = new Float64Array(list.length);
    for (const layer of layers) layer.forEach((item, p) => (place[item] = p));
    return place;
  }

  // Each layer sorted by the mean place of its neighbours on one side; what has none there keeps its place.
  function swept(list, layers, fromOutputs) {
    const next = layers.map((layer) => layer.slice());
    const place = places(list, next);
    const count = next.length;
    for (let step = 1; step < count; step++) {
      const layer = next[fromOutputs ? count - 1 - step : step];
      const mean = new Map();
      for (const i of layer) {
        const links = fromOutputs ? list[i].out : list[i].into;
        const ends = fromOutputs ? links.map((link) => end(place, link)) : links.map((link) => place[link.item]);
        if (ends.length) mean.set(i, ends.reduce((sum, e) => sum + e, 0) / ends.length);
      }
      const sorted = layer.filter((i) => mean.has(i)).sort((a, b) => mean.get(a) - mean.get(b));
      layer.forEach((i, p) => {
        if (mean.has(i)) layer[p] = sorted.shift();
      });
      layer.forEach((i, p) => (place[i] = p));
    }
    return next;
  }

  // Neighbours change places as long as that saves crossings.
  function swapped(list, layers) {
    const place = places(list, layers);
    const left = (i) => list[i].into.map((link) => place[link.item]);
    const right = (i) => list[i].out.map((link) => end(place, link));
    for (let round = 0, better = true; better && round < 8; round++) {
      better = false;
      for (const layer of layers) {
        for (let p = 0; p + 1 < layer.length; p++) {
          const [a, b] = [layer[p], layer[p + 1]];
          if (inversions(left(a), left(b)) + inversions(right(a), right(b)) > 0) {
            [layer[p], layer[p + 1]] = [b, a];
            [place[a], place[b]] = [p + 1, p];
            better = true;
          }
        }
      }
    }
    return layers;
  }

  // How many crossings fewer there are when the owner of `a` goes below the owner of `b`.
  function inversions(a, b) {
    let saved = 0;
    for (const x of a) for (const y of b) saved += Math.sign(x - y);
    return saved;
  }

  function crossings(list, layers) {
    const place = places(list, layers);
    let count = 0;
    for (const layer of layers) {
      const ends = layer.flatMap((i) => list[i].out.map((link) => end(place, link)).sort((a, b) => a - b));
      const sorted = [...new Set(ends)].sort((a, b) => a - b);
      const at = new Map(sorted.map((e, i) => [e, i + 1]));
      const tree = new Float64Array(sorted.length + 1); // counts of ends met so far, as a Fenwick tree
      ends.forEach((e, met) => {
        let below = 0;
        for (let i = at.get(e); i > 0; i -= i & -i) below += tree[i];
        count += met - below;
        for (let i = at.get(e); i < tree.length; i += i & -i) tree[i]++;
      });
    }
    return count;
  }

  // ---- coordinates --------------------------------------------------------------------------------------------------

  // The place of each item across its layer. dagre (Brandes and Köpf) gives the first; then items are drawn to their
  // neighbours, which halves the height of a large graph; then trees get their shape, and other lines that are nearly straight
  // become so.
  function acrossLayers(list, layers) {
    const light = lightItems(list);
    const near = neighbours(list, light);
    const xs = layers.length > SIZES.deepest ? packed(list, layers) : first(list, layers, near);
    relax(list, layers, near, xs);
    const fixed = centre(list, layers, light, xs);
    for (let round = 0; round < 20 && straighten(list, layers, near, xs, fixed, round % 2 === 0); round++);
    list.forEach((_, i) => light[i] && seat(list, layers, xs, i));
    const least = list.reduce((most, item, i) => Math.min(most, xs[i] - item.across / 2), Infinity);
    return xs.map((x) => x - least);
  }

  // What each item is drawn to, and how strongly. Trunks should be straight; and so should a long way that shorter ones join:
  // in y * 1.1 the factor is drawn to the product, the product only to y.
  function neighbours(list, light) {
    const near = list.map(() => []);
    list.forEach((item, i) => {
      for (const { item: j } of item.out) {
        const weight = light[i] ? 0.001 : item.unit < 0 && list[j].unit < 0 ? 4 : 1;
        near[i].push({ item: j, weight });
        if (!light[i]) near[j].push({ item: i, weight });
      }
    });
    return near;
  }

  const isSingle = (item) => item.unit >= 0 && item.out.length === 1;

  // Whether an item is used once, where a way joins that is more than twice as long and is used once too.
  function lightItems(list) {
    const depth = depths(list);
    const longer = (i) => list[list[i].out[0].item].into.some(({ item: j }) => isSingle(list[j]) && depth[j] > 2 * depth[i]);
    return list.map((item, i) => isSingle(item) && longer(i));
  }

  // How many operations lie before each item, on the longest way.
  function depths(list) {
    const depth = new Int32Array(list.length);
    const order = list.map((_, i) => i).sort((a, b) => list[a].rank - list[b].rank);
    for (const i of order) {
      for (const { item: j } of list[i].into) depth[i] = Math.max(depth[i], depth[j] + (list[i].unit < 0 ? 0 : 1));
    }
    return depth;
  }

  function first(list, layers, near) {
    const graph = new dagre.graphlib.Graph();
    graph.setGraph({ ranker: "none", nodesep: SIZES.between, edgesep: SIZES.lines });
    list.forEach((item, i) => graph.setNode("i" + i, { width: item.across, height: 1, rank: item.rank }));
    near.forEach((links, j) => {
      for (const { item: i } of links) if (list[i].rank < list[j].rank) graph.setEdge("i" + i, "i" + j, {});
    });
    const customOrder = (inner) => {
      // dagre expects points that it sets for edges over several layers only; those of our links are found by `routed`.
      for (const edge of inner.edges()) inner.edge(edge).points = [{ x: 0, y: -1 }];
      for (const layer of layers) {
        layer.forEach((i, p) => {
          const node = inner.node("i" + i);
          node.order = p;
          if (list[i].unit < 0) node.dummy = "edge"; // kept straight, and close to other lines
        });
      }
    };
    dagre.layout(graph, { customOrder });
    return list.map((_, i) => graph.node("i" + i).x);
  }

  // Each layer as narrow as it can be, around one line.
  function packed(list, layers) {
    const xs = new Array(list.length).fill(0);
    for (const layer of layers) {
      let at = 0;
      layer.forEach((i, p) => (xs[i] = at += p > 0 ? apart(list[layer[p - 1]], list[i]) : 0));
      for (const i of layer) xs[i] -= at / 2;
    }
    return xs;
  }

  // How far the middles of two neighbours in a layer must be apart.
  function apart(a, b) {
    const air = (item) => (item.unit < 0 ? SIZES.lines : SIZES.between);
    return (a.across + b.across + air(a) + air(b)) / 2;
  }

  // Layer by layer, to and fro, until nothing moves: each item to the mean of its neighbours, as far as the order lets it.
  function relax(list, layers, near, xs) {
    const offsets = layers.map((layer) => {
      let at = 0;
      return layer.map((i, p) => (p > 0 ? (at += apart(list[layer[p - 1]], list[i])) : 0));
    });
    for (let round = 0, moved = 1; round < 300 && moved > 0.01; round++) {
      moved = 0;
      for (let k = 0; k < layers.length; k++) {
        const r = round % 2 ? k : layers.length - 1 - k;
        const wanted = layers[r].map((i) => mean(near[i], xs, i));
        pooled(wanted, offsets[r]).forEach((x, p) => {
          moved = Math.max(moved, Math.abs(xs[layers[r][p]] - x));
          xs[layers[r][p]] = x;
        });
      }
    }
  }

  function mean(links, xs, i) {
    if (!links.length) return { sum: 0.01 * xs[i], weight: 0.01 };
    let [sum, total] = [0, 0];
    for (const { item, weight } of links) {
      sum += weight * xs[item];
      total += weight;
    }
    return { sum, weight: total };
  }

  // The places nearest to those wanted (least squares) that lie at least as far apart as the offsets: neighbours that would
  // overlap are pooled, and move as one.
  function pooled(wanted, offsets) {
    const pools = [];
    wanted.forEach(({ sum, weight }, p) => {
      let pool = { sum: sum - weight * offsets[p], weight, count: 1 };
      while (pools.length && pools.at(-1).sum / pools.at(-1).weight > pool.sum / pool.weight) {
        const above = pools.pop();
        pool = { sum: above.sum + pool.sum, weight: above.weight + pool.weight, count: above.count + pool.count };
      }
      pools.push(pool);
    });
    const starts = pools.flatMap((pool) => new Array(pool.count).fill(pool.sum / pool.weight));
    return starts.map((start, p) => start + offsets[p]);
  }

  // Puts what joins only values that are used nowhere else in the middle of them, from the inputs on; a single one straight
  // behind it. Which items these are.
  function centre(list, layers, light, xs) {
    const fixed = list.map(({ into }) => into.length > 0 && into.every(({ item }) => isSingle(list[item])));
    for (const layer of layers) {
      const wanted = layer.map((i) => {
        if (!fixed[i]) return { sum: xs[i], weight: 1 };
        const heavy = list[i].into.filter(({ item }) => !light[item]);
        return { sum: (10 * heavy.reduce((sum, { item }) => sum + xs[item], 0)) / heavy.length, weight: 10 };
      });
      let at = 0;
      const offsets = layer.map((i, p) => (p > 0 ? (at += apart(list[layer[p - 1]], list[i])) : 0));
      pooled(wanted, offsets).forEach((x, p) => (xs[layer[p]] = x));
    }
    return fixed;
  }

  // Moves an item as near to its consumer as its neighbours in the layer let it.
  function seat(list, layers, xs, i) {
    const layer = layers[list[i].rank];
    const p = layer.indexOf(i);
    const low = p > 0 ? xs[layer[p - 1]] + apart(list[layer[p - 1]], list[i]) : -Infinity;
    const high = p + 1 < layer.length ? xs[layer[p + 1]] - apart(list[i], list[layer[p + 1]]) : Infinity;
    if (low <= high) xs[i] = Math.min(high, Math.max(low, xs[list[i].out[0].item]));
  }

  // Moves every block, which is a set of items on one straight line, to the median of what it is linked to, as far as its
  // neighbours let it: most of its lines become straight. Whether something moved.
  function straighten(list, layers, near, xs, fixed, down) {
    const place = places(list, layers);
    const { blocks, block } = straightBlocks(list, near, xs, down);
    let moved = false;
    for (const items of blocks) {
      if (items.some((i) => fixed[i])) continue;
      let [low, high] = [-Infinity, Infinity];
      const pulls = [];
      for (const i of items) {
        const layer = layers[list[i].rank];
        const [above, below] = [layer[place[i] - 1], layer[place[i] + 1]];
        if (above !== undefined) low = Math.max(low, xs[above] + apart(list[above], list[i]) - xs[i]);
        if (below !== undefined) high = Math.min(high, xs[below] - apart(list[i], list[below]) - xs[i]);
        for (const { item: j, weight } of near[i]) if (block[j] !== block[i]) pulls.push({ by: xs[j] - xs[i], weight });
      }
      const by = Math.min(Math.max(median(pulls, items.every((i) => list[i].unit < 0)), low), high);
      if (low > high || Math.abs(by) < 0.01) continue;
      for (const i of items) xs[i] += by;
      moved = true;
    }
    return moved;
  }

  function straightBlocks(list, near, xs, down) {
    const block = new Int32Array(list.length).fill(-1);
    const blocks = [];
    const order = list.map((_, i) => i).sort((a, b) => (down ? xs[a] - xs[b] : xs[b] - xs[a]) || a - b);
    for (const start of order) {
      if (block[start] >= 0) continue;
      const items = [start];
      block[start] = blocks.length;
      for (const i of items) {
        for (const { item: j } of near[i]) {
          if (block[j] >= 0 || Math.abs(xs[j] - xs[start]) > 0.01) continue;
          block[j] = blocks.length;
          items.push(j); // and is visited by the loop around
        }
      }
      blocks.push(items);
    }
    return { blocks, block };
  }

  // The weighted median of moves; of a whole interval of medians none, or the end that is nearer: always for a trunk, so that
  // its slope becomes one step, and for a box if that is within a unit, which only looks crooked.
  function median(pulls, trunk) {
    const half = pulls.reduce((sum, { weight }) => sum + weight, 0) / 2;
    let [sum, low] = [0, undefined];
    for (const { by, weight } of pulls.sort((a, b) => a.by - b.by)) {
      sum += weight;
      if (low === undefined && sum >= half) low = by;
      if (sum <= half) continue;
      const nearer = Math.abs(low) < Math.abs(by) ? low : by;
      return trunk || low > 0 || by < 0 || Math.abs(nearer) < 1 ? nearer : 0;
    }
    return 0;
  }

  // Where each layer begins and ends along the drawing: as deep as its deepest unit, the gaps wider where edges are steep.
  function alongLayers(all, list, layers, across, labels) {
    const bands = [];
    let at = 0;
    for (const layer of layers) {
      const depth = layer.reduce((most, i) => Math.max(most, list[i].unit < 0 ? 0 : all[list[i].unit].along), 0);
      let drop = 0;
      for (const i of layer) for (const link of list[i].out) drop = Math.max(drop, Math.abs(across[link.item] - across[i]));
      const steep = Math.min(SIZES.steepest, drop / 5);
      bands.push({ start: at, end: at + depth });
      at += depth + Math.max(SIZES.layer, steep, labels[bands.length - 1] ?? 0);
    }
    return bands;
  }

  // How much room the labels of edges ask for in the gap after each layer.
  function labelRoom(view, all, flat) {
    const room = [];
    for (const unit of all) {
      for (const arc of unit.into) {
        const text = view.edges[arc.edge].label;
        if (text) room[unit.rank - 1] = Math.max(room[unit.rank - 1] ?? 0, flat ? textWidth(String(text), SIZES.label) + 40 : 60);
      }
    }
    return room;
  }

  // ---- edges --------------------------------------------------------------------------------------------------------

  const spread = (k, count, room) => (k - (count - 1) / 2) * Math.min(SIZES.port, room / Math.max(1, count - 1));

  // The offsets at which arcs enter a unit. Operands keep their order; other edges enter as they come, without crossing.
  function entries(unit, room, height) {
    const free = unit.into.filter((arc) => arc.port < 0).sort((a, b) => height(a) - height(b) || a.edge - b.edge);
    const offsets = new Map();
    for (const arc of unit.into) {
      const [k, count] = arc.port < 0 ? [free.indexOf(arc), free.length] : [arc.port, arc.ports];
      offsets.set(arc.edge, spread(k, count, room));
    }
    return offsets;
  }

  // The points of all edges, as pairs (along, across), and the middle of the last gap, where a label stands.
  function routed(view, parts, across, bands, boxes) {
    const { all, edges, unitOf } = parts;
    const routes = view.edges.map(() => ({ points: [], label: null }));
    const last = (arc) => across[all[arc.from].trunk[all[arc.to].rank - all[arc.from].rank - 1]];
    for (const unit of all) {
      const offsets = entries(unit, 2 * boxes[unit.members[0]].across - 10, last);
      for (const arc of unit.into) routes[arc.edge] = route(arc, offsets.get(arc.edge), all, across, bands, boxes);
    }
    for (const { i, from, to } of edges) {
      if (unitOf[from] !== unitOf[to] || from === to) continue;
      const [a, b] = [boxes[from], boxes[to]];
      const points = [[a.alongAt + a.along, a.acrossAt], [b.alongAt - b.along, b.acrossAt]];
      routes[i] = { points, label: [(points[0][0] + points[1][0]) / 2, a.acrossAt - 12], gap: -1 };
    }
    return routes;
  }

  const straight = (a, b, c) => Math.abs(a[1] - b[1]) < 0.05 && Math.abs(b[1] - c[1]) < 0.05;

  // From the border of a box, along the trunk of its unit, to the border of another box, at an offset from its middle.
  function route(arc, offset, all, across, bands, boxes) {
    const [source, target] = [all[arc.from], all[arc.to]];
    const [tail, head] = [boxes[source.members.at(-1)], boxes[target.members[0]]];
    const trunk = source.trunk.slice(1, target.rank - source.rank);
    const twins = target.into.filter((other) => other.from === arc.from && other.back === arc.back);
    const apart = trunk.length ? 0 : spread(twins.indexOf(arc), twins.length, 2 * tail.across - 10);
    const points = [[tail.alongAt + reach(tail, apart), tail.acrossAt + apart]];
    trunk.forEach((item, k) => {
      const band = bands[source.rank + 1 + k];
      points.push([band.start, across[item]], [band.end, across[item]]);
    });
    const before = points.at(-1);
    const entered = [bands[target.rank].start, head.acrossAt + offset];
    const tip = [head.alongAt - reach(head, offset), head.acrossAt + offset];
    points.push(...(tip[0] > entered[0] + 1 ? [entered, tip] : [tip]));
    const label = [(before[0] + entered[0]) / 2, (before[1] + entered[1]) / 2];
    const bends = points.filter((p, i) => i === 0 || i === points.length - 1 || !straight(points[i - 1], p, points[i + 1]));
    return { points: arc.back ? bends.reverse() : bends, label, gap: target.rank };
  }

  // Labels of one gap keep clear of each other.
  function separated(view, routes, flat) {
    const gaps = new Map();
    routes.forEach((route, i) => {
      if (!view.edges[i].label || !route.label || route.gap < 0) return;
      if (!gaps.has(route.gap)) gaps.set(route.gap, []);
      gaps.get(route.gap).push({ at: route.label, room: flat ? 14 : textWidth(String(view.edges[i].label), SIZES.label) + 8 });
    });
    for (const labels of gaps.values()) {
      labels.sort((a, b) => a.at[1] - b.at[1]);
      let offset = 0;
      const offsets = labels.map(({ room }, k) => (k > 0 ? (offset += (labels[k - 1].room + room) / 2) : 0));
      const wanted = labels.map(({ at }) => ({ sum: at[1], weight: 1 }));
      pooled(wanted, offsets).forEach((across, k) => (labels[k].at[1] = across));
    }
  }

  // ---- layout -------------------------------------------------------------------------------------------------------

  // Boxes along and across: half their size, and the place of their middle.
  function placedBoxes(view, sizes, all, across, bands, flat) {
    const boxes = new Array(view.nodes.length);
    all.forEach((unit, u) => {
      let at = bands[unit.rank].end - unit.along; // aligned where edges leave
      for (const m of unit.members) {
        const [along, breadth] = flat ? [sizes[m].width, sizes[m].height] : [sizes[m].height, sizes[m].width];
        const round = view.nodes[m].kind === "op";
        boxes[m] = { alongAt: at + along / 2, acrossAt: across[u], along: along / 2, across: breadth / 2, round };
        at += along + SIZES.stem;
      }
    });
    return boxes;
  }

  function layout(view) {
    const direction = view.direction ?? "LR";
    const flat = direction === "LR" || direction === "RL";
    if (!view.nodes.length) return { width: 2 * SIZES.margin, height: 2 * SIZES.margin, nodes: {}, edges: [] };
    const inputs = new Map();
    for (const edge of view.edges) inputs.set(edge.to, (inputs.get(edge.to) ?? 0) + 1);
    const sizes = view.nodes.map((node) => measured(node, inputs.get(node.id) ?? 0, flat));
    const parts = units(view, sizes, flat);
    rank(parts.all, arcs(parts, view));
    const list = items(parts.all);
    const layers = ordered(list);
    const across = acrossLayers(list, layers);
    const bands = alongLayers(parts.all, list, layers, across, labelRoom(view, parts.all, flat));
    const boxes = placedBoxes(view, sizes, parts.all, across, bands, flat);
    const routes = routed(view, parts, across, bands, boxes);
    separated(view, routes, flat);
    return framed(view, sizes, boxes, routes, direction);
  }

  const tenth = (x) => Math.round(x * 10) / 10;

  // The least and the greatest place of anything drawn, along and across.
  function extent(view, boxes, routes) {
    const places = [];
    for (const { alongAt, acrossAt, along, across } of boxes) {
      places.push([alongAt - along, acrossAt - across], [alongAt + along, acrossAt + across]);
    }
    routes.forEach(({ points, label }, i) => {
      places.push(...points);
      if (view.edges[i].label && label) places.push([label[0], label[1] - 8], [label[0], label[1] + 8]);
    });
    const least = (k) => places.reduce((low, place) => Math.min(low, place[k]), Infinity);
    const greatest = (k) => places.reduce((high, place) => Math.max(high, place[k]), -Infinity);
    return { low: [least(0), least(1)], high: [greatest(0), greatest(1)] };
  }

  // The whole in the direction of the view, with a margin.
  function framed(view, sizes, boxes, routes, direction) {
    const flat = direction === "LR" || direction === "RL";
    const { low, high } = extent(view, boxes, routes);
    const point = ([along, across]) => {
      const x = SIZES.margin + (direction === "LR" || direction === "TB" ? along - low[0] : high[0] - along);
      const y = SIZES.margin + across - low[1];
      return flat ? [tenth(x), tenth(y)] : [tenth(y), tenth(x)];
    };
    const nodes = {};
    view.nodes.forEach((node, i) => {
      const [x, y] = point([boxes[i].alongAt, boxes[i].acrossAt]);
      const place = { x, y, width: tenth(sizes[i].width), height: tenth(sizes[i].height) };
      // Not by assignment, for which "__proto__" is no name like others.
      Object.defineProperty(nodes, node.id, { value: place, enumerable: true, configurable: true, writable: true });
    });
    const edges = routes.map(({ points, label }) => ({ points: points.map(point), label: label ? point(label) : null }));
    const [depth, breadth] = [0, 1].map((k) => tenth(high[k] - low[k] + 2 * SIZES.margin));
    return { width: flat ? depth : breadth, height: flat ? breadth : depth, nodes, edges };
  }

  // ---- shapes -------------------------------------------------------------------------------------------------------

  // The curve through the points of an edge, up to its arrow head: level where it meets boxes and passes layers.
  function path(points, direction = "LR") {
    if (points.length < 2) return "";
    const flat = direction === "LR" || direction === "RL";
    const k = flat ? 0 : 1;
    const ends = points.map((p) => p.slice());
    const [tip, before] = [ends[ends.length - 1], ends[ends.length - 2]];
    tip[k] -= Math.sign(tip[k] - before[k]) * Math.min(SIZES.arrow - 1, Math.abs(tip[k] - before[k]));
    const parts = [`M${ends[0].map(tenth)}`];
    for (let i = 1; i < ends.length; i++) {
      const [p, q] = [ends[i - 1], ends[i]];
      const middle = (p[k] + q[k]) / 2;
      const [c, d] = flat ? [[middle, p[1]], [middle, q[1]]] : [[p[0], middle], [q[0], middle]];
      parts.push(Math.abs(p[1 - k] - q[1 - k]) < 0.05 ? `L${q.map(tenth)}` : `C${c.map(tenth)} ${d.map(tenth)} ${q.map(tenth)}`);
    }
    return parts.join("");
  }

  // The head of an edge's arrow, as a closed path.
  function arrow(points, direction = "LR") {
    if (points.length < 2) return "";
    const k = direction === "LR" || direction === "RL" ? 0 : 1;
    const [tip, before] = [points[points.length - 1], points[points.length - 2]];
    const back = tip[k] - Math.sign(tip[k] - before[k]) * SIZES.arrow;
    const corner = (side) => (k === 0 ? [back, tip[1] + side] : [tip[0] + side, back]).map(tenth);
    const half = 0.45 * SIZES.arrow;
    return `M${tip.map(tenth)}L${corner(-half)}L${corner(half)}Z`;
  }

  // What a node is drawn with: its outline, the lines between its cells, and its texts at the middle of their base lines.
  function shapes(node, box) {
    const inner = measured({ ...node, width: node.kind === "op" ? undefined : box.width }, 0, true);
    const [left, top] = [box.x - box.width / 2, box.y - box.height / 2];
    const radius = node.kind === "op" ? Math.min(box.width, box.height) / 2 : node.kind === "group" ? 8 : SIZES.corner;
    const outline = {
      x: tenth(left),
      y: tenth(top),
      width: box.width,
      height: box.height,
      rx: tenth(radius),
    };
    const [bars, texts] = [[], []];
    let at = left;
    inner.cells.forEach((cell, i) => {
      const width = node.kind === "op" ? box.width : cell.width;
      if (i > 0) bars.push(tenth(at));
      cell.lines.forEach((line, row) => {
        const y = box.y + (row - (cell.lines.length - 1) / 2) * FONT.line + 0.36 * FONT.size;
        if (line) texts.push({ x: tenth(at + width / 2), y: tenth(y), text: line });
      });
      at += width;
    });
    return { outline, bars, texts };
  }

  // ---- SVG ----------------------------------------------------------------------------------------------------------

  const attributes = (pairs) => Object.entries(pairs).map(([name, value]) => ` ${name}="${escaped(String(value))}"`).join("");
  const classes = (...names) => names.filter(Boolean).join(" ");
  const KINDS = ["value", "op", "constant", "group"];

  // Attributes that the whole drawing has are left out where they would only be repeated.
  const PLAIN = { fill: STATES[""].fill, stroke: STATES[""].stroke, "stroke-width": STATES[""].line };
  const unlike = (pairs) => Object.fromEntries(Object.entries(pairs).filter(([name, value]) => PLAIN[name] !== value));

  function nodeSvg(node, box) {
    const kind = KINDS.includes(node.kind) ? node.kind : "value";
    const colors = look(node.state);
    const { outline, bars, texts } = shapes(node, box);
    const frame = unlike({ fill: kind === "op" ? colors.op : colors.fill, stroke: colors.stroke, "stroke-width": colors.line });
    const dashed = kind === "constant" ? { "stroke-dasharray": "4 3" } : {};
    const named = { class: classes("node", kind, known(node.state)), "data-id": plainLines(node.id).join(" ") };
    const behind = { ...outline, x: tenth(outline.x + 3), y: tenth(outline.y + 3) }; // a group is a stack of sheets
    const lines = bars.map((x) => `M${x},${outline.y}v${outline.height}`).join("");
    return [
      `<g${attributes({ ...named, ...frame, ...dashed })}>`,
      kind === "group" ? `<rect${attributes(behind)}/>` : "",
      `<rect${attributes(outline)}/>`,
      lines ? `<path${attributes({ d: lines })}/>` : "",
      texts.length ? `<g${attributes({ fill: colors.text, stroke: "none" })}>` : "",
      ...texts.map(({ x, y, text }) => `<text${attributes({ x, y })}>${escaped(text)}</text>`),
      texts.length ? "</g></g>" : "</g>",
    ].join("");
  }

  function edgeSvg(edge, { points }, direction) {
    const colors = look(edge.state);
    const frame = colors === STATES[""] ? {} : { fill: colors.stroke, stroke: colors.stroke, "stroke-width": colors.line };
    return [
      `<g${attributes({ class: classes("edge", known(edge.state)), ...frame })}>`,
      `<path${attributes({ d: path(points, direction), fill: "none" })}/>`,
      `<path${attributes({ d: arrow(points, direction) })}/>`,
      "</g>",
    ].join("");
  }

  // On a plate, so that it can be read where it crosses lines.
  function labelSvg(edge, { label }) {
    const text = edge.label ? plainLines(edge.label).join(" ") : "";
    if (!text || !label) return "";
    const width = tenth(textWidth(text, SIZES.label) + 6);
    const corner = { x: tenth(label[0] - width / 2), y: tenth(label[1] - 7) };
    const plate = { ...corner, width, height: 14, rx: 3, fill: "#ffffff", stroke: "none" };
    const type = { x: label[0], y: tenth(label[1] + 4), "font-size": SIZES.label, fill: look(edge.state).text, stroke: "none" };
    return `<g class="label"><rect${attributes(plate)}/><text${attributes(type)}>${escaped(text)}</text></g>`;
  }

  // layout(view), where it is known already, need not be found again.
  function svg(view, placed = layout(view)) {
    const { width, height } = placed;
    const direction = view.direction ?? "LR";
    const order = view.edges.map((_, i) => i).sort((a, b) => !!view.edges[a].state - !!view.edges[b].state || a - b);
    const viewBox = `0 0 ${width} ${height}`;
    const sheet = { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox, class: "chainrule-graph" };
    const said = { role: "img", "aria-label": `graph of ${view.nodes.length} boxes and ${view.edges.length} arrows` };
    const type = { "font-family": FONT.family, "font-size": FONT.size, "text-anchor": "middle" };
    return [
      `<svg${attributes({ ...sheet, ...said })}>`,
      `<rect${attributes({ class: "background", width, height, fill: "#ffffff" })}/>`,
      `<g${attributes({ ...type, ...PLAIN })}>`,
      `<g${attributes({ fill: PLAIN.stroke })}>`,
      ...order.map((i) => edgeSvg(view.edges[i], placed.edges[i], direction)),
      ...order.map((i) => labelSvg(view.edges[i], placed.edges[i])).filter(Boolean),
      "</g>",
      ...view.nodes.map((node) => nodeSvg(node, placed.nodes[node.id])),
      "</g>",
      "</svg>",
    ].join("\n");
  }

  return { layout, svg, path, arrow, shapes, textWidth, plainLines, FONT, SIZES, STATES };
})();
