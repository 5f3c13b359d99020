// The viewer's half in the browser, after planes.js, painting.js and words.js: what is on the screen and what a person does there.
// Window, layers, zoom and pan never go back to the kernel (viewer.py), which is asked for planes and {want: "case", name}.

const REST_MS = 300; // without a move, after which planes are fetched that nobody looks at yet
const KINDS = { // of lesions
  lesion: ({ side }, sides) => side === sides[0],
  miss: ({ side, alone }) => alone && side === "reference",
  "false finding": ({ side, alone }) => alone && side === "prediction",
};
const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 };
const HELP = "Click the picture: wheel and arrow keys leaf, dragging moves it, Ctrl and wheel zoom, Shift and dragging set the window.";

const make = (tag, properties = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...inside);
  return node;
};
const middle = (lesion) => lesion.box.map(([first, end]) => Math.floor((first + end - 1) / 2));

function render({ model, el }) {
  let opened, planes, layers, lesions, edges; // of the case that is open; lesions by kind, edges of a voxel in mm
  let shown, lesion; // the plane that is painted, the lesion that was jumped to
  let axis = 0, at = [0, 0, 0], stride = 1; // the plane that is wanted, and how far the last step went
  let [low, high] = model.get("window");
  let zoom = 1, pan = [0, 0], pointer = null, waiting = false, moved = 0;
  let greys, colours;
  const page = document.createElement("canvas"); // a plane in its own pixels
  const windows = Object.entries(model.get("presets"));

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
  const jumps = Object.keys(KINDS).map((kind) => button(`next ${kind}`, () => jump(lesions[kind])));
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
    lesions = Object.fromEntries(Object.entries(KINDS).map(([kind, is]) => [kind, opened.lesions.filter((l) => is(l, opened.sides))]));
    Object.values(lesions).forEach(({ length }, k) => Object.assign(jumps[k], { disabled: !length, title: `${length} in this case` }));
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

  function jump(some) {
    const sorted = [...some].sort((a, b) => middle(a)[axis] - middle(b)[axis]);
    const last = sorted.findIndex((l) => l === lesion && middle(l)[axis] === at[axis]);
    const beyond = sorted.findIndex((l) => middle(l)[axis] > at[axis]);
    lesion = sorted[last >= 0 ? (last + 1) % sorted.length : Math.max(0, beyond)];
    at = middle(lesion);
    const [y, x] = planeAxes(axis).map((k) => rowOf(at[k], k) + 0.5);
    const spot = onStage().transformPoint({ x, y });
    if (zoom > 1) pan = [pan[0] + stage.clientWidth / 2 - spot.x, pan[1] + stage.clientHeight / 2 - spot.y];
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
    const download = `${opened.name || "slice"} ${AXES[axis]} ${shown.index}.png`;
    make("a", { href: canvas.toDataURL(), download }).click();
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
    strip.replaceChildren(...Object.entries(lesions).flatMap(([kind, some], k) => some.map(({ box }) => {
      const [first, end] = box[axis];
      const mark = make("i", { title: `${kind}, ${first} to ${end - 1}` });
      const [left, width] = [first, end - first].map((n) => `${(100 * n) / opened.shape[axis]}%`);
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

  /** A voxel's row or column on the plane: coronal and sagittal ones have the head above. */
  const rowOf = (value, k) => (k === 0 ? opened.shape[0] - 1 - value : value);

  /** From a plane's voxels (x, y) to CSS pixels of the stage. */
  function onStage() {
    const [rows, columns] = planeAxes(axis);
    const [tall, wide] = [opened.shape[rows] * edges[rows], opened.shape[columns] * edges[columns]];
    const scale = zoom * Math.min(stage.clientHeight / tall, stage.clientWidth / wide);
    const centred = new DOMMatrix().translate(stage.clientWidth / 2 + pan[0], stage.clientHeight / 2 + pan[1]);
    return centred.scale(scale * edges[columns], scale * edges[rows]).translate(-opened.shape[columns] / 2, -opened.shape[rows] / 2);
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
    Object.assign(page, { width: shown.width, height: shown.height });
    page.getContext("2d").putImageData(coloured(shown, greys, colours, layers, opened.ramp), 0, 0);
    const ratio = window.devicePixelRatio || 1;
    const size = [stage.clientWidth, stage.clientHeight].map((n) => Math.round(n * ratio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const [pen, matrix] = [canvas.getContext("2d"), onStage()];
    pen.reset();
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = matrix.a < 6; // nearer, single pixels are looked at
    pen.drawImage(page, matrix.e, matrix.f, page.width * matrix.a, page.height * matrix.d);
    drawLines(pen, matrix);
    pen.globalAlpha = 1;
    if (!opened.turned) drawLetters(pen, axis, stage.clientWidth, stage.clientHeight);
    canvas.dataset.shown = `${AXES[axis]} ${shown.index}`;
    describe();
  }

  function drawLines(pen, matrix) {
    for (const { name, pairs, box, colour, opacity } of layers.filter((layer) => layer.on && layer.style === "line")) {
      if (!box) stroke(pen, matrix, (shown.outlines[name] ??= outline(shown, pairs)), colour, opacity, 1.6);
      else if (box[axis][0] <= shown.index && shown.index < box[axis][1]) stroke(pen, matrix, frame(box), colour, opacity, 1);
    }
    if (lesion && middle(lesion)[axis] === shown.index) stroke(pen, matrix, frame(lesion.box, 4), "#fff", 0.9, 1, [4, 4]);
  }

  /** A box's frame on a plane, so many millimetres outside it. */
  function frame(box, wider_mm = 0) {
    const [[y, bottom], [x, right]] = planeAxes(axis).map((k) => [box[k][0] - wider_mm / edges[k], box[k][1] + wider_mm / edges[k]]);
    const path = new Path2D();
    path.rect(x, axis > 0 ? opened.shape[0] - bottom : y, right - x, bottom - y);
    return path;
  }

  // ---- words and numbers
  function describe() {
    place.textContent = placeOf(opened, axis, shown.index);
    canvas.ariaLabel = `${opened.name} ${place.textContent}`;
    const cells = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
    table.replaceChildren(...measures(opened, shown.counts).map((texts, k) => cells(k ? "td" : "th", texts)));
    describePoint();
  }

  function describePoint() {
    point.textContent = "";
    if (!pointer || !shown) return;
    const spot = onStage().inverse().transformPoint({ x: pointer[0], y: pointer[1] });
    const [x, y] = [Math.floor(spot.x), Math.floor(spot.y)];
    if (x < 0 || y < 0 || x >= shown.width || y >= shown.height) return;
    const [rows, columns] = planeAxes(axis);
    const voxel = { [axis]: shown.index, [rows]: rowOf(y, rows), [columns]: x };
    point.textContent = linesAt(opened, shown, y * shown.width + x, voxel).join("\n");
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
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !host.contains(document.activeElement)) return; // the page scrolls
    event.preventDefault();
    if (event.ctrlKey) zoomBy(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
    else go(at[axis] - Math.sign(event.deltaY));
  }, { passive: false });

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
