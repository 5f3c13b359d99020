// The viewer's half in the browser. It asks the kernel (viewer.py) for planes of a scan, keeps as many
// as fit, and paints them: window, layers, zoom and pan never go back to the kernel.
//
//   to the kernel    {want: "planes", number, axis, indices} or {want: "case", name}
//   from the kernel  {number, axis, indices} and a buffer for each: a plane, packed as in views.packed
//
// `number` counts the cases that were opened; an answer about an earlier one is dropped.

const AXES = ["axial", "coronal", "sagittal"];
const COUNTED = ["from 0 at the feet", "from 0 in front", "from 0 at the patient's right"];
const SIDES = [["R", "L", "A", "P"], ["R", "L", "H", "F"], ["A", "P", "H", "F"]]; // left, right, top, bottom
const PACKED_BYTES = 160e6; // planes as they came: a scan of 512 × 512 × 500 fits
const UNPACKED = 24; // planes that are ready to be painted
const REST_MS = 300; // without a move, after which planes are fetched that nobody looks at yet
const BATCH = 4; // planes a message: each message costs a notebook more than the planes in it
const ORGANS = { tumour: [2], liver: [1, 2, 3] }; // their labels
const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 };
const HELP = "Click the picture: wheel and arrow keys leaf, dragging moves it, Ctrl and wheel zoom, Shift and dragging set the window.";

const make = (tag, properties = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...inside);
  return node;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const planeAxes = (axis) => [0, 1, 2].filter((k) => k !== axis); // of a plane's rows and columns
const middle = (lesion) => lesion.box.map(([first, end]) => Math.floor((first + end - 1) / 2));

/** So many bytes of a deflated buffer. */
async function inflate(buffer, length) {
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  writer.write(buffer);
  writer.close();
  const bytes = new Uint8Array(length);
  const reader = stream.readable.getReader();
  for (let at = 0, part = await reader.read(); !part.done; part = await reader.read()) {
    bytes.set(part.value, at);
    at += part.value.length;
  }
  return bytes;
}

/** A plane from its packed bytes: HU, pairs of labels, maps, and how often each pair is met. */
async function unpack(buffer, [height, width], maps) {
  const size = height * width;
  const bytes = await inflate(buffer, size * (3 + maps));
  const part = (k) => bytes.slice(k * size, (k + 1) * size);
  const plane = { height, width, hu: new Int16Array(size), pairs: part(2), counts: new Array(16).fill(0), outlines: {} };
  for (let i = 0; i < size; i++) {
    plane.hu[i] = bytes[i] | (bytes[size + i] << 8);
    plane.counts[plane.pairs[i]]++;
  }
  plane.maps = Array.from({ length: maps }, (_, k) => part(3 + k));
  return plane;
}

/** The border round the pixels whose pair is one of `covered` (a bit each), open at the plane's rim. */
function outline({ pairs, counts, height, width }, covered) {
  const path = new Path2D();
  if (!counts.some((n, pair) => n && (covered >> pair) & 1)) return path;
  const inside = (i) => (covered >> pairs[i]) & 1;
  const edge = (x, y, right, bottom) => { path.moveTo(x, y); path.lineTo(right, bottom); };
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (x && inside(i) !== inside(i - 1)) edge(x, y, x, y + 1);
      if (y && inside(i) !== inside(i - width)) edge(x, y, x + 1, y);
    }
  }
  return path;
}

/** For each pair of labels and grey value, at 256 · pair + grey, the pixel as canvases hold it. */
function colourTable(layers) {
  const table = new Uint32Array(16 * 256);
  const fills = layers.filter((layer) => layer.on && layer.style === "fill");
  for (let pair = 0; pair < 16; pair++) {
    const over = fills.filter((layer) => (layer.pairs >> pair) & 1);
    for (let grey = 0; grey < 256; grey++) {
      const mixed = [0, 1, 2].map((k) => over.reduce((value, { ink, opacity }) => value * (1 - opacity) + ink[k] * opacity, grey));
      const [red, green, blue] = mixed.map(Math.round);
      table[256 * pair + grey] = (255 << 24) | (blue << 16) | (green << 8) | red;
    }
  }
  return table;
}

/** The grey value of each HU, at 32768 + HU, as overlays.grey makes it. */
const greyTable = (low, high) =>
  Uint8Array.from({ length: 65536 }, (_, k) => clamp(((k - 32768 - low) * 255) / (high - low) + 0.5, 0, 255));

