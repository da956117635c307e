// The picture that is shown, as a file: SVG as it looks here, and PNG made of that.
"use strict";

globalThis.chainruleExport = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LOOKS = {
    text: { "font-family": "", "font-size": "", "font-weight": "400", "text-anchor": "start", fill: "" },
    rect: { fill: "", stroke: "none", "stroke-width": "", "stroke-dasharray": "none" },
    path: { fill: "", stroke: "none", "stroke-width": "", "stroke-dasharray": "none" },
    g: {},
  }; // and what a picture has without them
  const LARGEST = 8000; // pixels of a side of a PNG; browsers refuse much more

  // A copy of the picture that needs no style sheet, whole and in its own size.
  function standalone(stage) {
    const { width, height } = stage.camera.seen;
    const copy = stage.layer.cloneNode(true);
    copy.removeAttribute("style");
    const [from, to] = [
      [stage.layer, ...stage.layer.querySelectorAll("*")],
      [copy, ...copy.querySelectorAll("*")],
    ];
    to.forEach((element, i) => settle(element, from[i]));
    for (const hidden of [...copy.querySelectorAll("[display=none]")]) hidden.remove();
    const sheet = document.createElementNS(SVG, "svg");
    const size = {
      width: Math.ceil(width),
      height: Math.ceil(height),
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
    };
    for (const [name, value] of Object.entries({ xmlns: SVG, ...size })) sheet.setAttribute(name, value);
    const back = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({
      width: "100%",
      height: "100%",
      fill: getComputedStyle(stage.svg).backgroundColor,
    }))
      back.setAttribute(name, value);
    sheet.append(back, copy);
    return { text: new XMLSerializer().serializeToString(sheet), ...size };
  }

  // What the style sheet says about an element, in the element itself.
  function settle(element, original) {
    const style = getComputedStyle(original);
    if (style.display === "none") element.setAttribute("display", "none");
    for (const [name, usual] of Object.entries(LOOKS[element.localName])) {
      const value = style.getPropertyValue(name);
      if (value && value !== usual) element.setAttribute(name, value);
    }
    for (const name of ["class", "style", "role", "tabindex", "aria-label", "aria-expanded"]) element.removeAttribute(name);
    for (const name of Object.keys(element.dataset)) delete element.dataset[name];
  }

  function svg(stage, title) {
    save(new Blob([standalone(stage).text], { type: "image/svg+xml" }), title, "svg");
  }

  async function png(stage, title) {
    const { text, width, height } = standalone(stage);
    const image = new Image();
    const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    image.src = address;
    await image.decode();
    const scale = Math.min(2, LARGEST / Math.max(width, height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width * scale, height * scale];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    canvas.toBlob((blob) => save(blob, title, "png"), "image/png");
  }

  function save(blob, title, ending) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${title.replace(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 60) || "graph"}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  return { svg, png };
})();
