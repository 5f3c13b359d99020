// What the browser holds of a scan: planes that it asked the kernel (viewer.py) for, unpacked here.
//
//   to the kernel    {want: "planes", number, axis, indices}
//   from the kernel  {number, axis, indices} and a buffer for each: a plane, packed as in views.packed
//
// `number` counts the cases that were opened; an answer about an earlier one is dropped.

const PACKED_BYTES = 160e6; // planes as they came: a scan of 512 × 512 × 500 fits
const UNPACKED = 24; // planes that are ready to be painted
const BATCH = 4; // planes a message: each message costs a notebook more than the planes in it

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const planeAxes = (axis) => [0, 1, 2].filter((k) => k !== axis); // of a plane's rows and columns

/** Planes that came, those that are ready to be painted, and those that are on their way. */
class Planes {
  constructor(model, opened, arrived) {
    Object.assign(this, { model, opened, arrived, known: new Map(), ready: [], awaited: 0, opening: 0, bytes: 0 });
  }

  /** What is ready nearest to an index, or undefined; the one itself is unpacked when it is here. */
  nearest(axis, index) {
    const wanted = this.known.get(`${axis} ${index}`);
    if (wanted?.buffer && !wanted.unpacked && this.opening < 2) this.unpack(wanted);
    const away = (entry) => Math.abs(entry.index - index);
    const [first, ...others] = this.ready.filter((entry) => entry.axis === axis);
    return others.reduce((a, b) => (away(b) < away(a) ? b : a), first);
  }

  async unpack(entry) {
    this.opening++;
    entry.unpacked = true;
    const shape = planeAxes(entry.axis).map((k) => this.opened.shape[k]);
    this.ready.push({ ...entry, entry, ...(await unpack(entry.buffer, shape, this.opened.maps.length)) });
    this.opening--;
    if (this.ready.length > UNPACKED) this.ready.shift().entry.unpacked = false;
    this.arrived();
  }

  /** Ask for a plane and the next in this stride; at rest for all others, too, nearest first. */
  want(axis, index, stride, resting) {
    const length = this.opened.shape[axis];
    const order = [0, 1, 2, 3].map((k) => index + stride * k);
    for (let k = 1; resting && k < length; k++) order.push(index + k, index - k);
    const isMissing = (k) => k >= 0 && k < length && !this.known.has(`${axis} ${k}`);
    const urgent = isMissing(index); // then a second message may be on its way
    if (this.awaited > (urgent ? BATCH : 0) || (this.bytes > PACKED_BYTES && !urgent)) return;
    const indices = [...new Set(order.filter(isMissing))].slice(0, BATCH);
    for (const k of indices) this.known.set(`${axis} ${k}`, { axis, index: k });
    this.awaited += indices.length;
    if (indices.length) this.model.send({ want: "planes", number: this.opened.number, axis, indices });
  }

  take({ axis, indices }, buffers) {
    this.awaited -= indices.length;
    indices.forEach((index, k) => {
      this.known.get(`${axis} ${index}`).buffer = buffers[k];
      this.bytes += buffers[k].byteLength;
    });
    for (const [key, { buffer }] of this.known) {
      if (this.bytes <= PACKED_BYTES + 4e6) break;
      if (buffer && this.known.delete(key)) this.bytes -= buffer.byteLength; // those that were asked for first
    }
    this.arrived();
  }
}

/** A plane from its packed bytes: HU, pairs of labels, maps, and how often each pair is met. */
async function unpack(buffer, [height, width], maps) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = height * width;
  const part = (k) => bytes.subarray(k * size, (k + 1) * size);
  const [low, high, pairs] = [0, 1, 2].map(part);
  const [hu, counts] = [new Int16Array(size), new Array(16).fill(0)];
  for (let i = 0; i < size; i++) {
    hu[i] = low[i] | (high[i] << 8);
    counts[pairs[i]]++;
  }
  return { height, width, hu, pairs, counts, maps: Array.from({ length: maps }, (_, k) => part(3 + k)), outlines: {} };
}
