// What a test asks about a page as the browser has laid it out; each function returns a list of faults in words.

const HALF_PIXEL = 0.5;

function name(element) {
  const named = element.closest("[id]");
  const text = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
  const kind = element.getAttribute("class");
  return `<${element.localName}${kind ? ` class="${kind}"` : ""}> "${text}" in #${named ? named.id : "page"}`;
}

function isShown(element) {
  return element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true, opacityProperty: true });
}

// Visually hidden text for screen readers: a box of one pixel.
function isForReadersOnly(element) {
  for (let at = element; at; at = at.parentElement) {
    if (at instanceof HTMLElement && at.offsetWidth <= 1 && at.offsetHeight <= 1) return true;
  }
  return false;
}

function shownElements(selector) {
  return [...document.querySelectorAll(selector)].filter(
    (element) => isShown(element) && !isForReadersOnly(element),
  );
}

// The nearest element around this one that clips or scrolls what is wider than itself.
function clipper(element) {
  for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
    if (getComputedStyle(at).overflowX !== "visible") return at;
  }
  return null;
}

function scrolls(element) {
  return ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
}

// Elements that stick out of the window, unless a part of the page scrolls sideways to them.
function outside() {
  const width = document.documentElement.clientWidth;
  const found = [];
  const content = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
  if (content > width) found.push(`the page is ${content} px wide in a window of ${width} px`);
  for (const element of shownElements("body *:not(svg *)")) {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || (box.right <= width + HALF_PIXEL && box.left >= -HALF_PIXEL)) continue;
    const around = clipper(element);
    if (around === null || !scrolls(around)) {
      found.push(`${name(element)} reaches from ${box.left.toFixed(0)} to ${box.right.toFixed(0)} of ${width} px`);
    }
  }
  return found;
}

// Text that a box or a drawing cuts off; a cut text is allowed where a title tells the whole of it.
function cut() {
  const found = [];
  for (const element of shownElements("body *:not(svg *)")) {
    const style = getComputedStyle(element);
    if (element.localName === "svg" || element.closest("[title]")) continue;
    const hides = (overflow) => ["hidden", "clip"].includes(overflow);
    if (hides(style.overflowX) && element.scrollWidth > element.clientWidth + 1) {
      found.push(`${name(element)} shows ${element.clientWidth} of ${element.scrollWidth} px of its width`);
    }
    if (hides(style.overflowY) && element.scrollHeight > element.clientHeight + 4) {
      found.push(`${name(element)} shows ${element.clientHeight} of ${element.scrollHeight} px of its height`);
    }
  }
  for (const text of shownElements("svg text")) {
    const box = text.getBoundingClientRect();
    const frame = text.ownerSVGElement.getBoundingClientRect();
    if (box.width === 0) continue;
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2) {
      found.push(`${name(text)} leaves its drawing`);
    }
  }
  return found;
}

// Parts of the page that scroll sideways inside themselves.
function scrollers() {
  return shownElements("body *")
    .filter((element) => scrolls(element) && element.scrollWidth > element.clientWidth + 1)
    .map(name);
}

// Texts of a drawing that are printed over each other.
function overlapping() {
  const found = [];
  for (const drawing of shownElements("svg")) {
    const texts = [...drawing.querySelectorAll("text")]
      .filter((text) => isShown(text) && text.textContent.trim())
      .map((text) => ({ text, box: text.getBoundingClientRect() }));
    texts.forEach((one, index) => {
      for (const other of texts.slice(index + 1)) {
        const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
        const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
        const smaller = Math.min(one.box.width * one.box.height, other.box.width * other.box.height);
        if (width > 0 && height > 0 && width * height > 0.15 * smaller) {
          found.push(`${name(one.text)} and ${name(other.text)}`);
        }
      }
    });
  }
  return found;
}

