// Stalls before and after each change: put another measure beside them, and leave out the steps that were refused.

const { make, choice, enhance } = globalThis.live;

function stallSteps(live, data, figure) {
  const rows = [...figure.querySelectorAll(".steps > li:not(.head)")];
  const title = figure.querySelector(".head .measure");
  const written = (value) => value.toLocaleString("en-US", { maximumFractionDigits: value >= 100 ? 0 : 2 });
  const isWhole = (step) => data.kinds[step] === "whole";

  function show(key) {
    const [, label, values] = data.measures.find(([name]) => name === key);
    title.textContent = label;
    const top = values.flat().reduce((most, value) => Math.max(most, value ?? 0), 0) || 1;
    rows.forEach((row, step) => {
      const [before, after] = values[step];
      const cell = row.querySelectorAll(":scope > .bar-cell")[1];
      if (before === null || after === null) {
        cell.replaceChildren(make("span", { class: "quiet" }, "not measured"));
        return;
      }
      const share = (value) => `${(100 * value) / top}%`;
      const [left, right] = [Math.min(before, after), Math.max(before, after)];
      const kind = isWhole(step) ? "total" : after === before ? "same" : after < before ? "down" : "up";
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("aria-hidden", "true");
      for (const [name, x, width] of [["track", "0", "100%"], [kind, share(Math.min(left, 0.994 * top)), share(Math.max(right - left, 0.006 * top))]]) {
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        for (const [attribute, value] of Object.entries({ class: name, x, y: 0, width, height: "100%" })) rect.setAttribute(attribute, value);
        svg.append(rect);
      }
      let text = written(after);
      if (!isWhole(step)) text = before === after ? `${text}, unchanged` : `${written(before)} → ${text}`;
      cell.replaceChildren(svg, make("span", { class: "value" }, text));
    });
  }

  const [field] = choice("Show in the last column", data.measures.map(([key, label]) => [key, label]), show, data.measures[0][0]);
  live.append(field);
  if (data.kinds.includes("refused")) {
    const box = make("input", { type: "checkbox", checked: true, onchange: () => figure.classList.toggle("without-refused", !box.checked) });
    live.append(make("label", { class: "check" }, box, " steps that were refused"));
  }
  live.classList.add("tools");
}

enhance("stall-steps", stallSteps);
