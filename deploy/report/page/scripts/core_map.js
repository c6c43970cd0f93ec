// The map of the cores: choose the quantity that colours them, and point at a core or walk to it with the arrow
// keys to see what it holds and how much of each limit that uses.

const { make, makeSvg, choice, enhance, choosePopulation, onPopulation, inNextFrame, drawAlways, clamp, short } = globalThis.live;

const COLOURS = 10;
const [TILE_GAP, CHIP_GAP] = [0.4, 2.6]; // in cores

function coreMap(live, data) {
  const { places } = data;
  const ofChip = places.width * places.height * places.cores_per_tile;
  const cores = [];
  data.owners.forEach(([population, replica, count], owner) => {
    for (let tile = 0; tile < count; tile++) {
      const index = cores.length;
      const core = places.core[index];
      cores.push({ index, core, chip: Math.floor(core / ofChip), population, replica, tile, owner, use: places.use[index] });
    }
  });
  const bySlot = new Map(cores.map((core) => [core.core, core]));
  const chips = [...new Set(cores.map((core) => core.chip))].sort((a, b) => a - b);
  const populations = Object.keys(places.edges);
  const across = Math.ceil(Math.sqrt(places.cores_per_tile));
  const down = Math.ceil(places.cores_per_tile / across);
  const wide = places.width * (across + TILE_GAP) - TILE_GAP;
  const high = places.height * (down + TILE_GAP) - TILE_GAP;
  const replicas = Object.fromEntries(populations.map((name) => [name, data.owners.filter(([owner]) => owner === name).length]));
  const state = { quantity: data.first, core: cores[0] ?? null, population: null, columns: 1, unit: 10, title: 1.8 };

  const values = (quantity) => cores.map((core) => quantity.values[quantity.is_by_use ? core.use : core.index]);
  const chosen = () => data.quantities.find((quantity) => quantity.key === state.quantity);
  const hue = (population) => `hsl(${Math.round(populations.indexOf(population) * 137.508) % 360} 55% 52%)`;

  // ---- parts
  const [field] = choice("Colour by",
    [...data.quantities.map(({ key, label, unit }) => [key, unit ? `${label}, ${unit}` : label]), ["population", "population"]],
    (value) => { state.quantity = value; draw(); describe(); }, data.first);
  const [find, findBox] = choice("Outline",
    [["", "no population"], ...populations.map((name) => [name, name])], (value) => choosePopulation(value || null), "");
  const scale = make("div", { class: "scale-box" });
  const svg = makeSvg("svg", {
    tabindex: 0, role: "application", "aria-label": `map of ${cores.length} cores; arrow keys go from core to core, Enter chooses the population`,
  });
  const drawing = make("div", { class: "drawing" }, svg);
  const detail = make("div", { class: "core-detail", "aria-live": "polite" });
  live.append(
    make("div", { class: "tools" }, field, find), scale,
    make("div", { class: "split" }, make("div", { class: "main" }, drawing, make("p", { class: "hint" }, "Point at a core, or use the arrow keys. Click it or press Enter to choose its population.")),
      make("div", { class: "side" }, detail)));

  // ---- geometry, in cores
  const rowPitch = () => high + state.title + 0.8;
  const corner = (chip) => {
    const index = chips.indexOf(chip);
    return [(index % state.columns) * (wide + CHIP_GAP), Math.floor(index / state.columns) * rowPitch() + state.title];
  };
  const onChip = (slot) => {
    const [tile, within] = [Math.floor(slot / places.cores_per_tile), slot % places.cores_per_tile];
    return [
      (tile % places.width) * (across + TILE_GAP) + (within % across),
      Math.floor(tile / places.width) * (down + TILE_GAP) + Math.floor(within / across),
    ];
  };
  let corners = new Map();
  const place = (core) => {
    const [left, top] = corners.get(core.chip);
    const [x, y] = onChip(core.core % ofChip);
    return [left + x, top + y];
  };
  const square = ([x, y], grow = 0) => {
    const [start, size] = [0.05 - grow, 0.9 + 2 * grow];
    return `M${+(x + start).toFixed(2)} ${+(y + start).toFixed(2)}h${size}v${size}h${-size}z`;
  };
  function coreAt(event) {
    const box = svg.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / state.unit, (event.clientY - box.top) / state.unit];
    const column = Math.floor(x / (wide + CHIP_GAP));
    const row = Math.floor(y / rowPitch());
    const chip = chips[row * state.columns + column];
    if (chip === undefined || column >= state.columns || y < 0) return null;
    const [dx, dy] = [x - column * (wide + CHIP_GAP), y - state.title - row * rowPitch()];
    const [tileX, tileY] = [Math.floor(dx / (across + TILE_GAP)), Math.floor(dy / (down + TILE_GAP))];
    const [inX, inY] = [Math.floor(dx - tileX * (across + TILE_GAP)), Math.floor(dy - tileY * (down + TILE_GAP))];
    if (tileX < 0 || tileY < 0 || tileX >= places.width || tileY >= places.height || inX >= across || inY >= down) return null;
    return bySlot.get(chip * ofChip + (tileY * places.width + tileX) * places.cores_per_tile + inY * across + inX) ?? null;
  }

  /** From 0 to the highest value; logarithmic from the lowest if few cores have far more than the others. */
  function scaleOf(quantity) {
    const all = [...values(quantity)].sort((a, b) => a - b);
    const top = all.at(-1) || 1;
    const low = all.find((value) => value > 0) ?? top;
    const isLogarithmic = top > 10 * all[Math.floor(all.length / 2)] && low < top;
    const share = (value) => (isLogarithmic ? (value > 0 ? Math.log(value / low) / Math.log(top / low) : 0) : value / top);
    return { top: all.at(-1), low, isLogarithmic, colourOf: (value) => Math.min(COLOURS - 1, Math.floor(COLOURS * share(value))) };
  }

  // ---- drawing: one path per colour
  const mark = makeSvg("path", { class: "cursor", "vector-effect": "non-scaling-stroke" });
  const outline = makeSvg("path", { class: "outline", "vector-effect": "non-scaling-stroke" });
  const draw = inNextFrame(drawing, () => {
    const width = drawing.clientWidth;
    const least = width < 600 ? 3.4 : 4.5;
    const most = clamp(Math.floor(width / (least * (wide + CHIP_GAP))), 1, chips.length);
    const unitOf = (columns) => Math.min(26, width / (columns * (wide + CHIP_GAP) - CHIP_GAP + 0.2));
    // the largest cores with which all chips are in view at once
    const heightOf = (columns) => Math.ceil(chips.length / columns) * ((high + 0.8) * unitOf(columns) + 14);
    state.columns = 1;
    while (state.columns < most && heightOf(state.columns) > 600) state.columns += 1;
    state.unit = unitOf(state.columns);
    state.title = 14 / state.unit;
    corners = new Map(chips.map((chip) => [chip, corner(chip)]));
    const rows = Math.ceil(chips.length / state.columns);
    const size = [state.columns * (wide + CHIP_GAP) - CHIP_GAP + 0.2, rows * rowPitch()];
    svg.setAttribute("viewBox", `-0.1 0 ${size[0]} ${size[1]}`);
    svg.setAttribute("width", size[0] * state.unit);
    svg.setAttribute("height", size[1] * state.unit);
    const slots = Array.from({ length: ofChip }, (_, slot) => onChip(slot));
    const free = chips.map((chip) => slots.map(([x, y]) => square([corners.get(chip)[0] + x, corners.get(chip)[1] + y])).join("")).join("");
    const parts = [makeSvg("path", { class: "free", d: free, "vector-effect": "non-scaling-stroke" })];
    if (state.quantity === "population") {
      for (const name of populations) {
        const path = makeSvg("path", { d: cores.filter((core) => core.population === name).map((core) => square(place(core))).join("") });
        path.style.fill = hue(name);
        parts.push(path);
      }
    } else {
      const all = values(chosen());
      const { colourOf } = scaleOf(chosen());
      const paths = Array.from({ length: COLOURS }, () => []);
      all.forEach((value, index) => paths[colourOf(value)].push(square(place(cores[index]))));
      paths.forEach((path, n) => { if (path.length) parts.push(makeSvg("path", { class: `heat-${n}`, d: path.join("") })); });
    }
    if (state.unit * wide > 44) {
      for (const chip of chips) {
        const [left, top] = corners.get(chip);
        const text = makeSvg("text", { x: left, y: top - 3 / state.unit }, `chip ${chip}`);
        text.style.fontSize = `${11 / state.unit}px`;
        parts.push(text);
      }
    }
    svg.replaceChildren(...parts, outline, mark);
    select();
    point();
    legend();
  });
  function select() {
    const own = state.population === null ? [] : cores.filter((core) => core.population === state.population);
    outline.style.strokeWidth = state.unit > 8 ? "2px" : "1.2px";
    outline.setAttribute("d", own.map((core) => square(place(core), state.unit > 8 ? -0.02 : 0.02)).join(""));
    svg.classList.toggle("has-outline", own.length > 0);
  }
  function point() {
    if (state.core) mark.setAttribute("d", square(place(state.core), 0.08));
  }
  function legend() {
    scale.replaceChildren();
    if (state.quantity === "population") {
      scale.append(...populations.map((name) => {
        const swatch = make("i");
        swatch.style.background = hue(name);
        return make("button", { type: "button", class: "key", onclick: () => choosePopulation(name) }, swatch, name);
      }));
      return;
    }
    const { key, label, unit } = chosen();
    const { top, low, isLogarithmic } = scaleOf(chosen());
    const start = isLogarithmic ? short(low) : "0";
    const limit = places.available[key];
    const most = limit ? `${short(top)}, the most that a core uses of ${short(limit)}` : `${short(top)}${unit ? ` ${unit}` : ""}, the highest of a core`;
    const ramp = make("span", { class: "ramp", role: "img", "aria-label": `colours from ${start} to ${short(top)}` }, ...Array.from({ length: COLOURS }, (_, n) => make("i", { class: `heat-${n}` })));
    scale.append(make("span", { class: "scale" }, `${label}${isLogarithmic ? ", logarithmic" : ""}: ${start}`, ramp, most));
  }

  // ---- one core
  function range([start, stop], what) {
    return stop - start === 1 ? `${what} ${start}` : `${what}s ${start} to ${stop - 1}`;
  }
  function tileOf(core) {
    const edges = places.edges[core.population];
    const [, rows, columns] = edges.map((axis) => axis.length - 1);
    const at = [Math.floor(core.tile / (rows * columns)), Math.floor(core.tile / columns) % rows, core.tile % columns];
    const whole = edges.map((axis, n) => [axis[at[n]], axis[at[n] + 1]]);
    const isVector = edges[1].at(-1) === 1 && edges[2].at(-1) === 1;
    return [range(whole[0], "channel"), ...(isVector ? [] : [range(whole[1], "row"), range(whole[2], "column")])].join(", ");
  }
  function describe() {
    const { core } = state;
    if (!core) return;
    const slot = core.core % ofChip;
    const tile = Math.floor(slot / places.cores_per_tile);
    const where = `chip ${core.chip}, mesh tile (${tile % places.width}, ${Math.floor(tile / places.width)}), its core ${slot % places.cores_per_tile}`;
    const facts = [
      ["Population", core.population],
      ...(replicas[core.population] > 1 ? [["Replica", `number ${core.replica} of ${replicas[core.population]}`]] : []),
      ["Holds", tileOf(core)],
      ["Place", where],
      ...data.quantities.filter((quantity) => !places.available[quantity.key]).map((quantity) => [
        quantity.label, `${short(quantity.values[quantity.is_by_use ? core.use : core.index])}${quantity.unit ? ` ${quantity.unit}` : ""}`,
      ]),
    ];
    detail.replaceChildren(
      make("h3", {}, `Core ${core.core}`),
      make("dl", {}, ...facts.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, String(value))))),
      make("ul", { class: "limits" }, ...Object.entries(data.limits).map(([key, label]) => {
        const [used, available] = [places.uses[key][core.use], places.available[key]];
        const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
        bar.firstChild.style.width = `${(100 * Math.min(used / available, 1)).toFixed(1)}%`;
        bar.classList.toggle("tight", used > 0.9 * available);
        return make("li", {}, make("span", {}, label), make("span", { class: "n" }, `${short(used)} of ${short(available)}`), bar);
      })));
  }
  function go(core) {
    if (!core || core === state.core) return;
    state.core = core;
    point();
    describe();
  }
  /** The nearest core in a direction; those straight ahead before those at the side. */
  function step(dx, dy) {
    const [x, y] = place(state.core);
    let [best, least] = [null, Infinity];
    for (const core of cores) {
      const [a, b] = place(core);
      const [ahead, aside] = [(a - x) * dx + (b - y) * dy, Math.abs((a - x) * dy) + Math.abs((b - y) * dx)];
      if (ahead <= 0.5) continue;
      const cost = ahead + 3 * aside;
      if (cost < least) [best, least] = [core, cost];
    }
    go(best);
  }
  function other(direction) {
    const owner = clamp(state.core.owner + direction, 0, data.owners.length - 1);
    go(cores.find((core) => core.owner === owner));
  }
  const keys = {
    ArrowRight: () => step(1, 0), ArrowLeft: () => step(-1, 0), ArrowDown: () => step(0, 1), ArrowUp: () => step(0, -1),
    Home: () => go(cores[0]), End: () => go(cores.at(-1)), PageDown: () => other(1), PageUp: () => other(-1),
    Enter: () => choosePopulation(state.core.population),
  };
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !state.core || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  svg.addEventListener("pointermove", (event) => go(coreAt(event)));
  svg.addEventListener("click", (event) => {
    const core = coreAt(event);
    go(core);
    if (core) choosePopulation(core.population);
  });
  onPopulation((name) => {
    state.population = populations.includes(name) ? name : null;
    findBox.value = state.population ?? "";
    if (corners.size) select();
  });
  drawAlways(drawing, draw);
  describe();
}

enhance("core-map-figure", coreMap);
