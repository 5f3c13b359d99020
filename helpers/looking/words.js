// What the viewer says of a plane in words and numbers.

const AXES = ["axial", "coronal", "sagittal"];
const COUNTED = ["from 0 at the feet", "from 0 in front", "from 0 at the patient's right"];
const ORGANS = { tumour: [2], liver: [1, 2, 3] }; // their labels

/** Which slice it is. */
const placeOf = ({ names, shape }, axis, index) =>
  names?.[index] ?? `${AXES[axis]} slice ${index}, ${COUNTED[axis]} to ${shape[axis] - 1}`;

/** Rows of texts: of each organ the volume on each side and, of two, their Dice, on a slice and in the case. */
function measures(opened, counts) {
  const { sides, spacing, pairs, names } = opened;
  if (!sides.length) return [];
  const unit = spacing ? "ml" : "pixels";
  const head = ["", ...sides.map((side) => `${side.slice(0, side === "reference" ? 3 : 4)}., ${unit}`), sides[1] ? "Dice" : ""];
  const isThere = ([, labels]) => !names || pairs.some((n, pair) => n && labels.includes(pair >> 2)); // samples are of one organ
  return [head, ...Object.entries(ORGANS).filter(isThere).flatMap(([organ, labels]) => [
    [`${organ}, slice`, ...measured(opened, counts, labels)],
    [`${organ}, case`, ...measured(opened, pairs, labels)],
  ])];
}

function measured({ sides, spacing }, counts, labels) {
  const count = (test) => counts.reduce((sum, n, pair) => sum + (test(labels.includes(pair >> 2), labels.includes(pair & 3)) ? n : 0), 0);
  const voxels = { reference: count((r) => r), prediction: count((_, p) => p) };
  const total = voxels.reference + voxels.prediction;
  const volume = (n) => (spacing ? ((n * spacing[0] * spacing[1] * spacing[2]) / 1000).toFixed(1) : String(n));
  const dice = total ? ((2 * count((r, p) => r && p)) / total).toFixed(2) : "–";
  return [...sides.map((side) => volume(voxels[side])), sides[1] ? dice : ""];
}

/** What lies at pixel i of a plane, a voxel with an index for each axis: HU, place, labels, maps. */
function linesAt({ labels, sides, spacing, maps }, plane, i, voxel) {
  const xyz = (value) => [2, 1, 0].map(value).join(" · ");
  const label = { reference: labels[plane.pairs[i] >> 2], prediction: labels[plane.pairs[i] & 3] };
  return [
    `${plane.hu[i]} HU`,
    `voxel ${xyz((k) => voxel[k])}`,
    ...(spacing ? [`x y z ${xyz((k) => (voxel[k] * spacing[k]).toFixed(1))} mm`] : []),
    ...sides.map((side) => `${side}: ${label[side]}`),
    ...maps.map((name, k) => `${name}: ${(plane.maps[k][i] / 255).toFixed(2)}`),
  ];
}
