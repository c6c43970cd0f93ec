// Makes every plot of designs in the page interactive: choose its axes, then a design by click or arrow key.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const [TITLE, DIGIT] = [28, 7.7]; // pixels: room for the title of the upright axis, and for each digit of its ticks
  const LOGARITHMIC = 30; // an axis is logarithmic if its largest value is more than so many times its smallest

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const draw = (name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const written = (value) => {
    if (value === null) return "not measured";
    const size = Math.abs(value);
    const digits = Number.isInteger(value) || size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4;
    return value.toLocaleString("en-US", { maximumFractionDigits: digits });
  };

  const scaleOf = (values, start, stop) => {
    const low = Math.min(...values), high = Math.max(...values);
    const logarithmic = low > 0 && high > LOGARITHMIC * low;
    const f = logarithmic ? Math.log10 : (value) => value;
    const margin = (logarithmic ? 0.04 : 0.05) * (f(high) - f(low)) || 1;
    const first = f(low) - margin, last = f(high) + margin;
    const place = (value) => start + ((f(value) - first) / (last - first)) * (stop - start);
    const most = Math.abs(stop - start) / 60;
    let ticks = [];
    if (logarithmic) {
      for (let decade = Math.floor(first); decade <= Math.ceil(last); decade++)
        for (const factor of [1, 2, 5]) ticks.push(factor * 10 ** decade);
    } else {
      let step = 10 ** Math.floor(Math.log10((last - first) / most));
      step *= [1, 2, 5, 10].find((factor) => (last - first) / (step * factor) <= most);
      for (let index = Math.ceil(first / step); index * step <= last; index++) ticks.push(index * step);
    }
    ticks = ticks.filter((tick) => f(tick) >= first && f(tick) <= last);
    return { place, ticks };
  };

  function enhance(figure) {
    const data = JSON.parse(figure.querySelector(".pareto-data").textContent);
    const drawing = figure.querySelector(".pareto-drawing");
    const panel = figure.querySelector(".pareto-chosen");
    const state = { x: data.x, y: data.y, others: true, chosen: null, places: [] };

    const select = (label, name) => {
      const node = make("select");
      data.axes.forEach((axis, index) => {
        if (axis.shown) node.append(make("option", { value: index }, axis.label));
      });
      node.value = state[name];
      node.addEventListener("change", () => { state[name] = Number(node.value); redraw(); });
      return make("label", {}, label, node);
    };
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => { state.others = box.checked; redraw(); });
    const controls = figure.querySelector(".pareto-controls");
    controls.append(select("across", "x"), select("up", "y"));
    if (!data.designs.every((design) => design.front)) controls.append(make("label", { class: "check" }, box, "show designs off the front"));

    function redraw() {
      const width = Math.max(drawing.clientWidth, 240), height = Math.round(Math.min(460, Math.max(350, width * 0.58)));
      const edge = { left: 64, right: 16, top: 18, bottom: 50 };
      const of = (design, name) => design.values[state[name]];
      const shown = data.designs.map((design, index) => ({ design, index }))
        .filter(({ design }) => of(design, "x") !== null && of(design, "y") !== null && (state.others || design.front));
      const svg = draw("svg", {
        viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application",
        "aria-label": `${shown.length} designs by ${data.axes[state.x].label} and ${data.axes[state.y].label}. `
          + "Left and right arrow: next design on the front; with Shift: next of all designs.",
      });
      state.places = [];
      if (shown.length) plot(svg, shown, of, width, height, edge);
      drawing.replaceChildren(svg);
      svg.addEventListener("click", (event) => nearest(svg, event, width));
      svg.addEventListener("keydown", step);
      ring();
    }

    function plot(svg, shown, of, width, height, edge) {
      const y = scaleOf(shown.map((s) => of(s.design, "y")), height - edge.bottom, edge.top);
      const longest = Math.max(0, ...y.ticks.map((tick) => written(tick).length));
      edge.left = Math.max(56, TITLE + longest * DIGIT + 8);
      const x = scaleOf(shown.map((s) => of(s.design, "x")), edge.left, width - edge.right);
      for (const tick of x.ticks) {
        const at = x.place(tick);
        svg.append(draw("line", { x1: at, x2: at, y1: edge.top, y2: height - edge.bottom, class: "grid" }),
          draw("text", { x: at, y: height - edge.bottom + 18, class: "tick across" }, written(tick)));
      }
      for (const tick of y.ticks) {
        const at = y.place(tick);
        svg.append(draw("line", { x1: edge.left, x2: width - edge.right, y1: at, y2: at, class: "grid" }),
          draw("text", { x: edge.left - 8, y: at + 4, class: "tick up" }, written(tick)));
      }
      const title = data.axes[state.x].label; // below the middle of its axis, or further left where it is long
      const middle = Math.min((edge.left + width - edge.right) / 2, Math.max(width / 2, width - title.length * 3.9));
      svg.append(
        draw("text", { x: middle, y: height - 8, class: "name" }, title),
        draw("text", { transform: `translate(13 ${(edge.top + height - edge.bottom) / 2}) rotate(-90)`, class: "name" },
          data.axes[state.y].label));
      state.places = shown.map(({ design, index }) =>
        ({ design, index, x: x.place(of(design, "x")), y: y.place(of(design, "y")) }));
      svg.append(draw("path", { d: best(), class: "best" }));
      for (const front of [false, true])
        for (const place of state.places) {
          if (place.design.front !== front) continue;
          const circle = draw("circle", { cx: place.x, cy: place.y, r: front ? 5 : 3, class: front ? "front" : "other" });
          circle.append(draw("title", {}, place.design.label));
          svg.append(circle);
        }
      marks(svg, width, height, edge);
    }

    // the designs that no other beats in the two measures shown, as a staircase
    function best() {
      const sx = data.axes[state.x].higher ? -1 : 1, sy = data.axes[state.y].higher ? 1 : -1; // up is less
      const order = [...state.places].sort((a, b) => sx * (a.x - b.x) || sy * (a.y - b.y));
      let path = "", last = Infinity;
      for (const { x, y } of order) {
        if (sy * y >= last) continue;
        path += path ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`;
        last = sy * y;
      }
      return path;
    }

    // what single designs are best in, next to their points, where there is room
    function marks(svg, width, height, edge) {
      const taken = [];
      for (const { design, x, y } of state.places) {
        if (!design.mark) continue;
        const w = design.mark.length * 7.8, h = 16;
        for (const [dx, dy] of [[9, 4], [-w - 9, 4], [9, -12], [-w - 9, -12], [9, 20], [-w - 9, 20], [-w / 2, -26], [-w / 2, 32]]) {
          const place = { left: x + dx, right: x + dx + w, top: y + dy - h, bottom: y + dy };
          const inside = place.left > edge.left && place.right < width && place.top > 0 && place.bottom < height - edge.bottom;
          const free = taken.every((t) => place.left > t.right || place.right < t.left || place.top > t.bottom || place.bottom < t.top)
            && !state.places.some((p) => p.design.front && p.x > place.left - 5 && p.x < place.right + 5 && p.y > place.top - 5 && p.y < place.bottom + 5);
          if (!inside || !free) continue;
          taken.push(place);
          svg.append(draw("text", { x: x + dx, y: y + dy, class: "mark" }, design.mark));
          break;
        }
      }
    }

    function nearest(svg, event, width) {
      const frame = svg.getBoundingClientRect(), zoom = width / frame.width;
      const at = { x: (event.clientX - frame.left) * zoom, y: (event.clientY - frame.top) * zoom };
      let found = null, least = 26;
      for (const place of state.places) {
        // a design on the front wins over one behind it
        const away = Math.hypot(place.x - at.x, place.y - at.y) + (place.design.front ? 0 : 2);
        if (away < least) { least = away; found = place.index; }
      }
      if (found !== null) choose(found);
    }

    function step(event) {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const order = state.places.filter((p) => event.shiftKey || p.design.front || p.index === state.chosen)
        .sort((a, b) => a.x - b.x || a.y - b.y || a.index - b.index);
      if (!order.length) return;
      const now = order.findIndex((p) => p.index === state.chosen);
      const next = now < 0 ? (by > 0 ? 0 : order.length - 1) : Math.min(Math.max(now + by, 0), order.length - 1);
      choose(order[next].index);
    }

    function ring() {
      const svg = drawing.querySelector("svg");
      svg.querySelector(".chosen")?.remove();
      const place = state.places.find((p) => p.index === state.chosen);
      if (place) svg.append(draw("circle", { cx: place.x, cy: place.y, r: 9, class: "chosen" }));
    }

    function choose(index) {
      state.chosen = index;
      ring();
      const design = data.designs[index];
      const list = make("dl");
      data.axes.forEach((axis, at) => {
        if (design.values[at] !== null)
          list.append(make("div", {}, make("dt", {}, axis.label), make("dd", {}, written(design.values[at]))));
      });
      panel.replaceChildren(make("h3", {}, design.label + (design.mark ? ` — ${design.mark}` : "")), list);
      if (design.command) {
        // lines break before options and at arrows
        const options = design.command.split(/ (?=-)/)
          .map((option) => make("span", {}, ...option.split(/(->)/).map((part) => (part === "->" ? make("span", {}, part) : part))));
        const code = make("code", { tabindex: 0 }, ...options.flatMap((option, at) => (at ? [" ", option] : [option])));
        const copy = make("button", { type: "button" }, "Copy command");
        copy.addEventListener("click", () => copied(copy, code));
        panel.append(make("div", { class: "pareto-command" }, code, copy));
      }
      figure.dispatchEvent(new CustomEvent("pareto-chosen", { detail: index }));
    }

    figure.addEventListener("pareto-choose", (event) => choose(event.detail));
    new ResizeObserver(redraw).observe(drawing);
  }

  async function copied(button, code) {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // without access to the clipboard: select the text and use the older command
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      if (!document.execCommand("copy")) { button.textContent = "Selected: press Ctrl+C"; return; }
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy command"; }, 2000);
  }

  document.querySelectorAll("figure.pareto").forEach(enhance);
})();
