// The moments of a page: first the inputs, then each operation forward, the seed, and each operation backward.
//
//     chainruleTimeline.of(graph)  ->  {total, seed, forward, backward}
//
// Moment 0 shows the inputs; moments 1 to `seed` - 1 the operations as they are computed; at `seed` the output gets its
// gradient of 1; then each node passes its gradient on, up to `total`. forward and backward are the moments of each node.
// A moment means the same whatever is open or closed, so an address that names it does too.
"use strict";

globalThis.chainruleTimeline = (() => {
  function of(graph) {
    const seed = graph.forward.length + 1;
    const forward = new Int32Array(graph.count); // leaves are there from the start
    graph.forward.forEach((n, k) => (forward[n] = k + 1));
    const backward = new Int32Array(graph.count).fill(-1);
    graph.backward.forEach((n, k) => (backward[n] = seed + k + 1));
    const total = graph.differentiable ? seed + graph.backward.length : seed - 1;
    return { total, seed: graph.differentiable ? seed : Infinity, forward, backward };
  }

  // What happens at a moment: {phase: "start" | "forward" | "seed" | "backward", node, steps}, where steps is how many nodes
  // have passed their gradient on; -1 before the seed.
  function at(graph, timeline, moment) {
    const { seed } = timeline;
    if (moment <= 0) return { phase: "start", node: -1, steps: -1 };
    if (moment < seed) return { phase: "forward", node: graph.forward[moment - 1], steps: -1 };
    if (moment === seed) return { phase: "seed", node: graph.root, steps: 0 };
    return { phase: "backward", node: graph.backward[moment - seed - 1], steps: moment - seed };
  }

  // The moments at which something that is shown is finished: a node is at its own, a closed group with its last node.
  function stops(graph, timeline, shown) {
    const found = new Set([0, timeline.total]);
    if (Number.isFinite(timeline.seed)) found.add(timeline.seed);
    for (const nodes of shown) {
      let [last, passed] = [0, -1];
      for (const n of nodes) {
        last = Math.max(last, timeline.forward[n]);
        passed = Math.max(passed, timeline.backward[n]);
      }
      found.add(last);
      if (passed >= 0) found.add(passed);
    }
    return Int32Array.from(found).sort();
  }

  const next = (stops, moment) => stops.find((each) => each > moment) ?? stops[stops.length - 1];
  const before = (stops, moment) => stops.findLast((each) => each < moment) ?? 0;

  return { of, at, stops, next, before };
})();
