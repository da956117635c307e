// What the boxes say: the cells of a value, the rows of a closed group, at the end of both passes and at any moment.
//
//     chainruleBoxes.value(graph, passes, n, moment)  ->  {rows, state}
//     chainruleBoxes.closed(graph, passes, tree, id, moment)  ->  {title, lines, state, share}
//
// A row is {kind, text}: "title", "data", "grad", "array", "sum" (what the gradient is made up of) or "mistaken". A box has as
// many rows at every moment, so that a picture is laid out once and only its texts change. `passes` is
// {timeline, right, other, wrong}: other is the mistaken pass that is shown beside the right one, or null, and wrong the set
// of nodes that it gets wrong.
"use strict";

globalThis.chainruleBoxes = (() => {
  const { isLeaf, isConstant, gradientUses } = chainruleGraph;
  const { number, short, name, isNamed, counted, grouped, bracketed } = chainruleWords;
  const { gradient } = chainrulePasses;
  const { at } = chainruleTimeline;
  const NOT_YET = "·";

  function value(graph, passes, n, moment) {
    const now = at(graph, passes.timeline, moment);
    const computed = isLeaf(graph, n) || passes.timeline.forward[n] <= moment;
    const rows = isNamed(graph, n) || !isConstant(graph, n) ? [{ kind: "title", text: name(graph, n) }] : [];
    rows.push(...told("data", graph.kind === "value" ? graph.data[n] : graph.facts.arrays[n], computed));
    if (graph.differentiable) rows.push(...gradientRows(graph, passes, n, now));
    return { rows, state: stateOf(graph, passes, n, moment, now) };
  }

  // A number in a row; an array in rows of its own below its shape.
  function told(kind, x, known) {
    if (typeof x === "number") return [{ kind, text: `${kind} ${known ? number(x) : NOT_YET}` }];
    if (!x.rows) return [{ kind, text: `${kind} ${known ? x.shown : NOT_YET}` }];
    return [
      { kind, text: `${kind} ${known ? x.shape : NOT_YET}` },
      ...x.rows.map((row) => ({ kind: "array", text: known ? row : "" })),
    ];
  }

  const oneLine = (x) => (typeof x === "number" ? number(x) : x);

  // "grad 9.0000", the sum that it is, and what the mistaken pass has.
  function gradientRows(graph, passes, n, now) {
    if (!graph.reached[n]) return [{ kind: "none", text: graph.wanted[n] ? "no gradient" : "constant" }];
    const right = gradient(graph, passes.right, n, now.steps);
    const uses = gradientUses(graph, n);
    const rows =
      graph.kind === "value"
        ? told("grad", right.value, right.known)
        : tensorGradient(graph, n, right, right.terms.length === uses);
    if (uses > 1) rows.push({ kind: "sum", text: sumSoFar(graph, passes.right, right.terms, uses) });
    if (passes.other) rows.push(mistakenRow(graph, passes, n, now));
    return rows;
  }

  // The gradient of a tensor in full once it is complete; until then in one line.
  function tensorGradient(graph, n, right, complete) {
    const rows = told("grad", graph.facts.grads[n], right.known && (complete || n === graph.root));
    if (right.known && !complete && n !== graph.root) rows[0].text = `grad ${right.value}`;
    return rows;
  }

  function sumSoFar(graph, pass, terms, uses) {
    if (uses > 3 || graph.kind === "tensor")
      return terms.length === uses ? `sum of ${grouped(uses)}` : `${grouped(terms.length)} of ${grouped(uses)} uses`;
    const shown = terms.map((e, k) => (k ? bracketed(short(pass.term[e])) : short(pass.term[e])));
    return [...shown, ...Array(uses - terms.length).fill("…")].join(" + ");
  }

  const MISTAKES = { assign: "with =", order: "too early", cut: "cut" };

  function mistakenRow(graph, passes, n, now) {
    const other = gradient(graph, passes.other, n, now.steps);
    const bad = isWrong(graph, passes, n, now);
    const same = graph.kind === "tensor" && !passes.wrong.has(n);
    const text = `${MISTAKES[passes.other.mistake]}: ${other.known ? (same ? "the same" : oneLine(other.value)) : NOT_YET}`;
    return { kind: bad ? "mistaken bad" : "mistaken", text: bad ? `✗ ${text}` : text };
  }

  // Whether the mistaken pass has gone wrong at a node by now: as long as both say the same, nothing is.
  function isWrong(graph, passes, n, now) {
    if (!passes.other || !passes.wrong.has(n)) return false;
    const [right, other] = [passes.right, passes.other].map((pass) => gradient(graph, pass, n, now.steps));
    return other.known && !(right.known && right.value === other.value);
  }

  function stateOf(graph, passes, n, moment, now) {
    if (now.node === n) return "current";
    if (isWrong(graph, passes, n, now)) return "wrong";
    if (now.phase === "start" || now.phase === "forward")
      return isLeaf(graph, n) || passes.timeline.forward[n] <= moment ? "" : "waiting";
    if (!graph.reached[n]) return "";
    const { terms } = gradient(graph, passes.right, n, now.steps);
    const complete = n === graph.root || terms.length === gradientUses(graph, n);
    return complete ? "done" : "waiting";
  }

  // ---- closed groups ------------------------------------------------------------------------------------------------

  const WIDTH = 30; // characters of a row

  function closed(graph, passes, tree, id, moment) {
    const each = tree.groups[id];
    const nodes = tree.order.subarray(each.from, each.to);
    const now = at(graph, passes.timeline, moment);
    const share = progress(passes, nodes, moment, now);
    const lines = each.words && !each.name.includes(each.words) ? wrapped(each.words, WIDTH, 3) : [];
    if (!each.name.startsWith(grouped(nodes.length))) lines.push(counted(nodes.length, "node"));
    if (passes.other) lines.push(wrongIn(graph, passes, nodes, now));
    const state = nodes.includes(now.node) ? "current" : share === 1 ? (now.steps >= 0 ? "done" : "") : "waiting";
    return { title: wrapped(each.name, WIDTH, 3).join("\n"), lines, state, share };
  }

  // How much of a group the pass that is going on has done.
  function progress(passes, nodes, moment, now) {
    const times = now.steps >= 0 ? passes.timeline.backward : passes.timeline.forward;
    let [all, done] = [0, 0];
    for (const n of nodes) {
      if (times[n] <= 0) continue;
      all++;
      if (times[n] <= moment) done++;
    }
    return all ? done / all : 1;
  }

  function wrongIn(graph, passes, nodes, now) {
    let [wrong, all] = [0, 0];
    for (const n of nodes) {
      if (!graph.reached[n]) continue;
      all++;
      if (isWrong(graph, passes, n, now)) wrong++;
    }
    return `${grouped(wrong)} of ${grouped(all)} wrong`;
  }

  // A text in rows of so many characters, broken between words.
  function wrapped(text, width, most) {
    const rows = [""];
    for (const word of text.split(" ")) {
      const row = rows[rows.length - 1];
      if (row && row.length + 1 + word.length > width) rows.push(word);
      else rows[rows.length - 1] = row ? `${row} ${word}` : word;
    }
    return rows.length > most ? [...rows.slice(0, most - 1), rows[most - 1] + " …"] : rows;
  }

  return { value, closed };
})();