// Letters smaller than `least` pixels on the screen, drawings included.
function small(least) {
  const found = [];
  for (const element of shownElements("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!hasText) continue;
    const matrix = element instanceof SVGGraphicsElement ? element.getScreenCTM() : { a: 1, b: 0 };
    const scale = Math.hypot(matrix.a, matrix.b); // of a turned text, too
    const size = parseFloat(getComputedStyle(element).fontSize) * scale;
    if (size < least - 0.05) found.push(`${name(element)} has letters of ${size.toFixed(1)} px`);
  }
  return found;
}

function channels(colour) {
  const values = colour.match(/[\d.]+/g);
  if (!values || !colour.startsWith("rgb")) return null;
  const [red, green, blue, alpha = 1] = values.map(Number);
  return { red, green, blue, alpha };
}

function luminance({ red, green, blue }) {
  const [r, g, b] = [red, green, blue].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// The colour under the middle of an element: that of the nearest opaque shape or box below it.
function colourBehind(element) {
  const box = element.getBoundingClientRect();
  const stack = document.elementsFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  for (const below of [...stack, document.body, document.documentElement]) {
    if (below === element || element.contains(below) || below.localName === "text") continue;
    const style = getComputedStyle(below);
    const isShape = below instanceof SVGGeometryElement;
    if (!isShape && below instanceof SVGElement && below.localName !== "svg") continue;
    const colour = channels(isShape ? style.fill : style.backgroundColor);
    const opacity = isShape ? parseFloat(style.fillOpacity) * parseFloat(style.opacity) : 1;
    if (colour && colour.alpha * opacity > 0.99) return colour;
  }
  return { red: 255, green: 255, blue: 255 };
}

// Texts of drawings whose contrast is below WCAG AA; axe-core looks at HTML text alone.
function faint() {
  const found = [];
  for (const text of shownElements("svg text")) {
    const style = getComputedStyle(text);
    const colour = channels(style.fill);
    if (!colour || !text.textContent.trim()) continue;
    text.scrollIntoView({ block: "center", inline: "center", behavior: "instant" }); // else nothing is known of it
    const behind = colourBehind(text);
    const opacity = colour.alpha * parseFloat(style.fillOpacity) * parseFloat(style.opacity);
    const mixed = {};
    for (const part of ["red", "green", "blue"]) mixed[part] = colour[part] * opacity + behind[part] * (1 - opacity);
    const [low, high] = [luminance(mixed), luminance(behind)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.push(`${name(text)} has a contrast of ${contrast.toFixed(2)}`);
  }
  return found;
}

const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";

// Controls that the Tab key has to reach; the others of a group are reached by arrow keys.
function controls() {
  return shownElements(CONTROLS).filter(
    (element) => element.tabIndex >= 0 && !element.disabled && element.getClientRects().length,
  );
}

// Elements that move although the reader asked for less motion.
function moving() {
  const found = document.getAnimations().map((animation) => `an animation of ${name(animation.effect.target)}`);
  for (const element of document.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const seconds = `${style.transitionDuration},${style.animationDuration}`.split(",").map(parseFloat);
    if (Math.max(...seconds) > 0.01) found.push(`${name(element)} takes ${Math.max(...seconds)} s`);
    if (style.scrollBehavior === "smooth") found.push(`${name(element)} scrolls smoothly`);
  }
  return found;
}

// What the Tab key has reached so far, and which of it shows no sign that it has the focus.
function noteFocus() {
  window.reachedByTab ??= new Set();
  const focused = document.activeElement; // the page itself between the last control and the first
  if (window.reachedByTab.has(focused)) return ["the end"];
  window.reachedByTab.add(focused);
  return [];
}

function unreached() {
  return controls().filter((element) => !window.reachedByTab.has(element)).map(name);
}

function unmarkedFocus() {
  if (document.activeElement === document.body) return [];
  const style = getComputedStyle(document.activeElement);
  const hasOutline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return hasOutline || style.boxShadow !== "none" ? [] : [name(document.activeElement)];
}

// Notes whatever a key changes: the document, a value, a position, a picture, the address.
function remember() {
  window.seen?.stop();
  const seen = { changes: 0, pictures: pictures() };
  const note = () => { seen.changes += 1; };
  const observer = new MutationObserver(note);
  observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  const kinds = ["input", "scroll", "hashchange"];
  for (const kind of kinds) window.addEventListener(kind, note, true);
  seen.stop = () => {
    observer.disconnect();
    for (const kind of kinds) window.removeEventListener(kind, note, true);
  };
  window.seen = seen;
  return [];
}

function pictures() {
  return [...document.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL()).join();
}

function isSeen(control) {
  const box = control.getBoundingClientRect();
  return control.checkVisibility({ visibilityProperty: true }) && box.width > 0 && box.height > 0;
}

// Give a control the focus and remember the page; null if it is out of sight or has nothing to do.
function ready(selector, index) {
  const control = document.querySelectorAll(selector)[index];
  if (!control || !isSeen(control) || control.matches(":disabled, [aria-disabled=true], [aria-disabled=true] *")) return null;
  control.focus();
  remember();
  return control;
}

// Whether the control is still in sight, which that of a link to another tab is not, and what did not answer.
async function answer(selector, index) {
  const silent = await unanswered();
  const control = document.querySelectorAll(selector)[index];
  return [Boolean(control) && isSeen(control), silent];
}

// Views draw in the next frame.
async function unanswered() {
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const isSame = window.seen.changes === 0 && pictures() === window.seen.pictures;
  return isSame ? [name(document.activeElement)] : [];
}

// Words of the page that a reader does not see, or all of them; those that only make sense with scripts left out.
function hiddenWords() {
  const words = (text) => text.toLowerCase().replace(/[\u200b\u00ad]/g, "").match(/[\p{L}\p{N}]+/gu) ?? [];
  const whole = document.body.cloneNode(true);
  for (const element of whole.querySelectorAll("script, style, template, title, desc, .scripted-only")) element.remove();
  for (const element of whole.querySelectorAll("wbr")) element.remove();
  const shown = new Set(words(document.body.innerText));
  for (const text of document.querySelectorAll("svg text")) {
    if (isShown(text)) words(text.textContent).forEach((word) => shown.add(word));
  }
  const walker = document.createTreeWalker(whole, NodeFilter.SHOW_TEXT);
  const missing = new Set();
  while (walker.nextNode()) {
    for (const word of words(walker.currentNode.data)) if (!shown.has(word)) missing.add(word);
  }
  return [...missing];
}

function hiddenSections() {
  return [...document.querySelectorAll("section, details > *")].filter((part) => !isShown(part)).map(name);
}
