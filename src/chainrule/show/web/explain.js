// What makes up a gradient: shares that sum to it, by use, by path, by source line, ..., the largest first; and what would be
// if an edge were cut.
//
// The shares by use are added up here, for any node. Those by path, parameter and sample, and those by line and module where
// they are there, are what explain.py found when the page was written; it was asked for the nodes that matter most.
"use strict";

globalThis.chainruleExplain = (() => {
  const { element } = chainruleDom;
  const words = chainruleWords;
  const MOST = 100; // rows
  const LONGEST = 10; // nodes of a path that are named one by one

  function contents(context, calls) {
    const { graph, passes } = context;
    const n = context.state.node;
    if (n < 0)
      return [
        element("p", {}, "Click a node in the picture: here is what its gradient is made up of."),
        ...overview(graph, calls),
      ];
    if (!graph.reached[n]) return [element("p", {}, `No gradient reaches ${words.name(graph, n)}.`)];
    const grad = graph.kind === "value" ? words.short(graph.grad[n]) : graph.facts.grads[n].shown;
    const heading = element("p", { class: "verdict" }, `${words.slopeName(graph, n)} = ${grad}`);
    if (n === graph.root)
      return [heading, element("p", {}, "It is the output, whose gradient by itself is 1."), ...overview(graph, calls)];
    const ways = waysOf(graph, n);
    if (!ways.length)
      return [
        heading,
        element(
          "p",
          {},
          `The nodes whose gradients are explained here are ${listed(graph)}; chainrule.show.explain(node, root) explains any.`,
        ),
      ];
    const way = ways.some(([id]) => id === context.state.share) ? context.state.share : ways[0][0];
    return [
      heading,
      choice(ways, way, calls),
      ...sharesOf(context, n, way, calls),
      ...cutting(graph, passes, context.state, calls),
    ];
  }

  function listed(graph) {
    const names = Object.keys(graph.facts.explained)
      .filter((n) => n)
      .map((n) => words.name(graph, Number(n)));
    return names.slice(0, 12).join(", ") + (names.length > 12 ? ", ..." : "");
  }

  // Which leaves matter most.
  function overview(graph, calls) {
    const { leaves } = graph.facts.explained[""];
    const choose = (nodes) => calls.change({ node: nodes[0] });
    return [element("p", {}, `${leaves.head}:`), given(graph, leaves, choose)];
  }

  // ---- ways ---------------------------------------------------------------------------------------------------------

  const WAYS = [
    ["use", "use"],
    ["path", "path"],
    ["line", "source line"],
    ["module", "module"],
    ["call", "call"],
    ["parameter", "parameter"],
    ["sample", "sample"],
  ];

  function waysOf(graph, n) {
    const told = graph.facts.explained[n] ?? {};
    const called = graph.facts.modules.some((path) => path.length);
    const own = { use: true, line: graph.line !== null, module: called, call: called };
    return WAYS.filter(([way]) => told[`${way}s`] || (graph.kind === "value" && own[way]));
  }

  function choice(ways, chosenWay, calls) {
    if (ways.length < 2) return null;
    const options = ways.map(([way, name]) => element("option", { value: way, selected: way === chosenWay }, name));
    return element(
      "label",
      {},
      "Shares by ",
      element("select", { "data-key": "share", onchange: (event) => calls.change({ share: event.target.value }) }, ...options),
    );
  }

  function sharesOf(context, n, way, calls) {
    const { graph } = context;
    const told = graph.facts.explained[n]?.[`${way}s`];
    if (!told) return summed(context, n, shares(context, n, way), calls);
    return [element("p", {}, told.trouble || told.head), given(graph, told, calls.trail)];
  }

  // ---- shares that were found when the page was written -------------------------------------------------------------

  // act: what a click on a share does with its nodes.
  function given(graph, { rows }, act) {
    const most = Math.max(...rows.map((row) => Math.abs(row[2] ?? 0)));
    return element(
      "ul",
      { class: "shares" },
      ...rows.map(([name, amount, share, nodes], i) => {
        const called = named(graph, name, nodes);
        const said = nodes.length
          ? element("button", { type: "button", class: "link", "data-key": `trail${i}`, onclick: () => act(nodes) }, called)
          : called;
        return element(
          "li",
          {},
          bar(share ?? 0, most),
          element("span", { class: "amount" }, amount, share === null ? "" : ` (${percent(share)})`),
          " ",
          said,
        );
      }),
    );
  }

  // A path that is short in the names of this page; a node by its name.
  function named(graph, name, nodes) {
    if (nodes.length === 1) return words.name(graph, nodes[0]);
    const whole = nodes.length > 1 && nodes.length <= LONGEST && nodes[nodes.length - 1] === graph.root;
    return whole ? nodes.map((n) => words.name(graph, n)).join(" → ") : name;
  }

  const percent = (share) => `${Math.round(1000 * share) / 10} %`;

  function bar(size, most) {
    const made = element("span", { class: size < 0 ? "bar-of negative" : "bar-of" });
    made.style.setProperty("--size", `${most ? (100 * Math.abs(size)) / most : 0}%`);
    return made;
  }

  // ---- shares that are added up here --------------------------------------------------------------------------------

  // The amounts that come to a node, added up by what their edges have in common; the largest first.
  function shares({ graph, passes }, n, way) {
    const found = new Map();
    for (const e of chainrulePasses.arrived(graph, passes.right, n, Infinity)) {
      const key = keyOf(graph, e, way);
      const part = found.get(key) ?? { key, amount: 0, edges: [] };
      part.amount += passes.right.term[e];
      part.edges.push(e);
      found.set(key, part);
    }
    return [...found.values()].sort((a, b) => Math.abs(b.amount) - Math.abs(a.amount));
  }

  function keyOf(graph, e, way) {
    const n = graph.consumer[e];
    if (way === "use") return `in ${words.origin(graph, n).split(" = ").slice(0, 2).join(" = ")} (${e})`;
    if (graph.line[n] < 0) return "not recorded";
    const path = graph.facts.modules[graph.module[n]].join(" > ");
    if (way === "line") return words.place(graph, n).where.split(",")[0];
    return way === "module" ? path || "outside of modules" : graph.call[n] ? `call ${graph.call[n]}` : "outside of modules";
  }

  function summed({ graph, state }, n, parts, calls) {
    const whole = graph.grad[n];
    const most = Math.max(...parts.map((part) => Math.abs(part.amount)));
    const rows = parts.slice(0, MOST).map((part) => row(graph, part, whole, most, calls, state));
    const rest = parts.length > MOST ? element("p", {}, `and ${words.grouped(parts.length - MOST)} smaller ones`) : null;
    return [
      element(
        "p",
        {},
        parts.length > 1 ? `${words.counted(parts.length, "share")}; they sum to ${words.short(whole)}.` : "A single share.",
      ),
      element("ul", { class: "shares" }, ...rows),
      rest,
    ];
  }

  function row(graph, { key, amount, edges }, whole, most, calls, state) {
    const share = whole === 0 ? "" : ` (${percent(amount / whole)})`;
    const [e] = edges;
    const cut =
      edges.length === 1 && state.cut !== e
        ? element(
            "button",
            { type: "button", class: "link", "data-key": `cut${e}`, onclick: () => calls.change({ wrong: "cut", cut: e }) },
            "cut it",
          )
        : null;
    const go = element(
      "button",
      {
        type: "button",
        class: "link",
        "data-key": `use${e}`,
        onclick: () => calls.change({ moment: calls.momentOf(graph.consumer[e]) }),
      },
      key.replace(/ \(\d+\)$/, ""),
    );
    const uses = edges.length > 1 ? ` in ${words.counted(edges.length, "use")}` : "";
    return element(
      "li",
      {},
      bar(amount, most),
      element("span", { class: "amount" }, `${words.short(amount)}${share}${uses}`),
      " ",
      go,
      " ",
      cut,
    );
  }

  // ---- cutting ------------------------------------------------------------------------------------------------------

  function cutting(graph, passes, state, calls) {
    if (state.wrong !== "cut") return [];
    const [from, to] = [graph.consumer[state.cut], graph.input[state.cut]].map((n) => words.name(graph, n));
    const changed = [...passes.wrong];
    const told = changed
      .slice(0, 20)
      .map((n) =>
        element(
          "li",
          {},
          `${words.slopeName(graph, n)}: ${words.short(passes.right.grad[n])} → ${words.short(passes.other.grad[n])}`,
        ),
      );
    return [
      element("h3", {}, `The edge from ${from} back to ${to} is cut`),
      element(
        "p",
        { role: "status" },
        `${words.grouped(changed.length)} of ${words.counted(passes.of, "gradient")} would be different. The picture shows both.`,
      ),
      element("ul", {}, ...told),
      element("button", { type: "button", "data-key": "uncut", onclick: () => calls.change({ wrong: "" }) }, "Join it again"),
    ];
  }

  return { contents };
})();
