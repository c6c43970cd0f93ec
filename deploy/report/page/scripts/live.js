// What the interactive views share: each takes it from `globalThis.live`. A view is <figure data-view="NAME">, and
// its data are in the block NAME-data.

/** An element with attributes, event listeners (onclick, ...) and children; text is never parsed as markup. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function makeSvg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function button(text, label, onclick) {
  return make("button", { type: "button", "aria-label": label, title: label, onclick }, text);
}

/** A labelled select box; choices are [value, text]. */
function choice(label, choices, onchange, selected) {
  const select = make("select", { onchange: () => onchange(select.value) });
  for (const [value, text] of choices) select.append(make("option", { value }, text));
  if (selected !== undefined) select.value = selected;
  return [make("label", { class: "field" }, make("span", {}, label), select), select];
}

/** Start a view on its figure, if the page has it; a failure leaves its still picture. */
function enhance(name, start) {
  const figure = document.querySelector(`figure[data-view="${name}"]`);
  if (!figure) return;
  const data = JSON.parse(document.getElementById(`${name}-data`).textContent);
  const live = make("div", { class: "live" });
  const still = figure.querySelector(".still");
  if (still) still.after(live);
  else figure.querySelector("figcaption").after(live);
  try {
    start(live, data, figure);
    figure.classList.add("enhanced");
  } catch (error) {
    live.remove();
    console.error(`${name}: ${error.stack ?? error}`);
  }
}

/** A population was chosen anywhere on the page; every view may follow. */
function choosePopulation(name) {
  document.dispatchEvent(new CustomEvent("population", { detail: { name } }));
}

function onPopulation(follow) {
  document.addEventListener("population", (event) => follow(event.detail.name));
}

/** A function that draws in the next frame, once however often it is called; not while the element is hidden. */
function inNextFrame(element, draw) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (element.clientWidth) draw();
    });
  };
}

/** Draw whenever the element's width or the page's colours change, and when it is shown. */
function drawAlways(element, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth !== width) draw();
    width = element.clientWidth;
  }).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}

/** Colours of the style sheet as canvas needs them, by the names of their variables without "--". */
function colours(element) {
  const probe = element.querySelector(":scope > .probe") ?? element.appendChild(make("span", { class: "probe", hidden: true }));
  const known = new Map();
  return (name) => {
    if (!known.has(name)) {
      probe.style.color = `var(--${name})`;
      known.set(name, getComputedStyle(probe).color);
    }
    return known.get(name);
  };
}

/** A canvas of a size in CSS pixels, sharp on any screen; returns its context. */
function sized(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** A text cut to a width in pixels, at its start: names of layers often differ only at their end. */
function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [1, text.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (context.measureText(`…${text.slice(middle)}`).width <= width) high = middle;
    else low = middle + 1;
  }
  return `…${text.slice(low)}`;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), Math.max(low, high));
}

/** A number with separated thousands and about three digits. */
function short(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

function perCent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  return `${Math.round(100 * share)} %`;
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
}

globalThis.live = {
  make, makeSvg, button, choice, enhance, choosePopulation, onPopulation, inNextFrame, drawAlways, colours, sized, shortened, clamp, short, perCent, niceStep,
};
