// Which part of the picture is seen, and how large: dragging, pinching, the wheel, and buttons; it follows what happens.
"use strict";

globalThis.chainruleCamera = (() => {
  const { calm } = chainruleDom;
  const LARGEST = 2.4;
  const READABLE = 0.62; // a picture that would be smaller is seen in part
  const SMALLEST = 0.7; // the same for a group

  // A camera of an svg element whose content is in `layer`.
  function over(svg, layer) {
    const seen = { x: 0, y: 0, scale: 1, width: 1, height: 1 };
    const camera = {
      seen,
      // A new picture of this size.
      picture(width, height) {
        [seen.width, seen.height] = [width, height];
      },
      // The last aim once more, as when the room has changed.
      again() {
        camera.aimed();
      },
      fit() {
        camera.aimed = camera.fit;
        const [width, height] = room(svg);
        const whole = Math.min(width / seen.width, height / seen.height);
        aim(Math.min(LARGEST, Math.max(whole, READABLE)), seen.width / 2, seen.height / 2);
        if (seen.width * seen.scale > width) seen.x = 0; // it begins on the left
        if (seen.height * seen.scale > height) seen.y = 0;
        show();
      },
      // All of a rectangle, as large as it can be read.
      frame(place) {
        camera.aimed = () => camera.frame(place);
        const { left, top, width, height } = place;
        const [w, h] = room(svg);
        aim(
          Math.min(1.4, Math.max(SMALLEST, Math.min(w / (width + 40), h / (height + 40)))),
          left + width / 2,
          top + height / 2,
        );
        if (width * seen.scale > w) seen.x = 20 - left * seen.scale; // its beginning
        if (height * seen.scale > h) seen.y = 10 - top * seen.scale;
        show(true);
      },
      // So little as needed to have a rectangle in sight.
      follow({ left, top, width, height }) {
        const [w, h] = room(svg);
        const before = [seen.x, seen.y];
        seen.x += moved(left * seen.scale + seen.x, (left + width) * seen.scale + seen.x, w);
        seen.y += moved(top * seen.scale + seen.y, (top + height) * seen.scale + seen.y, h);
        if (before[0] !== seen.x || before[1] !== seen.y) show(true);
      },
      zoom(factor, at) {
        const [w, h] = room(svg);
        const [x, y] = at ?? [w / 2, h / 2];
        const scale = Math.min(4, Math.max(0.05, seen.scale * factor));
        seen.x = x - ((x - seen.x) * scale) / seen.scale;
        seen.y = y - ((y - seen.y) * scale) / seen.scale;
        seen.scale = scale;
        show();
      },
      pan(x, y) {
        seen.x += x;
        seen.y += y;
        show();
      },
    };

    function aim(scale, x, y) {
      const [width, height] = room(svg);
      [seen.scale, seen.x, seen.y] = [scale, width / 2 - x * scale, height / 2 - y * scale];
    }

    function show(smoothly = false) {
      layer.classList.toggle("gliding", smoothly && !calm());
      layer.style.transform = `translate(${seen.x}px, ${seen.y}px) scale(${seen.scale})`;
    }

    dragging(svg, camera);
    return camera;
  }

  const room = (svg) => [svg.clientWidth || 800, svg.clientHeight || 400];

  // By how much to move so that low to high lies within the room, with some air.
  function moved(low, high, room) {
    const air = Math.min(30, room / 10);
    if (high - low > room - 2 * air) return air - low;
    if (low < air) return air - low;
    return high > room - air ? room - air - high : 0;
  }

  function dragging(svg, camera) {
    const fingers = new Map();
    const place = (event) => [
      event.clientX - svg.getBoundingClientRect().left,
      event.clientY - svg.getBoundingClientRect().top,
    ];
    svg.addEventListener("pointerdown", (event) => fingers.set(event.pointerId, place(event)));
    svg.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const [before, now] = [fingers.get(event.pointerId), place(event)];
      const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      if (!others.length && Math.hypot(now[0] - before[0], now[1] - before[1]) < 3 && !svg.dragged) return;
      fingers.set(event.pointerId, now);
      svg.dragged = true; // so that what follows is no click
      if (others.length) camera.zoom(distance(now, others[0]) / Math.max(1, distance(before, others[0])), others[0]);
      else camera.pan(now[0] - before[0], now[1] - before[1]);
    });
    const lift = (event) => {
      fingers.delete(event.pointerId);
      setTimeout(() => (svg.dragged = false));
    };
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) svg.addEventListener(name, lift);
    svg.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.ctrlKey || event.metaKey || Math.abs(event.deltaY) > Math.abs(event.deltaX))
          camera.zoom(Math.exp(-event.deltaY / 500), place(event));
        else camera.pan(-event.deltaX, 0);
      },
      { passive: false },
    );
  }

  const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

  return { over };
})();
