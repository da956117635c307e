// The graph of a page: what facts.py wrote, as columns that can be read by number.
//
//     chainruleGraph.read(facts)  ->  graph
//
// Nodes are numbered as a reader meets them, inputs before what is made of them; edge e leads from input graph.input[e] to
// node graph.consumer[e], and the edges into node n are those from graph.first[n] to graph.first[n + 1].
"use strict";

globalThis.chainruleGraph = (() => {
  const KINDS = { b: Int8Array, h: Int16Array, i: Int32Array, d: Float64Array };

  // A column as numbers: a letter for their kind, and their bytes in base64.
  function column(text) {
    const Numbers = KINDS[text[0]];
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text.slice(1)) : decoded(text.slice(1));
    return new Numbers(bytes.buffer, 0, bytes.length / Numbers.BYTES_PER_ELEMENT);
  }

  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const VALUES = new Uint8Array(128);
  [...LETTERS].forEach((letter, value) => (VALUES[letter.charCodeAt(0)] = value));

  // Written out for what has no Uint8Array.fromBase64.
  function decoded(text) {
    const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
    const bytes = new Uint8Array((text.length / 4) * 3 - padding);
    for (let i = 0, at = 0; i < text.length; i += 4) {
      const bits =
        (VALUES[text.charCodeAt(i)] << 18) |
        (VALUES[text.charCodeAt(i + 1)] << 12) |
        (VALUES[text.charCodeAt(i + 2)] << 6) |
        VALUES[text.charCodeAt(i + 3)];
      bytes[at++] = bits >> 16; // what is past the end is dropped
      bytes[at++] = bits >> 8;
      bytes[at++] = bits;
    }
    return bytes;
  }

  function read(facts) {
    const { count } = facts;
    const op = column(facts.op);
    const first = starts(column(facts.arity));
    const input = column(facts.inputs);
    const graph = {
      facts,
      kind: facts.kind,
      count,
      root: count - 1,
      op,
      first,
      input,
      consumer: consumers(first, input.length),
      wanted: column(facts.wanted),
      differentiable: !facts.problem,
    };
    graph.reached = facts.reached ? column(facts.reached) : new Uint8Array(count);
    Object.assign(graph, graph.kind === "value" ? numbers(facts, count, input.length) : {});
    graph.flows = flowing(graph);
    Object.assign(graph, uses(graph), places(facts, count));
    graph.forward = [];
    for (let n = 0; n < count; n++) if (graph.op[n] >= 0) graph.forward.push(n);
    graph.backward = graph.differentiable ? passing(graph) : [];
    return graph;
  }

  function starts(arity) {
    const first = new Int32Array(arity.length + 1);
    for (let n = 0; n < arity.length; n++) first[n + 1] = first[n] + arity[n];
    return first;
  }

  function consumers(first, edges) {
    const consumer = new Int32Array(edges);
    for (let n = 0; n + 1 < first.length; n++) consumer.fill(n, first[n], first[n + 1]);
    return consumer;
  }

  function numbers(facts) {
    const found = { data: column(facts.data) };
    if (facts.problem) return found;
    return {
      ...found,
      grad: column(facts.grad),
      slope: column(facts.slope),
      template: column(facts.template),
    };
  }

  // Which edges a gradient flows back on.
  function flowing(graph) {
    const flows = new Uint8Array(graph.input.length);
    if (!graph.differentiable) return flows;
    if (graph.kind === "value") return flows.map((_, e) => graph.template[e] >= 0);
    for (const step of graph.facts.steps) {
      for (const edge of step.edges) flows[graph.first[step.node] + edge.position] = 1;
    }
    return flows;
  }

  // The edges that lead from each node, in the order of their consumers: useEdge[useFirst[n]] and so on.
  function uses(graph) {
    const useFirst = new Int32Array(graph.count + 1);
    for (const n of graph.input) useFirst[n + 1]++;
    for (let n = 0; n < graph.count; n++) useFirst[n + 1] += useFirst[n];
    const next = useFirst.slice();
    const useEdge = new Int32Array(graph.input.length);
    graph.input.forEach((n, e) => (useEdge[next[n]++] = e));
    return { useFirst, useEdge };
  }

  function places(facts, count) {
    if (!facts.line) return { line: null, module: null, call: null };
    return { line: column(facts.line), module: column(facts.module), call: column(facts.call) };
  }

  // The nodes that pass a gradient on, in the order of the engine: outputs first, each after all of its uses.
  function passing(graph) {
    if (graph.kind === "tensor") return graph.facts.steps.slice(1).map((step) => step.node);
    const { first, input, flows, op, root } = graph;
    const seen = new Uint8Array(graph.count);
    const order = [];
    const stack = [root];
    while (stack.length) {
      const n = stack.pop();
      if (n < 0) {
        order.push(-n - 1);
      } else if (!seen[n] && op[n] >= 0) {
        seen[n] = 1;
        stack.push(-n - 1);
        for (let e = first[n]; e < first[n + 1]; e++) if (flows[e]) stack.push(input[e]);
      }
    }
    return order.reverse();
  }

  const isLeaf = (graph, n) => graph.op[n] < 0;
  const isConstant = (graph, n) => graph.op[n] < 0 && !graph.wanted[n];
  const row = (graph, n) => graph.facts.ops[graph.op[n]];

  // The inputs of a node, each as often as it is used.
  const inputsOf = (graph, n) => graph.input.subarray(graph.first[n], graph.first[n + 1]);

  // How many edges a gradient comes to a node on.
  function gradientUses(graph, n) {
    let count = 0;
    for (let k = graph.useFirst[n]; k < graph.useFirst[n + 1]; k++) {
      const e = graph.useEdge[k];
      count += graph.flows[e] && graph.reached[graph.consumer[e]] ? 1 : 0;
    }
    return count;
  }

  return { read, isLeaf, isConstant, row, inputsOf, gradientUses };
})();
