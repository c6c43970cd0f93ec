// The timeline: zoom, pan, and a cursor that steps tick by tick, with the state of every stage at that tick.
// Spans are flat lists of five: start, stop, activity, sample, edge.

const { make, button, choice, enhance, choosePopulation, onPopulation, inNextFrame, drawAlways, colours, sized, shortened, clamp, niceStep } = globalThis.live;

const BUSY = 0;
const ACTIVITY = ["busy", "starved", "blocked", "drained"];
const DIGITS = [12, 10.5, 9]; // sizes of the numbers in windows, the largest that fits, px
const MARGIN = 3; // beside such a number, px
const BAR = [1, 0.3, 0.55, 0.08]; // height as a share of that of a firing window

class Spans {
  constructor(flat) {
    this.flat = flat;
    this.length = flat.length / 5;
  }
  get(index) {
    const [start, stop, activity, sample, edge] = this.flat.slice(5 * index, 5 * index + 5);
    return { start, stop, activity, sample, edge };
  }
  /** Index of the span at a tick; spans follow each other without gaps. */
  at(tick) {
    let [low, high] = [0, this.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.flat[5 * middle + 1] > tick) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function timeline(live, data) {
  const stages = data.stages.map((stage) => ({ ...stage, spans: new Spans(stage.spans) }));
  const last = Math.max(data.ticks - 1, 0);
  const rowHeight = stages.length <= 24 ? 28 : 18;
  const axisHeight = 24;
  const state = {
    from: 0, to: Math.max(data.ticks, 1), tick: clamp(data.first, 0, last), population: null, sample: -1, path: false, hover: null,
  };
  const replicas = Object.create(null); // rows by population, of any name
  stages.forEach((stage, row) => (replicas[stage.population] ??= []).push(row));
  const rowOf = (population, sample) => replicas[population]?.[sample % replicas[population].length] ?? -1;

  // ---- words
  function waits(span) {
    if (span.edge < 0) return "";
    const [source, target] = data.edges[span.edge];
    const what = span.activity === 2 ? "a free slot on " : "";
    return `waits for ${what}${source} → ${target} of sample ${span.sample}`;
  }
  function details(stage, span, tick) {
    switch (ACTIVITY[span.activity]) {
      case "busy": {
        const steps = data.timesteps[stage.population];
        const whole = span.stop - span.start === steps;
        return whole ? `step ${tick - span.start + 1} of ${steps}` : "";
      }
      case "drained":
        return span.sample < 0 ? "no sample left" : "no sample has reached it yet";
      default:
        return waits(span);
    }
  }
  function sentence(stage, span, tick) {
    const name = ACTIVITY[span.activity];
    const words = details(stage, span, tick);
    const of = span.activity === BUSY ? ` with sample ${span.sample}` : "";
    return `${stage.name} is ${name}${of}${words ? `${span.activity === BUSY ? "," : ":"} ${words}` : ""}`;
  }

  // ---- parts
  const slider = make("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "tick", oninput: () => go(+slider.value) });
  const play = button("Play", "Step through the ticks", () => setPlaying(!timer));
  const [sampleField, sampleChoice] = choice(
    "Highlight", [["-1", "every sample"], ...Array.from({ length: data.samples }, (_, n) => [n, `sample ${n}`])],
    (value) => { state.sample = +value; if (+value >= 0) showSample(+value); draw(); },
  );
  const pathBox = make("input", { type: "checkbox", onchange: () => { state.path = pathBox.checked; if (state.path) show(0, data.first + 2); draw(); } });
  const tools = make("div", { class: "tools" },
    make("div", { class: "group", role: "group", "aria-label": "tick" },
      button("|‹", "First tick (Home)", () => go(0)), button("‹", "One tick back (left arrow)", () => go(state.tick - 1)),
      play, button("›", "One tick on (right arrow)", () => go(state.tick + 1)), button("›|", "Last tick (End)", () => go(last))),
    make("div", { class: "group", role: "group", "aria-label": "stalls" },
      button("‹ stall", "Previous stall (p)", () => jump(-1)), button("stall ›", "Next stall (n)", () => jump(1))),
    make("div", { class: "group", role: "group", "aria-label": "zoom" },
      button("−", "Zoom out (-)", () => zoom(1.5)), button("+", "Zoom in (+)", () => zoom(1 / 1.5)), button("All", "Show the whole run (0)", () => show(0, data.ticks))),
    sampleField,
    make("label", { class: "check" }, pathBox, " critical path of sample 0"));

  const canvas = make("canvas", {
    tabindex: 0, role: "slider", "aria-label": "timeline, tick of the cursor", "aria-valuemin": 0, "aria-valuemax": last,
    "aria-keyshortcuts": "ArrowLeft ArrowRight Home End PageUp PageDown n p + - 0 Space",
  });
  const spacer = make("div", { class: "spacer" }, canvas);
  const scroller = make("div", { class: "rows" }, spacer);
  const tip = make("div", { class: "tip", hidden: true });
  const drawing = make("div", { class: "drawing" }, scroller, tip);
  const keys = make("p", { class: "hint" }, "Keys: ← → tick, n p stall, + − 0 zoom, space play. Drag to move, Ctrl and the wheel to zoom, click a name to choose its population.");

  const heading = make("h3", {});
  const spoken = make("p", { class: "summary", "aria-live": "polite" });
  const rows = stages.map((stage) => {
    const chip = make("span", { class: "chip" });
    const sample = make("span", { class: "of" });
    const words = make("span", { class: "words" });
    const name = make("button", { type: "button", class: "name", title: `Choose ${stage.population}`, onclick: () => choosePopulation(stage.population) }, stage.name);
    return { chip, sample, words, row: make("li", { "data-population": stage.population }, name, chip, sample, words) };
  });
  const list = make("ul", { class: "states" }, ...rows.map(({ row }) => row));
  const listBox = make("div", { class: "states-box", tabindex: 0, role: "region", "aria-label": "state of every stage at the tick of the cursor" }, list);
  const side = make("div", { class: "side" }, heading, spoken, listBox);
  live.append(tools, make("div", { class: "field slide" }, slider), make("div", { class: "split" }, make("div", { class: "main" }, drawing, keys), side));

  // ---- places
  let [width, labels] = [0, 0];
  const scale = () => (width - labels) / (state.to - state.from);
  const x = (tick) => labels + (tick - state.from) * scale();
  const tickAt = (px) => Math.floor(state.from + (px - labels) / scale());
  const contentHeight = stages.length * rowHeight + axisHeight + 6;
  const viewHeight = () => Math.min(contentHeight, Math.max(700, window.innerHeight * 0.65)); // all of some 24 stages

  let fitted = false;
  const draw = inNextFrame(drawing, () => {
    width = drawing.clientWidth;
    if (!fitted) { // at least four pixels per tick
      fitted = true;
      const fits = Math.floor((width * 0.8) / 4);
      if (data.ticks > fits) show(state.tick - fits / 2, state.tick + fits / 2, false);
    }
    const height = viewHeight();
    scroller.style.height = `${height}px`;
    spacer.style.height = `${contentHeight}px`;
    const top = scroller.scrollTop;
    const colour = colours(live);
    const context = sized(canvas, scroller.clientWidth || width, height);
    width = scroller.clientWidth || width;
    const font = getComputedStyle(live).fontFamily;
    context.font = `650 13px ${font}`;
    const longest = Math.max(...stages.map((stage) => context.measureText(stage.name).width));
    labels = Math.round(clamp(longest + 16, 56, Math.min(0.3 * width, 190)));
    context.clearRect(0, 0, width, height);
    context.textBaseline = "middle";
    const first = Math.max(0, Math.floor(top / rowHeight));
    const stop = Math.min(stages.length, Math.ceil((top + height) / rowHeight));
    const rowTop = (row) => axisHeight + row * rowHeight - top;
    const unit = scale();

    // chosen population
    for (let row = first; row < stop; row++) {
      if (stages[row].population !== state.population) continue;
      context.fillStyle = colour("chosen");
      context.fillRect(0, rowTop(row), width, rowHeight);
    }
    // grid
    const every = niceStep(56 / unit);
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.beginPath();
    for (let tick = Math.ceil(state.from / every) * every; tick <= state.to; tick += every) {
      const px = Math.round(x(tick)) + 0.5;
      context.moveTo(px, axisHeight - 4);
      context.lineTo(px, height);
    }
    context.stroke();
    // spans
    context.save();
    context.beginPath();
    context.rect(labels, axisHeight, width - labels, height - axisHeight);
    context.clip();
    context.textAlign = "center";
    const full = rowHeight - 6;
    for (let row = first; row < stop; row++) {
      const { spans } = stages[row];
      const size = digitSize(context, spans, unit, font);
      const y = rowTop(row) + 3;
      for (let index = spans.at(Math.floor(state.from)); index < spans.length; index++) {
        const span = spans.get(index);
        if (span.start >= state.to) break;
        const left = x(span.start);
        const wide = (span.stop - span.start) * unit;
        const gap = span.activity === BUSY ? Math.min(1.5, wide / 4) : 0;
        context.globalAlpha = state.sample >= 0 && span.sample !== state.sample ? 0.18 : 1;
        context.fillStyle = span.activity === BUSY ? colour(`sample-${span.sample % 8}`) : colour(ACTIVITY[span.activity]);
        const bar = full * BAR[span.activity];
        if (span.activity === BUSY && wide > 8) {
          context.beginPath();
          context.roundRect(left + gap / 2, y, wide - gap, bar, 3);
          context.fill();
        } else context.fillRect(left + gap / 2, y + full - bar, Math.max(wide - gap, 0.6), bar);
        if (span.activity === BUSY && size) {
          const [from, to] = [Math.max(left, labels), Math.min(left + wide, width)];
          if (to - from >= context.measureText(span.sample).width + MARGIN) {
            context.fillStyle = "#fff";
            context.fillText(span.sample, (from + to) / 2, y + full / 2 + 0.5);
          }
        }
      }
    }
    context.globalAlpha = 1;
    if (state.sample >= 0) drawEdges(context, colour, rowTop);
    if (state.path) drawPath(context, colour, rowTop);
    context.restore();
    // cursor
    const at = x(state.tick);
    if (at + unit >= labels && at <= width) {
      context.fillStyle = colour("cursor");
      context.fillRect(Math.max(at, labels), axisHeight, Math.max(unit, 1.5), height);
      context.strokeStyle = colour("ink");
      context.strokeRect(Math.round(Math.max(at, labels)) + 0.5, axisHeight - 0.5, Math.max(unit, 1.5), height);
    }
    // names and axis stay in place
    context.fillStyle = colour("panel");
    context.fillRect(0, 0, width, axisHeight - 4);
    context.textAlign = "center";
    context.font = `11.5px ${font}`;
    context.fillStyle = colour("quiet");
    for (let tick = Math.ceil(state.from / every) * every; tick <= state.to; tick += every) {
      if (Math.abs(x(tick) - at - unit / 2) > 26 && x(tick) > labels - 2 && x(tick) < width - 12) context.fillText(tick, x(tick), 11);
    }
    if (at + unit >= labels && at <= width) {
      context.fillStyle = colour("ink");
      context.font = `600 11.5px ${font}`;
      context.fillText(state.tick, clamp(at + unit / 2, labels + 8, width - 12), 11);
    }
    context.textAlign = "left";
    context.fillStyle = colour("quiet");
    context.font = `11.5px ${font}`;
    context.fillText("tick", 0, 11);
    context.save();
    context.beginPath();
    context.rect(0, axisHeight - 2, labels, height);
    context.clip();
    for (let row = first; row < stop; row++) {
      context.fillStyle = colour("ink");
      context.font = `${stages[row].population === state.population ? 650 : 400} ${rowHeight > 20 ? 13 : 12}px ${font}`;
      context.fillText(shortened(context, stages[row].name, labels - 12), 4, rowTop(row) + rowHeight / 2);
    }
    context.restore();
  });

  /** Sets the largest font in which the number of every sample fits in the whole windows in view; 0 if none does. */
  function digitSize(context, spans, unit, font) {
    let longest = 0; // ticks of a window
    for (let index = spans.at(Math.floor(state.from)); index < spans.length; index++) {
      const span = spans.get(index);
      if (span.start >= state.to) break;
      if (span.activity === BUSY) longest = Math.max(longest, span.stop - span.start);
    }
    for (const size of rowHeight > 20 ? DIGITS : DIGITS.slice(1)) {
      context.font = `${size}px ${font}`;
      if (longest * unit >= context.measureText(data.samples - 1).width + MARGIN) return size;
    }
    return 0;
  }
  function centre(row, rowTop) {
    return rowTop(row) + rowHeight / 2;
  }
  function windowOf(population, sample) {
    const row = rowOf(population, sample);
    if (row < 0) return null;
    const { spans } = stages[row];
    const busy = [];
    for (let index = 0; index < spans.length; index++) {
      const span = spans.get(index);
      if (span.activity === BUSY && span.sample === sample) busy.push(span);
    }
    return busy.length ? { row, start: busy[0].start, stop: busy.at(-1).stop } : null;
  }
  /** The way of one sample: from the end of each window to the start of those that it feeds. */
  function drawEdges(context, colour, rowTop) {
    context.strokeStyle = colour("ink");
    context.lineWidth = 1.2;
    context.beginPath();
    for (const [source, target] of data.synapses) {
      const [a, b] = [windowOf(source, state.sample), windowOf(target, state.sample)];
      if (!a || !b) continue;
      curve(context, x(a.stop), centre(a.row, rowTop), x(b.start), centre(b.row, rowTop));
    }
    context.stroke();
  }
  function curve(context, x0, y0, x1, y1) {
    const bend = Math.max(8, Math.abs(x1 - x0) / 2);
    context.moveTo(x0, y0);
    context.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
  }
  function drawPath(context, colour, rowTop) {
    context.strokeStyle = colour("mark");
    context.lineWidth = 2.5;
    let before = null;
    for (const [population, sample, start, stop] of data.path) {
      const row = rowOf(population, sample);
      if (row < 0) continue;
      context.strokeRect(x(start) + 1, rowTop(row) + 2, (stop - start) * scale() - 2, rowHeight - 4);
      if (before) {
        context.beginPath();
        curve(context, x(before.stop), centre(before.row, rowTop), x(start), centre(row, rowTop));
        context.stroke();
      }
      before = { row, stop };
    }
  }

  // ---- state at the cursor
  const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  function describe(words = "") {
    const count = [0, 0, 0, 0];
    let waiting = "";
    stages.forEach((stage, row) => {
      const span = stage.spans.get(stage.spans.at(state.tick));
      count[span.activity] += 1;
      const { chip, sample, words: why } = rows[row];
      write(chip, ACTIVITY[span.activity]);
      chip.dataset.state = ACTIVITY[span.activity];
      write(sample, span.sample < 0 ? "" : `sample ${span.sample}`);
      write(why, details(stage, span, state.tick));
      if (!waiting && (span.activity === 1 || span.activity === 2)) waiting = sentence(stage, span, state.tick);
    });
    heading.textContent = `Tick ${state.tick} of ${data.ticks}`;
    const total = ACTIVITY.map((name, index) => (count[index] ? `${count[index]} ${name}` : "")).filter(Boolean).join(", ");
    if (!timer) spoken.textContent = `${total}. ${words || waiting}${words || waiting ? "." : ""}`;
    slider.value = state.tick;
    slider.setAttribute("aria-valuetext", `tick ${state.tick}: ${total}`);
    canvas.setAttribute("aria-valuenow", state.tick);
    canvas.setAttribute("aria-valuetext", `tick ${state.tick}: ${total}. ${words || waiting}`);
  }
  function go(tick, words) {
    state.tick = clamp(tick, 0, last);
    const span = state.to - state.from;
    if (state.tick < state.from) show(state.tick - span * 0.1, state.tick + span * 0.9, false);
    if (state.tick + 1 > state.to) show(state.tick + 1 - span * 0.9, state.tick + 1 + span * 0.1, false);
    describe(words);
    draw();
  }
  function reveal(row) {
    const y = axisHeight + row * rowHeight;
    if (y - axisHeight < scroller.scrollTop) scroller.scrollTop = y - axisHeight;
    if (y + rowHeight > scroller.scrollTop + viewHeight()) scroller.scrollTop = y + rowHeight - viewHeight();
    const { row: line } = rows[row];
    if (line.offsetTop < listBox.scrollTop) listBox.scrollTop = line.offsetTop;
    const bottom = line.offsetTop + line.offsetHeight;
    if (bottom > listBox.scrollTop + listBox.clientHeight) listBox.scrollTop = bottom - listBox.clientHeight;
  }
  /** To the nearest tick after or before the cursor at which a stall begins. */
  function jump(direction) {
    let best = null;
    stages.forEach((stage, row) => {
      const { spans } = stage;
      for (let index = spans.at(state.tick); index >= 0 && index < spans.length; index += direction) {
        const span = spans.get(index);
        if (span.activity !== 1 && span.activity !== 2) continue;
        if (direction * (span.start - state.tick) <= 0) continue;
        if (!best || direction * (span.start - best.span.start) < 0) best = { stage, span, row };
        break;
      }
    });
    if (!best) {
      describe(direction > 0 ? "No stall begins after this tick" : "No stall begins before this tick");
      return;
    }
    go(best.span.start, sentence(best.stage, best.span, best.span.start));
    rows.forEach(({ row }, index) => row.classList.toggle("found", index === best.row));
    reveal(best.row);
    draw();
  }

  // ---- zoom and pan
  function show(from, to, redraw = true) {
    const span = clamp(to - from, Math.min(4, data.ticks), Math.max(data.ticks, 1));
    state.from = clamp(from, 0, data.ticks - span);
    state.to = state.from + span;
    if (redraw) draw();
  }
  function zoom(factor, around) {
    const inside = state.tick >= state.from && state.tick < state.to;
    const fixed = around ?? (inside ? state.tick + 0.5 : (state.from + state.to) / 2);
    show(fixed - (fixed - state.from) * factor, fixed + (state.to - fixed) * factor);
  }
  function showSample(sample) {
    const windows = Object.keys(replicas).map((name) => windowOf(name, sample)).filter(Boolean);
    const [from, to] = [Math.min(...windows.map((w) => w.start)), Math.max(...windows.map((w) => w.stop))];
    if (from < state.from || to > state.to) show(from - 2, to + 2, false);
  }

  let timer = null;
  function setPlaying(playing) {
    clearInterval(timer);
    timer = null;
    if (playing) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (state.tick >= last) state.tick = 0;
      timer = setInterval(() => (state.tick >= last || !live.clientWidth ? setPlaying(false) : go(state.tick + 1)), still ? 1200 : 350);
    }
    play.textContent = timer ? "Pause" : "Play";
    play.setAttribute("aria-pressed", Boolean(timer));
    describe();
  }

  // ---- pointer and keys
  let grip = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    return { px, py, row: Math.floor((py - axisHeight + scroller.scrollTop) / rowHeight), tick: tickAt(px) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    grip = { px: event.clientX, from: state.from, to: state.to, moved: false, id: event.pointerId };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grip && grip.id === event.pointerId) {
      const distance = event.clientX - grip.px;
      if (!grip.moved && Math.abs(distance) > 4) { grip.moved = true; canvas.setPointerCapture(event.pointerId); }
      if (grip.moved) {
        tip.hidden = true;
        show(grip.from - distance / scale(), grip.to - distance / scale());
        return;
      }
    }
    const { px, py, row, tick } = place(event);
    const stage = stages[row];
    canvas.style.cursor = px < labels && stage ? "pointer" : "";
    if (!stage || py < axisHeight || tick < 0 || tick > last || event.pointerType === "touch") { tip.hidden = true; return; }
    if (px < labels) tip.textContent = stage.name;
    else {
      const span = stage.spans.get(stage.spans.at(tick));
      tip.textContent = `${sentence(stage, span, tick)} (ticks ${span.start} to ${span.stop - 1})`;
    }
    tip.hidden = false;
    tip.style.left = `${clamp(px + 14, 4, width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${py + 18}px`;
  });
  canvas.addEventListener("pointerup", (event) => {
    if (grip && !grip.moved) {
      const { px, row, tick } = place(event);
      if (px < labels && stages[row]) choosePopulation(stages[row].population);
      else if (px >= labels) go(tick);
    }
    grip = null;
  });
  canvas.addEventListener("pointercancel", () => { grip = null; });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, clamp(state.from + (place(event).px - labels) / scale(), state.from, state.to));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = (event.deltaX || event.deltaY) / scale();
      show(state.from + by, state.to + by);
    }
  }, { passive: false });
  const keysOf = {
    ArrowRight: (event) => go(state.tick + (event.shiftKey ? 10 : 1)), ArrowLeft: (event) => go(state.tick - (event.shiftKey ? 10 : 1)),
    PageUp: () => go(state.tick + 10), PageDown: () => go(state.tick - 10), Home: () => go(0), End: () => go(last),
    ArrowDown: () => { scroller.scrollTop += rowHeight; }, ArrowUp: () => { scroller.scrollTop -= rowHeight; },
    "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5), 0: () => show(0, data.ticks),
    n: () => jump(1), p: () => jump(-1), " ": () => setPlaying(!timer),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keysOf, event.key)) return;
    event.preventDefault();
    keysOf[event.key](event);
  });
  scroller.addEventListener("scroll", draw);
  onPopulation((name) => {
    state.population = name;
    describe();
    draw();
    const row = stages.findIndex((stage) => stage.population === name);
    if (row >= 0 && live.clientWidth) reveal(row);
  });

  drawAlways(drawing, draw);
  describe();
}

enhance("timeline-figure", timeline);
