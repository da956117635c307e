// Backward passes over the columns of a graph: the right one, and those that make a mistake or leave an edge out.
//
//     chainrulePasses.run(graph, {mistake: "" | "order" | "assign" | "cut", cut: edge})  ->  pass
//
// A pass has `order`, the nodes that pass their gradient on; `step`, by node its place in that from 0, or -1; `passed`, by
// node the gradient that it passed on; `term`, by edge the amount; `grad`, by node what it has at the end. Of a right pass
// these are the engine's numbers to the last bit. For tensors they are texts that mistakes.py and steps.py have made.
"use strict";

globalThis.chainrulePasses = (() => {
  function run(graph, { mistake = "", cut = -1 } = {}) {
    return graph.kind === "value" ? onNumbers(graph, mistake, cut) : ofTensors(graph, mistake);
  }

  function onNumbers(graph, mistake, cut) {
    const { first, input, slope, flows } = graph;
    const pass = { ...blank(graph, mistake === "order" ? asReached(graph) : graph.backward, mistake), cut };
    pass.grad = new Float64Array(graph.count);
    pass.passed = new Float64Array(graph.count);
    pass.term = new Float64Array(input.length);
    pass.grad[graph.root] = 1;
    for (const n of pass.order) {
      const g = pass.grad[n];
      pass.passed[n] = g;
      for (let e = first[n]; e < first[n + 1]; e++) {
        if (!flows[e]) continue;
        const amount = mistake === "cut" && e === cut ? 0 : g * slope[e];
        pass.term[e] = amount;
        pass.grad[input[e]] = mistake === "assign" ? amount : pass.grad[input[e]] + amount;
      }
    }
    return pass;
  }

  function blank(graph, order, mistake) {
    const step = new Int32Array(graph.count).fill(-1);
    order.forEach((n, k) => (step[n] = k));
    return { order, step, mistake };
  }

  // The nodes as a walk from the output first reaches them, depth first, the first input first.
  function asReached(graph) {
    const { first, input, flows, op } = graph;
    const seen = new Uint8Array(graph.count);
    const order = [];
    const stack = [graph.root];
    while (stack.length) {
      const n = stack.pop();
      if (op[n] < 0 || seen[n]) continue;
      seen[n] = 1;
      order.push(n);
      for (let e = first[n + 1] - 1; e >= first[n]; e--) if (flows[e]) stack.push(input[e]);
    }
    return order;
  }

  function ofTensors(graph, mistake) {
    const { facts, first } = graph;
    if (!mistake) {
      const pass = blank(graph, graph.backward, "");
      pass.grad = facts.grads;
      pass.after = new Map();
      for (const step of facts.steps)
        for (const edge of step.edges) pass.after.set(first[step.node] + edge.position, edge.after);
      return pass;
    }
    const made = facts.mistakes[mistake];
    const pass = blank(graph, made.order, mistake);
    pass.after = new Map(made.after.map(([n, i, text]) => [first[n] + i, text]));
    pass.grad = new Array(graph.count).fill(null);
    for (const [n, text] of made.grads) pass.grad[n] = { shown: text };
    pass.wrong = made.wrong;
    return pass;
  }

  // The edges that have brought a gradient to node n after so many steps of the pass, in the order of their coming.
  function arrived(graph, pass, n, steps) {
    const edges = [];
    for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++) {
      const e = graph.useEdge[k];
      const at = pass.step[graph.consumer[e]];
      if (graph.flows[e] && at >= 0 && at < steps) edges.push(e);
    }
    return edges.sort((a, b) => pass.step[graph.consumer[a]] - pass.step[graph.consumer[b]] || a - b);
  }

  // The gradient of node n after so many steps: {known, value, terms}; the value of a tensor is a text.
  function gradient(graph, pass, n, steps) {
    if (n === graph.root)
      return { known: steps >= 0, value: graph.kind === "value" ? 1 : graph.facts.grads[n].shown, terms: [] };
    const edges = arrived(graph, pass, n, steps);
    if (!edges.length) return { known: false, value: 0, terms: [] };
    const last = edges[edges.length - 1];
    if (graph.kind === "tensor") return { known: true, value: pass.after.get(last), terms: edges };
    const sum = edges.reduce((total, e) => total + pass.term[e], 0);
    return { known: true, value: pass.mistake === "assign" ? pass.term[last] : sum, terms: edges };
  }

  // The nodes whose gradient a mistaken pass gets wrong, of all that have one.
  function wrong(graph, right, other) {
    const having = [];
    for (let n = 0; n < graph.count; n++) if (graph.reached[n]) having.push(n);
    if (graph.kind === "tensor") return { nodes: other.wrong, of: having.length };
    return { nodes: having.filter((n) => !same(right.grad[n], other.grad[n])), of: having.length };
  }

  // Equal but for rounding, which a sum in another order brings.
  function same(a, b) {
    if (Object.is(a, b) || a === b) return true;
    return Math.abs(a - b) <= 1e-12 * Math.max(Math.abs(a), Math.abs(b));
  }

  // The node whose gradient was incomplete when it was passed on, the first of them, and the edge that came too late.
  function firstTooEarly(graph, pass) {
    for (const n of pass.order) {
      const late = [];
      for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++) {
        const e = graph.useEdge[k];
        const from = graph.consumer[e];
        if (graph.flows[e] && pass.step[from] > pass.step[n]) late.push(e);
      }
      if (late.length) return { node: n, late };
    }
    return null;
  }

  return { run, arrived, gradient, wrong, firstTooEarly };
})();
