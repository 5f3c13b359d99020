// How a plane of planes.js is painted: its grey values, masks, maps and lines, and the letters of the patient's sides.

const SIDES = [["R", "L", "A", "P"], ["R", "L", "H", "F"], ["A", "P", "H", "F"]]; // left, right, top, bottom
const LETTERS = { fillStyle: "#ddd", font: "14px system-ui, sans-serif", textAlign: "center", textBaseline: "middle", strokeStyle: "#000", lineWidth: 3 };

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
  const bytes = new Uint8ClampedArray(4 * 16 * 256); // it rounds
  const fills = layers.filter((layer) => layer.on && layer.style === "fill");
  for (let at = 0; at < bytes.length / 4; at++) {
    const over = fills.filter((layer) => (layer.pairs >> (at >> 8)) & 1);
    const mixed = [0, 1, 2].map((k) => over.reduce((value, { ink, opacity }) => value * (1 - opacity) + ink[k] * opacity, at & 255));
    bytes.set([...mixed, 255], 4 * at);
  }
  return new Uint32Array(bytes.buffer);
}

/** The grey value of each HU, at 32768 + HU, as overlays.grey makes it. */
const greyTable = (low, high) =>
  Uint8Array.from({ length: 65536 }, (_, k) => clamp(((k - 32768 - low) * 255) / (high - low) + 0.5, 0, 255));

/** A plane's pixels with its fills and maps, an ImageData. */
function coloured({ hu, pairs, maps, height, width }, greys, colours, layers, ramp) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[(pairs[i] << 8) | greys[hu[i] + 32768]];
  for (const { map, top, opacity } of layers.filter((layer) => layer.on && layer.style === "map")) {
    for (let i = 0; i < pixels.length; i++) {
      if (!maps[map][i]) continue;
      const value = Math.min(255, Math.round((maps[map][i] * 255) / top));
      const share = opacity * Math.min(1, value / 64); // what is nearly 0 is nearly clear
      for (let k = 0; k < 3; k++) image.data[4 * i + k] += share * (ramp[3 * value + k] - image.data[4 * i + k]);
    }
  }
  return image;
}

/** A path, in voxels, as a line on the stage; `onStage` is a DOMMatrix from the one to the other. */
function stroke(pen, onStage, path, strokeStyle, globalAlpha, lineWidth, dash = []) {
  const placed = new Path2D();
  placed.addPath(path, onStage);
  Object.assign(pen, { strokeStyle, globalAlpha, lineWidth, lineCap: dash.length ? "butt" : "square" });
  pen.setLineDash(dash);
  pen.stroke(placed);
}

function drawLetters(pen, axis, wide, tall) {
  const places = [[12, tall / 2], [wide - 12, tall / 2], [wide / 2, 12], [wide / 2, tall - 12]];
  Object.assign(pen, LETTERS);
  pen.setLineDash([]);
  SIDES[axis].forEach((letter, k) => {
    pen.strokeText(letter, ...places[k]); // a rim, or it is lost on bone
    pen.fillText(letter, ...places[k]);
  });
}
