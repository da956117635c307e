// The page: what is chosen, and what follows from a choice.
//
// `state` is all that a reader can change; `change(part)` changes it, brings picture and words up to date, and writes it into
// the address, so that a shared address shows the same moment.
"use strict";

(() => {
  const { byId } = chainruleDom;
  const words = chainruleWords;

  const graph = chainruleGraph.read(JSON.parse(byId("facts").textContent));
  const timeline = chainruleTimeline.of(graph);
  const right = graph.differentiable ? chainrulePasses.run(graph) : null;
  const usual = chainruleGroups.usual(graph);
  const byChoices = chainruleGroups.choices(graph);
  const initial = () => ({
    moment: 0,
    by: usual,
    open: new Set(),
    wrong: "",
    cut: -1,
    node: -1,
    panel: "",
    share: "use",
    style: "python",
  });
  const state = initial();
  const context = { graph, tree: null, passes: null, scene: null, stops: [], state };
  const places = {
    phase: byId("phase"),
    right: byId("right"),
    other: byId("other"),
    rule: byId("rule"),
    inside: byId("inside"),
  };
  const calls = {
    choose,
    toggle,
    describe,
    around,
    trail,
    momentOf: (n) => momentOf(n, graph.differentiable),
    mistake: (wrong) => change({ wrong, panel: "mistakes" }),
    change,
  };
  const stage = chainruleStage.over(byId("stage"), calls);
  const player = chainrulePlayer.over(calls, () => context);

  // ---- changes ------------------------------------------------------------------------------------------------------

  function change(part, { quietly = false } = {}) {
    const before = { ...state };
    Object.assign(state, part);
    if (context.tree?.by !== state.by) {
      context.tree = chainruleGroups.tree(graph, state.by);
      if (!part.open) state.open = new Set();
    }
    if (state.wrong === "cut" && (graph.kind !== "value" || !graph.flows[state.cut])) state.wrong = "";
    if (state.wrong !== "cut") state.cut = -1;
    const other = state.wrong !== before.wrong || state.cut !== before.cut;
    if (other || !context.passes) context.passes = passes(state.wrong, state.cut);
    const redrawn = state.by !== before.by || state.open !== before.open || other || !context.scene;
    if (redrawn) draw();
    state.moment = Math.max(0, Math.min(timeline.total, state.moment));
    tell();
    if (redrawn) look(part, before);
    else if (state.moment !== before.moment) followMoment();
    if (!quietly && !player.playing()) share();
  }

  function passes(mistake, cut) {
    const other = mistake && right ? chainrulePasses.run(graph, { mistake, cut }) : null;
    const verdict = other ? chainrulePasses.wrong(graph, right, other) : { nodes: [], of: 0 };
    return { timeline, right, other, cut, wrong: new Set(verdict.nodes), of: verdict.of };
  }

  function draw() {
    context.scene = chainruleScene.build(graph, context.tree, context.passes, state.open);
    context.stops = chainruleTimeline.stops(graph, timeline, chainruleScene.shown(context.tree, context.scene));
    stage.draw(context.scene, context);
    chainruleControls.showGroups(context, byChoices, calls);
  }

  function tell() {
    stage.tell(context, state.moment);
    chainruleMoment.show(places, context, state.moment, calls);
    chainruleControls.showExpression(context, state.moment);
    chainrulePanels.show(context, calls);
    if (state.panel === "explain" && state.node >= 0) stage.mark(new Set([shownAs(state.node)]));
    player.show(state.moment);
    byId("stage").setAttribute("aria-label", `Graph: ${chainruleStage.summary(stage)}. Up and down move between them.`);
    if (!player.playing()) byId("said").textContent = chainruleMoment.sentence(context, state.moment);
  }

  // After a new picture: what was opened fills the view, what was closed is in sight, else all of it.
  function look(part, before) {
    const opened = part.open ? [...state.open].filter((id) => !before.open.has(id)) : [];
    const closed = part.open && part.by === undefined ? [...before.open].filter((id) => !state.open.has(id)) : [];
    const place = opened.length ? stage.place(`g${opened[opened.length - 1]}`) : null;
    if (place) {
      stage.camera.frame(place);
      followMoment();
    } else if (closed.length && stage.place(`g${closed[0]}`)) stage.camera.frame(stage.place(`g${closed[0]}`));
    else stage.camera.fit();
  }

  function followMoment() {
    const { node } = chainruleTimeline.at(graph, timeline, state.moment);
    if (node >= 0) stage.camera.follow(stage.place(shownAs(node)));
  }

  // The box that a node is in: its own, or that of the closed group around it.
  function shownAs(n) {
    const closed = around(n);
    return closed < 0 ? `n${n}` : `g${closed}`;
  }

  // The closed group that a node is in, or -1.
  function around(n) {
    if (n < 0) return -1;
    return chainruleGroups.path(context.tree, context.tree.of[n]).find((id) => !state.open.has(id)) ?? -1;
  }

  // ---- what a reader does -------------------------------------------------------------------------------------------

  // A node was clicked: to the moment at which it acts in the pass that is going on.
  function choose(n) {
    const backwards = state.moment >= timeline.seed;
    change({ moment: momentOf(n, backwards), node: n });
  }

  function momentOf(n, backwards) {
    if (!backwards) return timeline.forward[n] || state.moment; // a leaf is there from the start
    if (timeline.backward[n] >= 0) return timeline.backward[n];
    const edges = chainrulePasses.arrived(graph, right, n, Infinity); // a leaf: when its gradient is complete
    return edges.length ? timeline.seed + 1 + right.step[graph.consumer[edges[edges.length - 1]]] : state.moment;
  }

  function toggle(id) {
    const open = new Set(state.open);
    if (open.has(id)) {
      for (const each of open) if (chainruleGroups.path(context.tree, each).includes(id)) open.delete(each);
    } else {
      for (const each of chainruleGroups.path(context.tree, id)) open.add(each);
    }
    if (open.size > state.open.size && chainruleScene.size(context.tree, open) > chainruleScene.MOST) {
      remark(`Opening this would show more than ${words.grouped(chainruleScene.MOST)} boxes; close another group first.`);
      return;
    }
    remark("");
    change({ open });
    stage.boxes.get(`g${id}`)?.element.focus({ preventScroll: true });
  }

  // The boxes of these nodes stand out until something changes.
  function trail(nodes) {
    const ids = new Set(nodes.map(shownAs));
    stage.mark(ids);
    const place = stage.place([...ids][0]);
    if (place) stage.camera.follow(place);
  }

  // A node that was searched for: its groups open, and the moment is its own.
  function find(n) {
    const open = new Set([...state.open, ...chainruleGroups.path(context.tree, context.tree.of[n])]);
    if (open.size > state.open.size) change({ open });
    choose(n);
    stage.camera.follow(stage.place(`n${n}`));
    stage.boxes.get(`n${n}`)?.element.focus({ preventScroll: true });
  }

  function describe(box, moment) {
    if (box.group !== undefined) {
      const { title, lines } = chainruleBoxes.closed(graph, context.passes, context.tree, box.group, moment);
      return `${[title, ...lines].join(", ").replaceAll("\n", " ")}, closed; Enter opens it`;
    }
    if (box.kind === "outside") return box.title;
    const { rows, state: how } = chainruleBoxes.value(graph, context.passes, box.node, moment);
    const said = rows
      .map((row) => row.text)
      .join(", ")
      .replaceAll("·", "not yet known");
    return how === "current" ? `${said}, now` : how === "wrong" ? `${said}, wrong` : said;
  }

  function remark(text) {
    byId("remark").textContent = text;
    byId("remark").hidden = !text;
  }

  // ---- the address --------------------------------------------------------------------------------------------------

  let written = "";

  function share() {
    const deepest = [...state.open].filter((id) => !context.tree.groups[id].children.some((child) => state.open.has(child)));
    written = chainruleAddress.write({
      step: state.moment,
      open: deepest.map((id) => chainruleGroups.shortSlug(context.tree, id)),
      wrong: state.wrong,
      by: state.by === usual ? "" : state.by,
      panel: state.panel,
      node: state.node < 0 ? undefined : state.node,
      cut: state.cut < 0 ? undefined : state.cut,
      share: state.share === "use" ? "" : state.share,
      style: state.style === "python" ? "" : state.style,
    });
    try {
      history.replaceState(null, "", written || location.pathname + location.search);
    } catch {
      // an address that cannot be changed, as in a notebook's frame: then there is nothing to share
    }
  }

  // What the address says; what it does not say is as at first.
  function follow() {
    const said = chainruleAddress.read(location.hash);
    const by = said.by && !byChoices.find((choice) => choice.by === said.by).problem ? said.by : usual;
    if (context.tree?.by !== by) [context.tree, context.scene] = [chainruleGroups.tree(graph, by), null];
    const { tree } = context;
    const open = new Set();
    const missing = [];
    for (const slug of said.open ?? []) {
      const id = chainruleGroups.find(tree, slug);
      if (id < 0) missing.push(slug);
      for (const each of chainruleGroups.path(tree, id)) open.add(each);
    }
    if (chainruleScene.size(tree, open) > chainruleScene.MOST) open.clear();
    const node = said.node !== undefined && said.node < graph.count ? said.node : -1;
    change(
      {
        by,
        open,
        moment: said.step ?? 0,
        wrong: graph.differentiable ? (said.wrong ?? "") : "",
        panel: said.panel ?? "",
        node,
        cut: said.cut ?? -1,
        share: said.share ?? "use",
        style: said.style ?? "python",
      },
      { quietly: true },
    );
    remark(
      [missing.length ? `There is no group ${missing.join(", ")} in this graph.` : "", graph.facts.stored]
        .filter((part) => part)
        .join(" "),
    );
  }

  // ---- begin --------------------------------------------------------------------------------------------------------

  byId("title").textContent = document.title;
  byId("title").classList.toggle("unseen", !graph.facts.titled);
  byId("app").hidden = false;
  chainruleControls.prepare(context, stage, calls, find);
  chainruleKeyboard.listen({ stage, player, calls, context });
  follow();
  window.addEventListener("hashchange", () => {
    if (location.hash !== written) follow();
  });
  new ResizeObserver(() => stage.camera.again()).observe(byId("stage"));
  document.documentElement.dataset.ready = String(Math.round(performance.now())); // milliseconds since it was asked for
})();