/** Planes that came, those that are ready to be painted, and those that are on their way. */
class Planes {
  constructor(model, opened, arrived) {
    Object.assign(this, { model, opened, arrived, packed: new Map(), ready: new Map(), asked: new Set(), opening: new Set(), bytes: 0 });
  }

  /** What is ready nearest to an index: {axis, index, plane}, or undefined; the one itself is unpacked when it is here. */
  nearest(axis, index) {
    const key = `${axis} ${index}`;
    if (this.packed.has(key) && !this.ready.has(key) && this.opening.size < 2 && !this.opening.has(key)) this.unpack(axis, index);
    const away = (entry) => Math.abs(entry.index - index);
    const entries = [...this.ready.values()].filter((entry) => entry.axis === axis);
    return entries.length ? entries.reduce((a, b) => (away(b) < away(a) ? b : a)) : undefined;
  }

  async unpack(axis, index) {
    const key = `${axis} ${index}`;
    const shape = planeAxes(axis).map((k) => this.opened.shape[k]);
    this.opening.add(key);
    const plane = await unpack(this.packed.get(key), shape, this.opened.maps.length);
    this.opening.delete(key);
    this.ready.set(key, { axis, index, plane });
    if (this.ready.size > UNPACKED) this.ready.delete(this.ready.keys().next().value);
    this.arrived();
  }

  /** Ask for a plane and the next in this stride; at rest for all others, too, nearest first. A batch at a time, a second one for what is wanted now. */
  want(axis, index, stride, resting) {
    const length = this.opened.shape[axis];
    const order = [index, ...[1, 2, 3].map((k) => index + stride * k)];
    for (let k = 1; resting && k < length; k++) order.push(index + k, index - k);
    const isMissing = (k) => k >= 0 && k < length && !this.packed.has(`${axis} ${k}`) && !this.asked.has(`${axis} ${k}`);
    const urgent = isMissing(index);
    if (this.asked.size > (urgent ? BATCH : 0) || (this.bytes > PACKED_BYTES && !urgent)) return;
    const indices = [...new Set(order.filter(isMissing))].slice(0, BATCH);
    for (const k of indices) this.asked.add(`${axis} ${k}`);
    if (indices.length) this.model.send({ want: "planes", number: this.opened.number, axis, indices });
  }

  take({ axis, indices }, buffers) {
    indices.forEach((index, k) => {
      this.asked.delete(`${axis} ${index}`);
      this.packed.set(`${axis} ${index}`, buffers[k]);
      this.bytes += buffers[k].byteLength;
    });
    for (const [key, buffer] of this.packed) {
      if (this.bytes <= PACKED_BYTES + 4e6) break;
      this.packed.delete(key); // the one that came first
      this.bytes -= buffer.byteLength;
    }
    this.arrived();
  }
}

