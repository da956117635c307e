// What a reader looks at, as the end of an address: #step=17&open=layer2&wrong=order&by=module
//
//     chainruleAddress.read("#step=17")  ->  {step: 17}        chainruleAddress.write({step: 17})  ->  "#step=17"
//
// What is unknown or malformed is left out; what is not said is as at first.
"use strict";

globalThis.chainruleAddress = (() => {
  const WORDS = {
    by: ["none", "module", "line", "structure"],
    wrong: ["order", "assign", "cut"],
    share: ["use", "path", "line", "module", "call", "parameter", "sample"],
    style: ["python", "numpy", "torch", "latex"],
    panel: ["mistakes", "explain", "code", "nodes", "keys"],
  };

  function read(hash) {
    const found = {};
    for (const part of hash.replace(/^#/, "").split("&")) {
      const [name, ...rest] = part.split("=");
      const text = decoded(rest.join("="));
      if (name === "step" && /^\d{1,9}$/.test(text)) found.step = Number(text);
      if ((name === "node" || name === "cut") && /^\d{1,9}$/.test(text)) found[name] = Number(text);
      if (name === "open" && text) found.open = text.split(",").filter((slug) => slug);
      if (Object.hasOwn(WORDS, name) && WORDS[name].includes(text)) found[name] = text;
    }
    return found;
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return "";
    }
  }

  function write(state) {
    const parts = [];
    if (state.step) parts.push(`step=${state.step}`);
    if (state.open?.length) parts.push(`open=${state.open.map(encodeURIComponent).join(",")}`);
    for (const name of ["wrong", "by", "panel", "share", "style"]) if (state[name]) parts.push(`${name}=${state[name]}`);
    for (const name of ["node", "cut"]) if (state[name] !== undefined) parts.push(`${name}=${state[name]}`);
    return parts.length ? `#${parts.join("&")}` : "";
  }

  return { read, write };
})();
