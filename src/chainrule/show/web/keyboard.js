// Keys: space plays, arrows step, Home and End go to the ends, Escape closes; in the picture up and down go from box to box.
"use strict";

globalThis.chainruleKeyboard = (() => {
  const { byId } = chainruleDom;

  const KEYS = [
    ["Space", "play or pause"],
    ["→ ←", "step, step back"],
    ["Home End", "to the start, to the end"],
    ["↑ ↓", "in the picture: from box to box"],
    ["Enter", "on a box: to its moment; on a group: open or close it"],
    ["Esc", "close what was opened last, leave a mistake or a panel"],
    ["+ − 0", "larger, smaller, fit"],
    ["/", "find a node by its label"],
  ];

  function listen(about) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (isTyping(event.target) && event.key !== "Escape") return;
      const act = actions(about, event);
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  // In a field a key means what it means there; menus, and choices of one thing, keep their arrows. The slider steps as all
  // else does, from one thing that is shown to the next.
  function isTyping(target) {
    return target.matches?.("input:not([type=range]), select");
  }

  function actions({ stage, player, calls, context }, { key, target }) {
    const box = target.closest?.("svg [data-id]");
    const inPicture = target.closest?.("#stage");
    const onButton = target.matches?.("button, a, summary") && key === " ";
    const { total } = context.passes.timeline;
    const table = {
      " ": onButton ? null : () => player.toggle(),
      ArrowRight: target.matches?.("[role=tab]") ? () => target.nextElementSibling?.focus() : () => player.step(1),
      ArrowLeft: target.matches?.("[role=tab]") ? () => target.previousElementSibling?.focus() : () => player.step(-1),
      Home: () => player.to(0),
      End: () => player.to(total),
      Escape: () => escape(player, calls, context, target),
      "+": () => stage.camera.zoom(1.25),
      "=": () => stage.camera.zoom(1.25),
      "-": () => stage.camera.zoom(0.8),
      0: () => stage.camera.fit(),
      "/": () => byId("find").focus(),
      ArrowDown: inPicture ? () => walk(stage, box, 1) : null,
      ArrowUp: inPicture ? () => walk(stage, box, -1) : null,
      Enter: box ? () => stage.boxes.get(box.dataset.id)?.act?.() : null,
    };
    return Object.hasOwn(table, key) ? table[key] : null;
  }

  // What was opened last goes first.
  function escape(player, calls, { state }, target) {
    if (target.matches?.("[type=search], select")) target.blur();
    else if (player.playing()) player.pause();
    else if (state.panel) calls.change({ panel: "" });
    else if (state.wrong) calls.change({ wrong: "" });
    else if (state.open.size) calls.toggle([...state.open][state.open.size - 1]);
  }

  // From one box to the next, as a reader meets them.
  function walk(stage, box, direction) {
    const boxes = [...stage.boxes.values()].filter((each) => each.act && each.element.hasAttribute("tabindex"));
    const at = boxes.findIndex((each) => each.element === box);
    const next =
      boxes[at < 0 ? (direction > 0 ? 0 : boxes.length - 1) : Math.max(0, Math.min(boxes.length - 1, at + direction))];
    next?.element.focus();
    const place = next && stage.place(next.element.dataset.id);
    if (place) stage.camera.follow(place);
  }

  return { listen, KEYS };
})();
