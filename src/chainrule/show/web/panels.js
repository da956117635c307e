// What opens beside the picture: what goes wrong, explanations, code, the nodes as a table, and the keys.
"use strict";

globalThis.chainrulePanels = (() => {
  const { byId, element, replace } = chainruleDom;
  const words = chainruleWords;
  const PANELS = [
    ["mistakes", "What goes wrong"],
    ["explain", "Explain"],
    ["code", "Code"],
    ["nodes", "Nodes"],
    ["keys", "Keys"],
  ];
  const MOST = 200; // rows of a table

  function show(context, calls) {
    const { state, graph } = context;
    const there = PANELS.filter(
      ([id]) => (graph.differentiable || !["mistakes", "explain"].includes(id)) && (id !== "code" || graph.facts.code),
    );
    replace(
      byId("tabs"),
      ...there.map(([id, name]) =>
        element(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${id}`,
            "data-key": id,
            "aria-selected": String(state.panel === id),
            "aria-controls": "panel",
            onclick: () => calls.change({ panel: state.panel === id ? "" : id }),
          },
          name,
        ),
      ),
    );
    const panel = byId("panel");
    panel.hidden = !there.some(([id]) => id === state.panel);
    document.body.classList.toggle("aside", !panel.hidden);
    if (panel.hidden) return;
    panel.setAttribute("aria-labelledby", `tab-${state.panel}`);
    const top = panel.scrollTop;
    replace(panel, ...CONTENTS[state.panel](context, calls));
    panel.scrollTop = top;
  }

  // ---- what goes wrong ----------------------------------------------------------------------------------------------

  const CHOICES = [
    ["", "Nothing: outputs first, with +="],
    ["order", "No topological order: pass on as soon as reached"],
    ["assign", "= instead of +="],
  ];

  function mistakes(context, calls) {
    const { state } = context;
    const choice = ([value, name]) =>
      element(
        "label",
        { class: "choice" },
        element("input", {
          type: "radio",
          name: "wrong",
          value,
          checked: state.wrong === value,
          "data-key": `wrong${value}`,
          onchange: () => calls.change({ wrong: value }),
        }),
        ` ${name}`,
      );
    const choices = element("fieldset", {}, element("legend", {}, "In the backward pass, do wrong:"), ...CHOICES.map(choice));
    return [
      choices,
      ...(state.wrong
        ? verdict(context, calls)
        : [element("p", {}, "Choose a mistake: its gradients stand beside the right ones, in every box.")]),
    ];
  }

  function verdict(context, calls) {
    const { graph, passes } = context;
    const wrong = [...passes.wrong];
    const are = wrong.length === 1 ? "is" : "are";
    const count = `${words.grouped(wrong.length)} of ${words.counted(passes.of, "gradient")} ${are} wrong.`;
    const found = [
      element(
        "p",
        { class: wrong.length ? "verdict bad" : "verdict good", role: "status" },
        wrong.length ? count : "All gradients come out right all the same.",
      ),
      element("p", {}, reason(graph, passes)),
    ];
    if (wrong.length)
      found.push(
        table(
          ["node", "right", "wrong"],
          wrong
            .slice(0, MOST)
            .map((n) => [
              nodeButton(graph, n, calls),
              gradText(graph, passes.right.grad[n]),
              gradText(graph, passes.other.grad[n]),
            ]),
          wrong.length,
        ),
      );
    return found;
  }

  const gradText = (graph, grad) => (graph.kind === "value" ? words.short(grad) : grad.shown);

  function reason(graph, { right, other, wrong }) {
    return other.mistake === "assign" ? reasonOfAssign(graph, right, wrong) : reasonOfOrder(graph, other, wrong);
  }

  function reasonOfAssign(graph, right, wrong) {
    const shared = [];
    for (let n = 0; n < graph.count; n++) if (graph.reached[n] && chainruleGraph.gradientUses(graph, n) > 1) shared.push(n);
    if (!shared.length)
      return "No node here is used more than once, so no gradient has more than one part, and there is nothing to add up.";
    const first = shared.find((n) => wrong.has(n));
    if (first === undefined)
      return `${words.name(graph, shared[0])} is used more than once, but what is overwritten there is 0.`;
    const uses = chainrulePasses.arrived(graph, right, first, Infinity).length;
    const below = graph.op[first] < 0 ? "" : ", and what it was computed from gets a wrong gradient too";
    const lost = `with = the last part takes the place of the others${below}`;
    return `${words.name(graph, first)} is used ${uses} times. Each use brings a part of its gradient; ${lost}.`;
  }

  function reasonOfOrder(graph, other, wrong) {
    const early = chainrulePasses.firstTooEarly(graph, other);
    if (!early)
      return (
        "Every result here has passed its gradient on after all of it had arrived: no result is used at two distances from " +
        "the output. Graphs in which one is come out wrong."
      );
    const name = words.name(graph, early.node);
    const late = words.name(graph, graph.consumer[early.late[0]]);
    if (!wrong.size) return `${name} passed its gradient on before ${late} had sent its part, but that part is 0.`;
    return (
      `${name} passed its gradient on before ${late} had sent its part: what came late never reached the inputs of ${name}. ` +
      "In topological order a node waits for all of its uses."
    );
  }

  // ---- nodes --------------------------------------------------------------------------------------------------------

  function nodes(context, calls) {
    const { graph, passes, scene, state } = context;
    const shown = [];
    for (const { view } of chainruleScene.within(scene))
      for (const box of view.nodes) if (box.kind === "value" || box.kind === "constant") shown.push(box.node);
    const rows = shown.slice(0, MOST).map((n) => {
      const { rows: said } = chainruleBoxes.value(graph, passes, n, state.moment);
      const op = graph.op[n] < 0 ? "" : chainruleGraph.row(graph, n).symbol;
      const text = (...kinds) => (said.find((row) => kinds.includes(row.kind))?.text ?? "").replace(/^(data|grad) /, "");
      return [nodeButton(graph, n, calls), op, text("data"), text("grad", "none")];
    });
    return [
      element("p", {}, `The ${words.counted(shown.length, "node")} in the picture that belong to no closed group.`),
      table(["node", "made by", "data", "gradient"], rows, shown.length),
    ];
  }

  function nodeButton(graph, n, calls) {
    return element(
      "button",
      { type: "button", class: "link", "data-key": `node${n}`, onclick: () => calls.choose(n) },
      words.name(graph, n),
    );
  }

  // Rows of cells under a head; count: how many there would be.
  function table(head, rows, count) {
    const cells = (kind, row) =>
      element("tr", {}, ...row.map((cell) => element(kind, kind === "th" ? { scope: "col" } : {}, cell)));
    return element(
      "div",
      { class: "scroll" },
      element(
        "table",
        {},
        element("thead", {}, cells("th", head)),
        element("tbody", {}, ...rows.map((row) => cells("td", row))),
      ),
      count > rows.length ? element("p", {}, `and ${words.grouped(count - rows.length)} more`) : null,
    );
  }

  // ---- code, keys ---------------------------------------------------------------------------------------------------

  const STYLES = { python: "Python", numpy: "NumPy", torch: "PyTorch", latex: "LaTeX" };

  function code({ graph, state }, calls) {
    const found = graph.facts.code;
    const options = Object.keys(found).map((style) =>
      element("option", { value: style, selected: style === state.style }, STYLES[style] ?? style),
    );
    const choice = element(
      "label",
      {},
      "The backward pass in ",
      element("select", { "data-key": "style", onchange: (event) => calls.change({ style: event.target.value }) }, ...options),
    );
    const { text, problem } = found[state.style];
    if (problem) return [choice, element("p", {}, problem)];
    const listing = element("pre", { tabindex: "0" }, text);
    return [
      choice,
      " ",
      element("button", { type: "button", "data-key": "copy", onclick: (event) => copy(event.target, listing, text) }, "Copy"),
      listing,
    ];
  }

  // To the clipboard; where that is not allowed, as in a notebook's frame, what is to be copied is marked.
  async function copy(button, listing, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(listing);
      button.textContent = "Marked: copy it with Ctrl+C";
    }
  }

  function keys() {
    return [
      element(
        "dl",
        { class: "keys" },
        ...chainruleKeyboard.KEYS.flatMap(([key, does]) => [
          element("dt", {}, element("kbd", {}, key)),
          element("dd", {}, does),
        ]),
      ),
    ];
  }

  const CONTENTS = { mistakes, explain: chainruleExplain.contents, code, nodes, keys };

  return { show };
})();
