// Play, pause, step and back, and how fast.
"use strict";

globalThis.chainrulePlayer = (() => {
  const { byId, element } = chainruleDom;
  const SPEEDS = [
    ["slow", 2500],
    ["normal", 1200],
    ["fast", 400],
    ["very fast", 100],
  ]; // milliseconds a step

  function over(calls, contextOf) {
    let timer = null;
    const playing = () => timer !== null;

    function to(moment) {
      calls.change({ moment });
    }

    function step(direction) {
      const { stops, state } = contextOf();
      to(direction > 0 ? chainruleTimeline.next(stops, state.moment) : chainruleTimeline.before(stops, state.moment));
    }

    function play() {
      const { state, passes } = contextOf();
      if (state.moment >= passes.timeline.total) to(0);
      timer = setInterval(advance, SPEEDS[byId("speed").selectedIndex][1]);
      show(state.moment);
      byId("said").setAttribute("aria-live", "off"); // steps would be read over each other
    }

    function advance() {
      const { state, passes } = contextOf();
      step(1);
      if (state.moment >= passes.timeline.total) pause();
    }

    function pause() {
      clearInterval(timer);
      timer = null;
      const { state } = contextOf();
      byId("said").setAttribute("aria-live", "polite");
      calls.change({ moment: state.moment });
    }

    const toggle = () => (playing() ? pause() : play());

    function show(moment) {
      const { passes, graph } = contextOf();
      const { total } = passes.timeline;
      byId("scrub").max = String(total);
      byId("scrub").value = String(moment);
      byId("scrub").setAttribute("aria-valuetext", `step ${moment} of ${total}`);
      byId("count").textContent = `${chainruleWords.grouped(moment)} / ${chainruleWords.grouped(total)}`;
      byId("play").classList.toggle("playing", playing());
      byId("play").setAttribute("aria-label", playing() ? "Pause" : "Play");
      for (const [id, disabled] of [
        ["first", moment === 0],
        ["back", moment === 0],
        ["next", moment === total],
        ["last", moment === total],
      ]) {
        byId(id).toggleAttribute("disabled", disabled && document.activeElement !== byId(id));
        byId(id).setAttribute("aria-disabled", String(disabled));
      }
      document.body.classList.toggle("backwards", moment >= passes.timeline.seed);
      const seed = graph.differentiable ? (passes.timeline.seed / total) * 100 : 100;
      byId("scrub").style.setProperty("--seed", `${seed}%`);
    }

    byId("speed").append(...SPEEDS.map(([name], i) => element("option", { value: i, selected: i === 1 }, name)));
    byId("speed").addEventListener("change", () => {
      if (!playing()) return;
      clearInterval(timer);
      timer = setInterval(advance, SPEEDS[byId("speed").selectedIndex][1]);
    });
    byId("play").addEventListener("click", toggle);
    byId("next").addEventListener("click", () => step(1));
    byId("back").addEventListener("click", () => step(-1));
    byId("first").addEventListener("click", () => to(0));
    byId("last").addEventListener("click", () => to(contextOf().passes.timeline.total));
    byId("scrub").addEventListener("input", () => to(nearest(contextOf().stops, Number(byId("scrub").value))));
    return { playing, step, toggle, pause, to, show };
  }

  // Dragging stops where something that is shown is finished.
  function nearest(stops, moment) {
    return stops.reduce((best, each) => (Math.abs(each - moment) < Math.abs(best - moment) ? each : best), stops[0]);
  }

  return { over };
})();
