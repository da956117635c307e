// Elements of the page. Text from a graph goes into them as text alone, never as markup.
"use strict";

globalThis.chainruleDom = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);

  // An element with attributes and children; a child that is a string is text, one that is null or false is left out.
  function element(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function drawn(tag, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, tag), attributes, children);
  }

  function filled(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }

  // Put other children into an element; the focus stays on what has the same data-key.
  function replace(parent, ...children) {
    const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    if (key) [...parent.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
  }

  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // What is shown when a page cannot be built: the graph as text, which is there for readers without JavaScript.
  addEventListener("error", (event) => {
    if (document.documentElement.dataset.ready || document.documentElement.dataset.failed) return;
    document.documentElement.dataset.failed = event.message;
    const tree = new DOMParser().parseFromString(document.querySelector("noscript").textContent, "text/html");
    const text = tree.querySelector("pre")?.textContent ?? "";
    byId("app").hidden = true;
    document.body.prepend(
      element("p", {}, `This page could not be built here (${event.message}). The graph as text:`),
      element("pre", {}, text),
    );
  });

  return { byId, element, drawn, replace, calm };
})();