function render({ model, el }) {
  let opened, planes, layers, edges; // of the case that is open; edges of a voxel in mm
  let shown, lesion; // the plane that is painted, the lesion that was jumped to
  let axis = 0, at = [0, 0, 0], stride = 1; // the plane that is wanted, and how far the last step went
  let [low, high] = model.get("window");
  let zoom = 1, pan = [0, 0], pointer = null, waiting = false, moved = 0;
  let greys, colours;
  const page = document.createElement("canvas"); // a plane in its own pixels
  const windows = Object.entries(model.get("presets"));
  const kinds = { // of lesions
    lesion: ({ side }) => side === opened.sides[0],
    miss: ({ side, alone }) => alone && side === "reference",
    "false finding": ({ side, alone }) => alone && side === "prediction",
  };

  // ---- what is on the screen
  const group = (...inside) => make("span", { className: "group" }, ...inside);
  const row = (...inside) => make("div", { className: "row" }, ...inside);
  const button = (textContent, onclick, title = "") => make("button", { type: "button", textContent, onclick, title });
  const number = (ariaLabel, onchange, min, max) => make("input", { type: "number", ariaLabel, onchange, min, max });
  const names = make("select", { onchange: () => model.send({ want: "case", name: names.value }) });
  const caseRow = row(make("label", {}, "", names));
  const trouble = make("p", { role: "alert" });
  const views = AXES.map((name, k) => button(name, () => { axis = k; fit(); }));
  const presets = windows.map(([name, ends]) => button(name, () => setWindow(...ends), `${ends.join(" to ")} HU`));
  const typed = () => setWindow(centre.value - width.value / 2, Number(centre.value) + width.value / 2);
  const centre = number("centre of the window, HU", typed, -2000, 4000);
  const width = number("width of the window, HU", typed, 1, 6000);
  const zooms = [button("−", () => zoomBy(0.8), "smaller: key −"), button("+", () => zoomBy(1.25), "larger: key +"), button("fit", fit, "all of it: key 0")];
  const canvas = make("canvas", { tabIndex: 0, role: "img" });
  const still = make("img", { alt: "a slice of the case with its masks, as a still picture" });
  const point = make("div", { className: "point" });
  const stage = make("div", { className: "stage" }, still, canvas, point);
  const grid = make("div", { className: "layers" });
  const table = make("table");
  const strip = make("div", { className: "strip" });
  const track = make("input", { type: "range", min: 0, step: 1, oninput: () => go(track.value) });
  const index = number("number of the slice", () => go(index.value), 0);
  const place = make("div", { role: "status" });
  const jumps = Object.entries(kinds).map(([name, wanted]) => button(`next ${name}`, () => jump(wanted)));
  const all = make("div", {},
    row(group(...views), group(...presets), group("centre ", centre), group("width ", width), group(...zooms)),
    make("div", { className: "main" }, stage, make("div", { className: "side" }, grid, table)),
    make("div", { className: "track" }, button("−", () => go(at[axis] - 1), "one back"), make("div", {}, strip, track), button("+", () => go(at[axis] + 1), "one on"), index),
    row(place, group(...jumps), button("save as PNG", save)), make("div", { className: "faint" }, HELP));
  const host = make("div", { className: "ct" }, caseRow, trouble, all);
  host.dataset.lmSuppressShortcuts = "true"; // or a notebook takes the arrow keys for its own
  el.replaceChildren(host);

  // ---- a case
  function open() {
    opened = model.get("opened");
    const cases = model.get("cases");
    names.replaceChildren(...cases.map(([name, score]) => make("option", { value: name }, score ? `${name} · ${score}` : name)));
    names.value = opened.name;
    caseRow.hidden = cases.length < 2;
    caseRow.firstChild.firstChild.data = cases.some(([, score]) => score) ? "case, lowest score first " : "case ";
    trouble.textContent = opened.error ?? "";
    trouble.hidden = !(all.hidden = Boolean(opened.error));
    shown = lesion = undefined;
    if (opened.error) return;
    still.src = URL.createObjectURL(new Blob([model.get("still")], { type: "image/jpeg" }));
    still.onload = () => URL.revokeObjectURL(still.src);
    still.hidden = false;
    place.textContent = "one slice, as a still picture: the others need this notebook's kernel";
    planes = new Planes(model, opened, arrived);
    edges = opened.spacing ?? [1, 1, 1];
    layers = opened.layers.map((layer) => ({ ...layer, ink: layer.colour && [1, 3, 5].map((k) => parseInt(layer.colour.slice(k, k + 2), 16)) }));
    const there = opened.lesions.find(({ box }) => box[0][0] <= opened.start && opened.start < box[0][1]);
    at = [opened.start, ...(there ? middle(there) : opened.shape.map((n) => n >> 1)).slice(1)];
    if (opened.flat) axis = 0;
    views.slice(1).forEach((node) => Object.assign(node, { disabled: Boolean(opened.flat), title: opened.flat }));
    Object.values(kinds).forEach((wanted, k) => {
      const count = opened.lesions.filter(wanted).length;
      Object.assign(jumps[k], { disabled: !count, title: `${count} in this case` });
    });
    grid.replaceChildren(...layers.flatMap(controls));
    greys = greyTable(low, high);
    colours = colourTable(layers);
    fit();
  }

  /** A switch, a swatch, the name and the opacity of a layer. */
  function controls(layer) {
    const changed = () => {
      Object.assign(layer, { on: shows.checked, opacity: opacity.valueAsNumber });
      colours = colourTable(layers);
      schedule();
    };
    const shows = make("input", { type: "checkbox", checked: layer.on, ariaLabel: `show ${layer.name}`, onchange: changed });
    const opacity = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: layer.opacity, ariaLabel: `opacity of ${layer.name}`, oninput: changed });
    const swatch = make("span", { className: "swatch" });
    if (layer.style === "line") swatch.style.border = `2px solid ${layer.box ? "#999" : layer.colour}`;
    else swatch.style.background = layer.colour ?? `linear-gradient(90deg, ${[64, 144, 224].map((k) => `rgb(${opened.ramp.slice(3 * k, 3 * k + 3)})`)})`;
    return [shows, swatch, layer.name, opacity];
  }

  function arrived() {
    planes.want(axis, at[axis], stride, performance.now() > moved + REST_MS);
    if (planes.nearest(axis, at[axis]) !== shown) schedule();
  }

  // ---- what a person does
  function go(value) {
    const next = clamp(Math.round(value) || 0, 0, opened.shape[axis] - 1);
    if (next !== at[axis]) stride = clamp(next - at[axis], -8, 8);
    at[axis] = next;
    moved = performance.now();
    setTimeout(arrived, 1.1 * REST_MS);
    update();
  }

  function jump(wanted) {
    const sorted = opened.lesions.filter(wanted).sort((a, b) => middle(a)[axis] - middle(b)[axis]);
    const last = sorted.findIndex((l) => l === lesion && middle(l)[axis] === at[axis]);
    const beyond = sorted.findIndex((l) => middle(l)[axis] > at[axis]);
    lesion = sorted[last >= 0 ? (last + 1) % sorted.length : Math.max(0, beyond)];
    at = middle(lesion);
    if (zoom > 1) {
      const { scaleX, scaleY, rows, columns } = transform();
      pan = [scaleX * (opened.shape[columns] / 2 - at[columns] - 0.5), scaleY * (opened.shape[rows] / 2 - rowOf(at[rows]) - 0.5)];
    }
    update();
  }

  function setWindow(from, to) {
    [low, high] = [Math.min(from, to - 1), to];
    greys = greyTable(low, high);
    update();
  }

  function zoomBy(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const next = clamp(zoom * factor, 0.5, 20);
    const from = [x - stage.clientWidth / 2, y - stage.clientHeight / 2];
    pan = pan.map((value, k) => from[k] - ((from[k] - value) * next) / zoom);
    zoom = next;
    schedule();
  }

  function fit() {
    [zoom, pan] = [1, [0, 0]];
    update();
  }

  function save() {
    canvas.toBlob((blob) => {
      const href = URL.createObjectURL(blob);
      make("a", { href, download: `${opened.name || "slice"} ${AXES[axis]} ${shown.index}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1000);
    });
  }

  function update() {
    views.forEach((node, k) => (node.ariaPressed = String(k === axis)));
    presets.forEach((node, k) => (node.ariaPressed = String(windows[k][1].join() === [low, high].join())));
    [centre.value, width.value] = [Math.round((low + high) / 2), Math.round(high - low)];
    track.max = index.max = opened.shape[axis] - 1;
    track.value = index.value = at[axis];
    track.ariaLabel = opened.names ? "sample" : `${AXES[axis]} slice`;
    if (strip.dataset.of !== `${opened.number} ${axis}`) drawStrip();
    schedule();
  }

  function drawStrip() {
    strip.dataset.of = `${opened.number} ${axis}`;
    const inks = ["tumour", "missed", "false"].map((name) => opened.layers.find((layer) => layer.name.endsWith(name))?.colour);
    strip.replaceChildren(...Object.entries(kinds).flatMap(([name, wanted], k) => opened.lesions.filter(wanted).map(({ box }) => {
      const mark = make("i", { title: `${name}, ${box[axis][0]} to ${box[axis][1] - 1}` });
      const [left, width] = [box[axis][0], box[axis][1] - box[axis][0]].map((n) => `${(100 * n) / opened.shape[axis]}%`);
      Object.assign(mark.style, { left, width, top: `${6 * k}px`, background: inks[k] });
      return mark;
    })));
  }

  // ---- painting
  function schedule() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  }

  const rowOf = (value) => (axis > 0 ? opened.shape[0] - 1 - value : value); // coronal, sagittal: head up

  /** Where the plane lies on the stage: CSS pixels a voxel, and its corner; and which axes its rows and columns are. */
  function transform() {
    const [rows, columns] = planeAxes(axis);
    const [tall, wide] = [opened.shape[rows] * edges[rows], opened.shape[columns] * edges[columns]];
    const scale = zoom * Math.min(stage.clientHeight / tall, stage.clientWidth / wide);
    const [left, top] = [stage.clientWidth - scale * wide, stage.clientHeight - scale * tall].map((room, k) => room / 2 + pan[k]);
    return { scaleX: scale * edges[columns], scaleY: scale * edges[rows], left, top, rows, columns };
  }

  function paint() {
    waiting = false;
    if (opened.error || !stage.clientWidth) return;
    planes.want(axis, at[axis], stride, performance.now() > moved + REST_MS);
    const next = planes.nearest(axis, at[axis]);
    if (!next) return;
    if (next !== shown) canvas.dataset.planes = Number(canvas.dataset.planes ?? 0) + 1; // how many were shown so far
    shown = next;
    still.hidden = true;
    fillPage(shown.plane);
    const ratio = window.devicePixelRatio || 1;
    const size = [stage.clientWidth, stage.clientHeight].map((n) => Math.round(n * ratio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const pen = canvas.getContext("2d");
    const { scaleX, scaleY, left, top } = transform();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, ...size);
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = scaleX < 6; // nearer, single pixels are looked at
    pen.drawImage(page, left, top, page.width * scaleX, page.height * scaleY);
    drawLines(pen, new DOMMatrix([scaleX, 0, 0, scaleY, left, top]));
    if (!opened.turned) drawLetters(pen);
    canvas.dataset.shown = `${AXES[axis]} ${shown.index}`;
    describe();
  }

  function fillPage({ hu, pairs, maps, height, width }) {
    if (page.width !== width || page.height !== height) Object.assign(page, { width, height });
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = colours[(pairs[i] << 8) | greys[hu[i] + 32768]];
    for (const layer of layers) if (layer.style === "map" && layer.on) addMap(image.data, maps[layer.map], layer);
    page.getContext("2d").putImageData(image, 0, 0);
  }

  function addMap(bytes, values, { opacity, top }) {
    for (let i = 0; i < values.length; i++) {
      if (!values[i]) continue;
      const value = Math.min(255, Math.round((values[i] * 255) / top));
      const share = opacity * Math.min(1, value / 64); // what is nearly 0 is nearly clear
      for (let k = 0; k < 3; k++) bytes[4 * i + k] += share * (opened.ramp[3 * value + k] - bytes[4 * i + k]);
    }
  }

  function drawLines(pen, onStage) {
    const stroke = (path, strokeStyle, globalAlpha, lineWidth, dash = []) => {
      const placed = new Path2D();
      placed.addPath(path, onStage);
      Object.assign(pen, { strokeStyle, globalAlpha, lineWidth, lineCap: dash.length ? "butt" : "square" });
      pen.setLineDash(dash);
      pen.stroke(placed);
    };
    for (const { name, pairs, box, colour, opacity } of layers.filter((layer) => layer.on && layer.style === "line")) {
      if (!box) stroke((shown.plane.outlines[name] ??= outline(shown.plane, pairs)), colour, opacity, 1.6);
      else if (box[axis][0] <= shown.index && shown.index < box[axis][1]) stroke(frame(box), colour, opacity, 1);
    }
    if (lesion && middle(lesion)[axis] === shown.index) stroke(frame(lesion.box, 4), "#fff", 0.9, 1, [4, 4]);
    pen.globalAlpha = 1;
  }

  /** A box's frame on a plane, so many millimetres outside it. */
  function frame(box, wider_mm = 0) {
    const [[y, bottom], [x, right]] = planeAxes(axis).map((k) => [box[k][0] - wider_mm / edges[k], box[k][1] + wider_mm / edges[k]]);
    const path = new Path2D();
    path.rect(x, axis > 0 ? opened.shape[0] - bottom : y, right - x, bottom - y);
    return path;
  }

  function drawLetters(pen) {
    const [wide, tall] = [stage.clientWidth, stage.clientHeight];
    const places = [[12, tall / 2], [wide - 12, tall / 2], [wide / 2, 12], [wide / 2, tall - 12]];
    Object.assign(pen, { fillStyle: "#ddd", font: "14px system-ui, sans-serif", textAlign: "center", textBaseline: "middle", shadowColor: "#000", shadowBlur: 4 });
    SIDES[axis].forEach((letter, k) => pen.fillText(letter, ...places[k]));
    pen.shadowBlur = 0;
  }

  // ---- words and numbers
  function describe() {
    place.textContent = opened.names?.[shown.index] ?? `${AXES[axis]} slice ${shown.index}, ${COUNTED[axis]} to ${opened.shape[axis] - 1}`;
    canvas.ariaLabel = `${opened.name} ${place.textContent}`;
    const cells = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
    const head = ["", ...opened.sides.map((side) => `${side.slice(0, side === "reference" ? 3 : 4)}., ${opened.spacing ? "ml" : "pixels"}`), opened.sides[1] ? "Dice" : ""];
    const places = { slice: shown.plane.counts, case: opened.pairs };
    const lines = Object.entries(ORGANS).flatMap(([organ, labels]) =>
      Object.entries(places).map(([where, counts]) => [`${organ}, ${where}`, ...measured(counts, labels)]));
    table.replaceChildren(...(opened.sides.length ? [cells("th", head), ...lines.map((texts) => cells("td", texts))] : []));
    describePoint();
  }

  /** An organ's volume on each side and, of two, their Dice, as texts. */
  function measured(counts, labels) {
    const count = (test) => counts.reduce((sum, n, pair) => sum + (test(labels.includes(pair >> 2), labels.includes(pair & 3)) ? n : 0), 0);
    const sides = { reference: count((r) => r), prediction: count((_, p) => p) };
    const total = sides.reference + sides.prediction;
    const volume = (n) => (opened.spacing ? ((n * edges[0] * edges[1] * edges[2]) / 1000).toFixed(1) : String(n));
    const dice = opened.sides[1] ? (total ? ((2 * count((r, p) => r && p)) / total).toFixed(2) : "–") : "";
    return [...opened.sides.map((side) => volume(sides[side])), dice];
  }

  function describePoint() {
    point.textContent = "";
    if (!pointer || !shown) return;
    const { scaleX, scaleY, left, top, rows, columns } = transform();
    const { hu, pairs, maps, height, width } = shown.plane;
    const [x, y] = [Math.floor((pointer[0] - left) / scaleX), Math.floor((pointer[1] - top) / scaleY)];
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const i = y * width + x;
    const voxel = { [axis]: shown.index, [rows]: rowOf(y), [columns]: x };
    const xyz = (value) => [2, 1, 0].map(value).join(" · ");
    const label = { reference: opened.labels[pairs[i] >> 2], prediction: opened.labels[pairs[i] & 3] };
    const lines = [`${hu[i]} HU`, `voxel ${xyz((k) => voxel[k])}`];
    if (opened.spacing) lines.push(`x y z ${xyz((k) => (voxel[k] * edges[k]).toFixed(1))} mm`);
    lines.push(...opened.sides.map((side) => `${side}: ${label[side]}`));
    lines.push(...opened.maps.map((name, k) => `${name}: ${(maps[k][i] / 255).toFixed(2)}`));
    point.textContent = lines.join("\n");
  }

  // ---- hands
  canvas.onpointerdown = (event) => {
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    const [dx, dy] = pointer ? [event.offsetX - pointer[0], event.offsetY - pointer[1]] : [0, 0];
    pointer = [event.offsetX, event.offsetY];
    if (event.buttons !== 1) return describePoint();
    if (event.shiftKey) return setWindow(low - 2 * dx - 2 * dy, high + 2 * dx - 2 * dy);
    pan = [pan[0] + dx, pan[1] + dy];
    schedule();
  };
  canvas.onpointerleave = () => {
    pointer = null;
    describePoint();
  };
  canvas.ondblclick = fit;
  canvas.onkeydown = (event) => {
    const keys = { "+": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: fit };
    const does = event.key in STEPS ? () => go(at[axis] + STEPS[event.key]) : keys[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  };
  const wheel = (event) => {
    if (!event.ctrlKey && !host.contains(document.activeElement)) return; // the page scrolls
    event.preventDefault();
    if (event.ctrlKey) zoomBy(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
    else go(at[axis] - Math.sign(event.deltaY));
  };
  canvas.addEventListener("wheel", wheel, { passive: false });

  // ---- the kernel
  const message = (content, buffers) => content.number === opened.number && planes.take(content, buffers);
  const resized = new ResizeObserver(schedule);
  resized.observe(stage);
  model.on("msg:custom", message);
  model.on("change:opened", open);
  open();
  return () => {
    resized.disconnect();
    model.off("msg:custom", message);
    model.off("change:opened", open);
  };
}

export default { render };
