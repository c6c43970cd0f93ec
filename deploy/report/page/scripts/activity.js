// Activity: the counts and spike trains of a population for a sample, and the sample with its logits.

const { make, choice, enhance, choosePopulation, onPopulation, inNextFrame, drawAlways, colours, sized, clamp, short, perCent } = globalThis.live;

const [MAPS, STRIPS] = [32, 8]; // channels, and lines of spike trains, that are shown at first

function activity(live, data) {
  const names = Object.keys(data.populations);
  const state = { population: data.first, sample: 0, neuron: null, channels: MAPS };
  const unpackedOf = new Map();

  // ---- data
  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }
  const kept = ({ shape, strides }) => shape.map((size, axis) => Math.ceil(size / strides[axis]));
  /** Spikes and counts of the neurons kept, of a population and sample. */
  function spikes(name, sample) {
    const key = `${sample} ${name}`;
    if (!unpackedOf.has(key)) {
      const shown = data.populations[name];
      const [channels, rows, columns] = kept(shown);
      const size = channels * rows * columns;
      const packed = bytes(shown.trains[sample]);
      const trains = new Uint8Array(shown.timesteps * size);
      for (let bit = 0; bit < trains.length; bit++) trains[bit] = (packed[bit >> 3] >> (7 - (bit & 7))) & 1;
      const counts = new Uint16Array(size);
      for (let step = 0; step < shown.timesteps; step++) for (let n = 0; n < size; n++) counts[n] += trains[step * size + n];
      unpackedOf.set(key, { shown, channels, rows, columns, size, trains, counts });
    }
    return unpackedOf.get(key);
  }
  function neuronOf(s, index) {
    const [channel, row, column] = [Math.floor(index / (s.rows * s.columns)), Math.floor(index / s.columns) % s.rows, index % s.columns];
    const at = [channel, row, column].map((n, axis) => n * s.shown.strides[axis]);
    return { at, number: (at[0] * s.shown.shape[1] + at[1]) * s.shown.shape[2] + at[2] };
  }

  // ---- parts
  const [field, select] = choice("Population", names.map((name) => [name, name]), choosePopulation, state.population ?? undefined);
  const thumbs = Array.from({ length: data.num_samples }, (_, sample) => {
    const canvas = make("canvas", { "aria-hidden": "true" });
    return { canvas, button: make("button", { type: "button", class: "thumb", onclick: () => { state.sample = sample; draw(); } }, canvas, make("span", {}, `sample ${sample}`)) };
  });
  const image = make("canvas", { role: "img", class: "pixels" });
  const logits = make("div", { class: "logits bars" });
  const facts = make("dl", {});
  const histogram = make("div", { class: "histogram bars" });
  const maps = make("canvas", { class: "pixels", tabindex: 0, role: "application" });
  const more = make("button", { type: "button", onclick: () => { state.channels = Infinity; draw(); } });
  const raster = make("canvas", { role: "img" });
  const legend = make("div", { class: "scale" });
  const neuron = make("div", { class: "neuron", "aria-live": "polite" });
  const mapTitle = make("h3", {});
  const rasterTitle = make("h3", {});
  const main = make("div", { class: "main" }, mapTitle, legend, maps, neuron, rasterTitle, raster, more);
  const answer = make("p", { class: "summary" });
  live.append(
    make("div", { class: "tools" }, field, make("div", { class: "thumbs", role: "group", "aria-label": "sample" }, ...thumbs.map((thumb) => thumb.button))),
    make("div", { class: "split" }, main,
      make("div", { class: "side" }, make("h3", {}, "Spikes per neuron, all neurons"), histogram, facts, make("h3", {}, "Input and logits, bars from 0"), answer, make("div", { class: "pair" }, image, logits))));

  // ---- drawing
  function drawImage(canvas, sample, most) {
    const [channels, rows, columns] = kept(data.input);
    const values = bytes(data.input.pixels[sample]);
    const isColour = channels === 3;
    const across = isColour ? 1 : channels;
    [canvas.width, canvas.height] = [columns * across, rows];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns * across, rows);
    for (let map = 0; map < across; map++) {
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const to = 4 * (row * columns * across + map * columns + column);
          for (let part = 0; part < 3; part++) {
            picture.data[to + part] = values[((isColour ? part : map) * rows + row) * columns + column];
          }
          picture.data[to + 3] = 255;
        }
      }
    }
    context.putImageData(picture, 0, 0);
    const scale = Math.min(most / (columns * across), most / rows);
    canvas.style.width = `${Math.round(columns * across * scale)}px`;
    canvas.style.height = `${Math.round(rows * scale)}px`;
  }

  let layout = null; // of the maps, for the pointer
  const shade = (colour, count, steps) => colour(`heat-${Math.round((9 * count) / Math.max(steps, 1))}`);
  function drawMaps(s, width, colour) {
    const shownChannels = Math.min(s.channels, state.channels);
    const isVector = s.rows * s.columns === 1;
    // a vector is drawn as one map, row by row
    const [rows, columns, count] = isVector
      ? [Math.ceil(s.channels / Math.min(s.channels, 64)), Math.min(s.channels, 64), 1]
      : [s.rows, s.columns, shownChannels];
    const gap = 6;
    const wanted = isVector ? 16 : clamp(Math.floor(Math.min(112, (width - 2 * gap - 2) / 3) / Math.max(rows, columns)), 2, 14);
    const cell = Math.max(1, Math.min(wanted, Math.floor((width - gap) / columns)));
    const perRow = Math.max(1, Math.min(count, Math.floor((width + gap) / (columns * cell + gap))));
    const lines = Math.ceil(count / perRow);
    const height = lines * (rows * cell + gap) - gap;
    const context = sized(maps, perRow * (columns * cell + gap) - gap + 2, height + 2);
    context.clearRect(0, 0, maps.width, maps.height);
    context.translate(1, 1);
    layout = { rows, columns, count, cell, gap, perRow, isVector };
    const palette = Array.from({ length: s.shown.timesteps + 1 }, (_, n) => shade(colour, n, s.shown.timesteps));
    for (let map = 0; map < count; map++) {
      const [left, top] = [(map % perRow) * (columns * cell + gap), Math.floor(map / perRow) * (rows * cell + gap)];
      for (let n = 0; n < (isVector ? s.channels : rows * columns); n++) {
        context.fillStyle = palette[s.counts[map * rows * columns + n]];
        context.fillRect(left + (n % columns) * cell, top + Math.floor(n / columns) * cell, cell, cell);
      }
    }
    if (state.neuron !== null && (isVector || state.neuron < count * rows * columns)) {
      const [map, within] = isVector ? [0, state.neuron] : [Math.floor(state.neuron / (rows * columns)), state.neuron % (rows * columns)];
      const [left, top] = [(map % perRow) * (columns * cell + gap), Math.floor(map / perRow) * (rows * cell + gap)];
      context.strokeStyle = colour("mark");
      context.lineWidth = 2;
      context.strokeRect(left + (within % columns) * cell - 1, top + Math.floor(within / columns) * cell - 1, cell + 2, cell + 2);
    }
    more.hidden = state.channels === Infinity || (isVector || shownChannels >= s.channels) && s.size <= STRIPS * 180;
    more.textContent = shownChannels < s.channels && !isVector ? `Show all ${s.channels} maps and more trains` : "Show more trains";
  }
  let strips = null; // of the raster
  function drawRaster(s, width, colour) {
    const steps = s.shown.timesteps;
    const { size } = s;
    const [dot, line] = [width < 500 ? 3 : 4, clamp(Math.floor(48 / steps), 2, 9)];
    const font = `11px ${getComputedStyle(live).fontFamily}`;
    const measure = raster.getContext("2d");
    measure.font = font;
    const labels = Math.ceil(measure.measureText(short(neuronOf(s, size - 1).number)).width) + 10;
    const perStrip = Math.max(8, Math.floor((width - labels) / dot));
    const count = Math.ceil(size / perStrip);
    const pitch = steps * line + 10;
    const shownStrips = Math.min(count, state.channels === Infinity ? 24 : STRIPS);
    const context = sized(raster, width, shownStrips * pitch);
    context.clearRect(0, 0, width, shownStrips * pitch);
    strips = { perStrip, pitch, dot, line, labels, size: Math.min(size, perStrip * shownStrips), steps };
    context.font = font;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let strip = 0; strip < shownStrips; strip++) {
      const top = strip * pitch;
      const stop = Math.min(perStrip, size - strip * perStrip);
      context.fillStyle = colour("raised");
      context.fillRect(labels, top, stop * dot, steps * line);
      context.fillStyle = colour("quiet");
      context.fillText(short(neuronOf(s, strip * perStrip).number), labels - 6, top + (steps * line) / 2);
      context.fillStyle = colour("busy");
      for (let n = 0; n < stop; n++) {
        for (let step = 0; step < steps; step++) {
          if (s.trains[step * s.size + strip * perStrip + n]) context.fillRect(labels + n * dot, top + step * line, dot - 1, line - 1);
        }
      }
      if (state.neuron !== null && Math.floor(state.neuron / perStrip) === strip) {
        context.strokeStyle = colour("mark");
        context.lineWidth = 2;
        context.strokeRect(labels + (state.neuron % perStrip) * dot - 1.5, top - 1, dot + 2, steps * line + 1);
      }
    }
    return strips.size;
  }
  function drawHistogram(shown) {
    const amounts = shown.histogram[state.sample];
    const total = amounts.reduce((a, b) => a + b, 0);
    const most = Math.max(...amounts);
    const rows = amounts.map((amount, n) => {
      const bar = make("i");
      bar.style.width = `${(100 * amount) / most}%`;
      return make("div", { class: "row" }, make("span", { class: "n" }, n), make("span", { class: "track" }, bar), make("span", { class: "n" }, `${short(amount)} (${perCent(amount / total)})`));
    });
    histogram.replaceChildren(...rows);
    const mean = amounts.reduce((sum, amount, n) => sum + n * amount, 0) / total;
    const entries = [
      ["Silent", perCent(amounts[0] / total)], ["Saturated (T spikes)", perCent(amounts.at(-1) / total)],
      ["Mean spikes per neuron", `${short(mean)} of ${shown.timesteps}`], ["Neurons", short(total)],
    ];
    facts.replaceChildren(...entries.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
  }
  function drawLogits() {
    if (!data.logits) {
      answer.textContent = "The readout is a map, or has too many logits to list: qac-deploy simulate gives them.";
      logits.replaceChildren();
      return;
    }
    const values = data.logits[state.sample];
    const label = data.labels?.[state.sample] ?? null;
    const order = values.map((_, n) => n).sort((a, b) => values[b] - values[a] || a - b);
    const best = order[0];
    const verdict = label === null ? "no label" : best === label ? `label ${label}: correct` : `label ${label}: wrong`;
    answer.textContent = `${data.readout} chooses class ${best}; ${verdict}.`;
    const few = values.length <= 12 ? values.map((_, n) => n) : [...new Set([...order.slice(0, 10), ...(label === null ? [] : [label])])];
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)]; // bars start at 0
    const share = (value) => (100 * value) / (high - low || 1);
    logits.replaceChildren(...few.map((n) => {
      const bar = make("i", { class: n === best ? "best" : "" });
      bar.style.marginLeft = `${share(Math.min(values[n], 0) - low)}%`;
      bar.style.width = `${share(Math.abs(values[n]))}%`;
      const name = `${n}${n === label ? " (label)" : ""}`;
      return make("div", { class: `row${n === best ? " strong" : ""}` }, make("span", { class: "n" }, name), make("span", { class: "track" }, bar), make("span", { class: "n" }, short(values[n])));
    }));
  }
  function describe(s) {
    if (state.neuron === null) {
      neuron.textContent = "Click a neuron, or focus the maps and use the arrow keys, to see its train.";
      return;
    }
    const { at, number } = neuronOf(s, state.neuron);
    const train = Array.from({ length: s.shown.timesteps }, (_, step) => s.trains[step * s.size + state.neuron]);
    const isVector = s.shown.shape[1] * s.shown.shape[2] === 1;
    const where = isVector ? `channel ${at[0]}` : `channel ${at[0]}, row ${at[1]}, column ${at[2]}`;
    const words = make("p", {}, make("b", {}, `Neuron ${number}`), ` (${where}): ${s.counts[state.neuron]} of ${s.shown.timesteps} steps, train `, make("code", {}, train.join(" ")));
    const parts = [words];
    if (data.commands) {
      const quoted = /^[\w.-]+$/.test(state.population) ? state.population : `'${state.population.replaceAll("'", "'\\''")}'`;
      parts.push(make("p", { class: "hint" }, "Step through it: ", make("code", {}, `qac-deploy trace build --sample ${state.sample} --population ${quoted} --neuron ${number}`)));
    }
    neuron.replaceChildren(...parts);
  }
  function strideWords(s) {
    const [channels, rows] = s.shown.strides;
    const parts = [];
    if (channels > 1) parts.push(`every ${ordinal(channels)} channel`);
    if (rows > 1) parts.push(`every ${ordinal(rows)} row and column`);
    return parts.length ? `; the report keeps ${parts.join(", ")}` : "";
  }
  const ordinal = (n) => `${n}${n === 2 ? "nd" : n === 3 ? "rd" : "th"}`;

  const draw = inNextFrame(main, () => {
    const width = main.clientWidth;
    if (state.population === null) return;
    const colour = colours(live);
    thumbs.forEach((thumb, sample) => {
      drawImage(thumb.canvas, sample, 34);
      thumb.button.setAttribute("aria-pressed", sample === state.sample);
    });
    const s = spikes(state.population, state.sample);
    const [channels, rows, columns] = s.shown.shape;
    const isVector = rows * columns === 1;
    mapTitle.textContent = `${state.population}: spike counts of sample ${state.sample}`;
    const size = isVector ? `${channels} neurons` : `${channels} channels of ${rows} x ${columns} neurons`;
    legend.replaceChildren(
      make("span", {}, `${size}${strideWords(s)}. Spikes: 0`),
      make("span", { class: "ramp" }, ...Array.from({ length: Math.min(s.shown.timesteps + 1, 12) }, (_, n, of = Math.min(s.shown.timesteps, 11)) => {
        const swatch = make("i");
        swatch.style.background = shade(colour, n, of);
        return swatch;
      })),
      make("span", {}, `${s.shown.timesteps}`));
    drawMaps(s, width, colour);
    const drawn = drawRaster(s, width, colour);
    rasterTitle.textContent = `Spike trains of ${drawn < s.size ? `the first ${short(drawn)} of ${short(s.size)}` : short(s.size)} neurons: side by side, their ${s.shown.timesteps} steps from top to bottom`;
    maps.setAttribute("aria-label", `spike counts of ${state.population} on sample ${state.sample}; arrow keys go from neuron to neuron`);
    raster.setAttribute("aria-label", `spike trains of ${state.population} on sample ${state.sample}`);
    drawHistogram(s.shown);
    drawImage(image, state.sample, 150);
    image.setAttribute("aria-label", `input of sample ${state.sample}`);
    drawLogits();
    describe(s);
  });

  // ---- pointer and keys
  maps.addEventListener("click", (event) => {
    const { rows, columns, count, cell, gap, perRow, isVector } = layout;
    const box = maps.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left - 1, event.clientY - box.top - 1];
    const [across, down] = [Math.floor(px / (columns * cell + gap)), Math.floor(py / (rows * cell + gap))];
    const [column, row] = [Math.floor((px - across * (columns * cell + gap)) / cell), Math.floor((py - down * (rows * cell + gap)) / cell)];
    const map = down * perRow + across;
    if (map >= count || across >= perRow || row >= rows || column >= columns || row < 0 || column < 0) return;
    choose(isVector ? row * columns + column : (map * rows + row) * columns + column);
  });
  raster.addEventListener("click", (event) => {
    const box = raster.getBoundingClientRect();
    const strip = Math.floor((event.clientY - box.top) / strips.pitch);
    const n = Math.floor((event.clientX - box.left - strips.labels) / strips.dot);
    if (n >= 0 && n < strips.perStrip && strip * strips.perStrip + n < strips.size) choose(strip * strips.perStrip + n);
  });
  function choose(index) {
    const s = spikes(state.population, state.sample);
    state.neuron = clamp(index, 0, s.size - 1);
    draw();
  }
  maps.addEventListener("keydown", (event) => {
    const { columns, rows, isVector } = layout;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: isVector ? columns : rows * columns, PageUp: isVector ? -columns : -rows * columns }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(state.neuron === null ? 0 : state.neuron + by);
  });
  onPopulation((name) => {
    if (!names.includes(name)) return;
    Object.assign(state, { population: name, neuron: null, channels: MAPS });
    select.value = name;
    draw();
  });
  drawAlways(main, draw);
}

enhance("activity-figure", activity);
