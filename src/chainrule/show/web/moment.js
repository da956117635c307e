// What happens at the moment that is shown: the chain rule in numbers, beside the rule of the table and the source line; and
// the same as one sentence for a screen reader.
//
//     chainruleMoment.show(place, context, moment, {choose, mistake})       chainruleMoment.sentence(context, moment)
"use strict";

globalThis.chainruleMoment = (() => {
  const { element, replace } = chainruleDom;
  const { isLeaf, row } = chainruleGraph;
  const words = chainruleWords;
  const MOST = 12; // inputs of one operation that are listed
  const LONG = 64; // characters of a line that is set smaller, so that it stays one

  function show(place, context, moment, calls) {
    const now = chainruleTimeline.at(context.graph, context.passes.timeline, moment);
    const { other } = context.passes;
    replace(place.phase, phase(context, now, moment));
    place.phase.className = `phase ${now.phase}`;
    const around = calls.around(now.node);
    replace(place.inside, ...(around < 0 ? [] : inside(context, around, calls)));
    replace(
      place.right,
      ...(other && now.phase === "backward" ? [element("h3", {}, "Right: outputs first, with +=")] : []),
      ...body(context, now, context.passes.right, calls),
    );
    place.other.hidden = !other || now.phase !== "backward";
    place.right.parentElement.classList.toggle("two", !place.other.hidden);
    if (!place.other.hidden)
      replace(
        place.other,
        element("h3", {}, HEADINGS[other.mistake]),
        ...backward(context, other.order[now.steps - 1], other, calls),
      );
    replace(place.rule, ...rule(context, now));
  }

  // The closed group that the node of this moment is in.
  function inside({ tree }, group, calls) {
    const open = element(
      "button",
      { type: "button", class: "link", "data-key": "open", onclick: () => calls.toggle(group) },
      "open it",
    );
    return [element("p", { class: "inside" }, `in the closed group ${tree.groups[group].name}: `, open)];
  }

  const HEADINGS = {
    order: "Wrong: each node passes on as soon as it is reached",
    assign: "Wrong: = instead of +=",
    cut: "With the edge cut",
  };

  function phase({ graph, passes }, now) {
    const { timeline } = passes;
    if (now.phase === "start") return "Start";
    if (now.phase === "forward")
      return `Forward ${words.grouped(timeline.forward[now.node])} of ${words.grouped(graph.forward.length)}`;
    if (now.phase === "seed") return "Backward begins";
    return `Backward ${words.grouped(now.steps)} of ${words.grouped(graph.backward.length)}`;
  }

  function body(context, now, pass, calls) {
    if (now.phase === "start") return start(context);
    if (now.phase === "forward")
      return [element("p", { class: "line" }, coloured(words.origin(context.graph, now.node), ["", "", "", "result"]))];
    if (now.phase === "seed") return seed(context);
    return backward(context, now.node, pass, calls);
  }

  function start({ graph }) {
    const leaves = graph.op.reduce((count, op) => count + (op < 0 ? 1 : 0), 0);
    const does = graph.differentiable
      ? "Step forward to compute, then backward to differentiate."
      : `Step forward to compute. There is no backward pass: ${graph.facts.problem}`;
    return [
      element(
        "p",
        { class: "line" },
        `${words.counted(leaves, "input and constant", "inputs and constants")}, `,
        `${words.counted(graph.forward.length, "operation")}.`,
      ),
      element("p", {}, does),
    ];
  }

  function seed({ graph }) {
    const name = words.name(graph, graph.root);
    return [
      element(
        "p",
        { class: "line" },
        `d${name}/d${name} = `,
        element("b", { class: "result" }, graph.kind === "value" ? "1" : graph.facts.grads[graph.root].shown),
      ),
      element(
        "p",
        {},
        `When ${name} changes by a little, ${name} changes by as much: its own gradient is 1. `,
        "From here each node passes its gradient on to its inputs.",
      ),
    ];
  }

  function backward(context, n, pass, calls) {
    const found = words.contributions(context.graph, pass, n);
    const lines = found.slice(0, MOST).map((each) => contribution(context, each, pass, calls));
    if (found.length > MOST) lines.push(element("li", {}, `and ${words.counted(found.length - MOST, "more input")}`));
    return [element("ul", { class: "lines" }, ...lines)];
  }

  function contribution({ graph }, each, pass, calls) {
    const { input, parts, words: said, running, here, uses, use } = each;
    const sum = running
      ? element(
          "div",
          { class: "sum" },
          `grad of ${words.name(graph, input)}, use ${use} of ${uses}: `,
          element("b", {}, running),
          " ",
          pass.mistake
            ? ""
            : element(
                "button",
                { type: "button", class: "link", onclick: () => calls.mistake("assign"), "data-key": `why${input}` },
                "why +=?",
              ),
        )
      : uses > 1
        ? element("div", { class: "sum" }, `${words.name(graph, input)} is used ${uses} times: more will come`)
        : null;
    const size = said.length > LONG ? "line long" : "line";
    const line = element("div", { class: size }, ...(parts ? inColours(parts) : [said]));
    return element("li", {}, line, here && !pass.mistake ? element("div", { class: "here" }, here) : null, sum);
  }

  // dL/da = dL/de × de/da = -2 × -3 = 6, each factor in its colour.
  function inColours([wanted, upstream, local, g, slope, amount]) {
    const part = (kind, text) => element("span", { class: kind }, text);
    return [
      part("result", wanted),
      " = ",
      part("upstream", upstream),
      " × ",
      part("local", local),
      " = ",
      part("upstream", g),
      " × ",
      part("local", slope),
      " = ",
      element("b", { class: "result" }, amount),
    ];
  }

  function coloured(text) {
    const at = text.lastIndexOf(" = ");
    return at < 0 ? [text] : [text.slice(0, at + 3), element("b", { class: "result" }, text.slice(at + 3))];
  }

  // ---- the rule and the line ----------------------------------------------------------------------------------------

  function rule({ graph, passes }, now) {
    const n = now.node;
    if (n < 0 || isLeaf(graph, n)) return [];
    const op = row(graph, n);
    const found = [element("p", {}, element("b", {}, op.name), ` ${op.doc}`)];
    if (now.phase === "backward") {
      const formulas = [...new Set(words.contributions(graph, passes.right, n).map((each) => each.formula))].filter(
        (each) => each,
      );
      found.push(...formulas.slice(0, 4).map((formula) => element("p", { class: "formula" }, formula)));
    }
    const { where, source } = placeOf(graph, n);
    if (where) found.push(element("p", { class: "where" }, `${where}  `, source ? element("code", {}, source) : null));
    return found;
  }

  function placeOf(graph, n) {
    const span = graph.facts.spans?.[n];
    if (!span) return words.place(graph, n);
    const { expression } = graph.facts;
    const before = expression.slice(0, span[0]).split("\n");
    const line = expression.includes("\n") ? `line ${before.length}, ` : "";
    return { where: `${line}column ${before[before.length - 1].length + 1}`, source: expression.slice(...span) };
  }

  // ---- for the ear --------------------------------------------------------------------------------------------------

  function sentence(context, moment) {
    const { graph, passes } = context;
    const now = chainruleTimeline.at(graph, passes.timeline, moment);
    if (now.phase === "start") return "Start: the inputs have their numbers.";
    if (now.phase === "forward") return `${phase(context, now)}: ${words.origin(graph, now.node)}.`;
    const name = words.name(graph, graph.root);
    if (now.phase === "seed") return `Backward begins: the gradient of ${name} by itself is 1.`;
    const parts = words
      .contributions(graph, passes.right, now.node)
      .slice(0, MOST)
      .map((each) => each.words + (each.running ? `; so far ${each.running}` : ""));
    return `${phase(context, now)}: ${words.name(graph, now.node)} passes its gradient on. ${parts.join(". ")}.`;
  }

  return { show, sentence };
})();
