// The bar over the picture, and the expression over everything.
"use strict";

globalThis.chainruleControls = (() => {
  const { byId, element, replace } = chainruleDom;
  const words = chainruleWords;

  function prepare(context, stage, calls, find) {
    const { graph } = context;
    byId("smaller").addEventListener("click", () => stage.camera.zoom(0.8));
    byId("larger").addEventListener("click", () => stage.camera.zoom(1.25));
    byId("fit").addEventListener("click", () => stage.camera.fit());
    byId("svg").addEventListener("click", () => chainruleExport.svg(stage, document.title));
    byId("png").addEventListener("click", () => chainruleExport.png(stage, document.title));
    byId("by").addEventListener("change", () => calls.change({ by: byId("by").value }));
    prepareExpression(graph, calls);
    prepareSearch(graph, find);
  }

  // ---- groups -------------------------------------------------------------------------------------------------------

  function showGroups({ tree, state }, choices, calls) {
    replace(
      byId("by"),
      ...choices.map(({ by, name, problem }) =>
        element(
          "option",
          { value: by, disabled: Boolean(problem), selected: by === tree.by, title: problem },
          problem ? `${name} (${problem})` : name,
        ),
      ),
    );
    const last = [...state.open][state.open.size - 1];
    const path = last === undefined ? [] : chainruleGroups.path(tree, last);
    const crumb = (id) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            type: "button",
            "data-key": `crumb${id}`,
            title: "Close what is within",
            onclick: () => closeWithin(calls, tree, state, id),
          },
          tree.groups[id].name,
        ),
      );
    const whole = element(
      "li",
      {},
      element("button", { type: "button", "data-key": "crumb0", onclick: () => calls.change({ open: new Set() }) }, "Graph"),
    );
    replace(byId("crumbs"), path.length ? element("ol", {}, whole, ...path.map(crumb)) : null);
    byId("crumbs").scrollLeft = byId("crumbs").scrollWidth; // the last one is what was opened
  }

  // Of a group stays open what is around it, and the group itself.
  function closeWithin(calls, tree, state, id) {
    const within = (each) => each !== id && chainruleGroups.path(tree, each).includes(id);
    calls.change({ open: new Set([...state.open].filter((each) => !within(each))) });
  }

  // ---- search -------------------------------------------------------------------------------------------------------

  const LISTED = 2000; // names that the search offers

  function prepareSearch(graph, find) {
    const named = new Map();
    for (const [n, name] of Object.entries(graph.facts.names)) if (!named.has(name)) named.set(name, Number(n));
    byId("labels").append(...[...named.keys()].slice(0, LISTED).map((name) => element("option", { value: name })));
    byId("find").addEventListener("keydown", (event) => {
      if (event.key === "Enter") search();
    });
    byId("find").addEventListener("change", search);
    function search() {
      const wanted = byId("find").value.trim();
      const n = wanted ? found(graph, named, wanted) : -1;
      byId("find").setAttribute("aria-invalid", String(Boolean(wanted) && n < 0));
      byId("find").setCustomValidity(wanted && n < 0 ? "no node is called that" : "");
      if (n >= 0) find(n);
    }
  }

  // By label, by the v7 of what has none, or by the beginning of a label.
  function found(graph, named, wanted) {
    if (named.has(wanted)) return named.get(wanted);
    const number = /^v(\d+)$/.exec(wanted);
    if (number && Number(number[1]) >= 1 && Number(number[1]) <= graph.count) return Number(number[1]) - 1;
    const begins = [...named].find(([name]) => name.toLowerCase().startsWith(wanted.toLowerCase()));
    return begins ? begins[1] : -1;
  }

  // ---- the expression -----------------------------------------------------------------------------------------------

  function prepareExpression(graph, calls) {
    const place = byId("expression");
    if (graph.facts.expression) {
      place.append(element("p", { class: "formula" }, ...given(graph, calls)));
      return;
    }
    const lines = words.expression(graph);
    if (!lines) {
      place.append(element("p", { class: "words" }, inWords(graph)));
      return;
    }
    const part = (each) =>
      typeof each === "string"
        ? each
        : element(
            "span",
            { class: "part", "data-node": each.node, onclick: chosen(calls, each.node) },
            ...each.parts.map(part),
          );
    place.append(
      ...lines.map((line, i) =>
        element("p", { class: i ? "formula where" : "formula" }, `${i ? "with " : ""}${line.name} = `, ...line.parts.map(part)),
      ),
    );
  }

  function chosen(calls, n) {
    return (event) => {
      event.stopPropagation();
      calls.choose(n);
    };
  }

  const DEEPEST = 200; // pieces within pieces; what lies deeper is text of the piece around it

  // The expression as it was given, each piece within the piece around it.
  function given(graph, calls) {
    const { expression, spans } = graph.facts;
    const pieces = Object.entries(spans)
      .map(([n, [start, end]]) => ({ n: Number(n), start, end }))
      .sort((a, b) => a.start - b.start || b.end - a.end);
    let k = 0;
    const until = (from, end, depth = 0) => {
      const parts = [];
      let at = from;
      while (k < pieces.length && pieces[k].start < end) {
        const piece = pieces[k++];
        if (piece.start < at || piece.end > end || depth > DEEPEST) continue;
        parts.push(expression.slice(at, piece.start));
        parts.push(
          element(
            "span",
            { class: "part", "data-node": piece.n, onclick: chosen(calls, piece.n) },
            ...until(piece.start, piece.end, depth + 1),
          ),
        );
        at = piece.end;
      }
      parts.push(expression.slice(at, end));
      return parts;
    };
    return until(0, expression.length);
  }

  // A graph that is too long for a line: what it is at the top.
  function inWords(graph) {
    const single = (n) => graph.useFirst[n + 1] - graph.useFirst[n] === 1;
    return `${words.name(graph, graph.root)} = ${words.structure(graph, graph.root, single, { widest: 130, exact: true })}`;
  }

  function showExpression({ graph, passes }, moment) {
    const { node } = chainruleTimeline.at(graph, passes.timeline, moment);
    for (const part of byId("expression").querySelectorAll(".part"))
      part.classList.toggle("current", Number(part.dataset.node) === node);
  }

  return { prepare, showGroups, showExpression };
})();
