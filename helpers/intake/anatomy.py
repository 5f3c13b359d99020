"""The body around a synthetic liver: wall, bones, chest, and the organs beside it.
 An adult is described once, in "standard" millimetres: x from the patient's right to left and 0 in
the midline, y from front to back and 0 in mid-body, z from feet to head and 0 at the top of the
right dome of the diaphragm. A case stretches and bends these axes smoothly, so that organs deform
together and no border stays an ellipse. Every organ is a field in mm, negative inside; painting it
with a soft edge gives the partial volume that a thick slice has.
"""

from dataclasses import dataclass

import cc3d
import numpy as np


@dataclass
class Body:
    """The canvas of a case: `axes_mm` true positions (z, y, x), `z y x` standard mm float32 and
    `hu`, all (z, y, x).
    """

    rng: np.random.Generator
    axes_mm: tuple
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    hu: np.ndarray

    def paint(self, field, value, edge_mm=2.5, within=1.0, box=()):
        """Blend `value` in where `field` is negative; returns the share of each voxel it covers."""
        share = np.clip(0.5 - field / edge_mm, 0, 1) * within
        self.hu[box] += share * (value - self.hu[box])
        return share

    def ellipsoid(self, centre, radii, box=()):
        """Roughly the distance in mm to an ellipsoid at standard (x, y, z)."""
        parts = zip((self.x[box], self.y[box], self.z[box]), centre, radii)
        return (np.sqrt(sum(((axis - c) / r) ** 2 for axis, c, r in parts))
                - 1) * np.float32(np.prod(radii) ** (1 / 3))

    def vary(self, low, high):
        return float(self.rng.uniform(low, high))


def draw_waves(rng, axes_mm, wavelength_mm):
    """Smooth noise of unit variance, float32, an axis per array; bumps are a wavelength across."""
    step, spread = wavelength_mm / 2, wavelength_mm / 3
    knots = [np.arange(a[0] - wavelength_mm, a[-1] + wavelength_mm, step) for a in axes_mm]
    field = rng.standard_normal([len(k) for k in knots]).astype(np.float32)
    for positions, knot in zip(axes_mm, knots):
        weights = np.exp(-0.5 * ((positions[:, None] - knot) / spread) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        # einsum without BLAS: its sums don't depend on the number of threads, so the same seed
        # gives the same bits
        field = np.einsum("ajk,pa->jkp", field, weights.astype(np.float32))
    return field


def join_rounded(a, b, rounding_mm=14.0):
    """The intersection of two fields, with its crease rounded off."""
    return np.maximum(a, b) + np.maximum(rounding_mm - np.abs(a - b), 0) ** 2 / (4 * rounding_mm)


def keep_largest(mask):
    """The largest component of a mask, whose voxels share faces; an empty mask stays empty."""
    return cc3d.largest_k(mask, k=1, connectivity=6) > 0


def lay_out(number, seed, size):
    """The empty canvas of a case, its spacing (z, y, x) in mm and whether it has tumours."""
    rng = np.random.default_rng([seed, number])
    pixel_mm = round(rng.uniform(1.6, 1.9) * 192 / size, 3)
    width = rng.uniform(0.86, 0.93) * pixel_mm * size / 300
    # (z, y, x) true / standard
    stretch = np.array([rng.uniform(0.9, 1.08), width * rng.uniform(0.94, 1.06), width])
    above_mm, below_mm = rng.uniform(38, 52), rng.uniform(218, 238)
    height_mm = (above_mm + below_mm) * stretch[0]
    slice_mm = round(rng.uniform(height_mm / 56, min(6.0, height_mm / 40)), 3)
    count = int(height_mm / slice_mm)
    across_mm = (np.arange(size) - size / 2 + 0.5) * pixel_mm
    axes_mm = (above_mm * stretch[0] - slice_mm * np.arange(count)[::-1], across_mm, across_mm)
    open_axes = np.meshgrid(*(a / s for a, s in zip(axes_mm, stretch)), indexing="ij", sparse=True)
    z, y, x = (a.astype(np.float32) + 3.5 * draw_waves(rng, axes_mm, 110) for a in open_axes)
    body = Body(rng, axes_mm, z, y, x, np.full(x.shape, -1000, np.float32))
    return body, (slice_mm, pixel_mm, pixel_mm)


def draw_wall(body):
    """Skin, fat, muscle, ribs, spine, couch; returns mm behind the inner wall, positive inside."""
    x, y, z, vary = body.x, body.y, body.z, body.vary
    body.paint(np.maximum(np.abs(y - 112 - x**2 / 1500) - 1.5, np.abs(x) - 125), -350)
    round_ = (np.abs(x / 150) ** 2.4 + np.abs(y / np.where(y > 0, 94, 110)) ** 2.4) ** (1 / 2.4)
    radius = np.hypot(x, y)
    depth = radius / np.maximum(round_, 1e-3) - radius
    fat = vary(9, 22) + 3 * draw_waves(body.rng, body.axes_mm, 120) - 6 * np.clip(y / 90, -0.3, 0.8)
    body.paint(-depth, 15)
    body.paint(2.5 - depth, -102)
    muscle = vary(50, 62)
    body.paint(fat - depth, muscle)
    inner = depth - fat - vary(12, 15) - 5 * np.clip(y / 60, 0, 1)
    # fat between the layers of muscle
    between = np.abs(inner + 6) - 0.9 + 2 * draw_waves(body.rng, body.axes_mm, 40)
    body.paint(between, -70)
    body.paint(-inner, -98 + 4 * draw_waves(body.rng, body.axes_mm, 30))
    for side in (-1, 1):  # back muscles, then psoas, which begins at the level of the kidneys
        body.paint(body.ellipsoid((side * 34, 76, -80), (29, 17, 900)), muscle + 2)
        body.paint(body.ellipsoid((side * 31, 50, -230), (17, 19, 110)), muscle + 4)
    disc = np.abs((z + vary(0, 34)) % 34 - 17) - 3.5
    vertebra = body.ellipsoid((0, 48, 0), (21, 16, 9000)) / 10
    arch = np.minimum(body.ellipsoid((0, 82, 0), (4, 16, 9000)) / 10,
                      np.abs(y - 68) / 1.0 + np.abs(x) / 9 - 4.5)
    bone = vary(150, 230)
    body.paint(np.minimum(vertebra, np.maximum(arch, -disc - 2)), 480 + vary(0, 200), 3)
    body.paint(vertebra + 2.5, bone + 25 * draw_waves(body.rng, body.axes_mm, 14), 3)
    body.paint(np.maximum(vertebra + 1, disc), 85, 4)
    body.paint(body.ellipsoid((0, 68, 0), (9, 7, 9000)) / 10, 25)
    # Ribs run down from back to front, so that a slice cuts several of them obliquely.
    level = (z + 0.75 * (80 - y) + vary(0, 27)) % 27 - 13.5
    rib = np.hypot((inner + 5.5) / 3.6, level / 6.0) - 1
    cage = np.maximum(12 - np.abs(x), -z - 125 - 0.9 * y)
    body.paint(np.maximum(3.5 * rib, cage), np.where(y < -70, 110, 700), 2.5)
    body.paint(np.maximum(3.5 * rib + 1.8, cage), np.where(y < -70, 100, 260), 2.5)
    return inner


def find_dome(body):
    """The abdomen as a field in mm: everything below the two domes of the diaphragm is negative."""
    right, left, middle = (
        np.sqrt(np.clip(1 - ((body.x - at) / wide) ** 2 - ((body.y + 4) / deep) ** 2, 0, 1))
        for at, wide, deep in ((-60, 86, 92), (66, 80, 92), (8, 88, 84))
    )
    top = body.vary(-20, -8)
    tops = np.maximum(105 * (right - 1),
                      np.maximum(top + 90 * (left - 1), top - 14 + 80 * (middle - 1)))
    return body.z - tops - 2.5 * draw_waves(body.rng, body.axes_mm, 60)


def draw_neighbours(body, inside):
    """The organs beside the liver; returns the kidneys' and the cava's fields in mm."""
    vary, rng = body.vary, body.rng
    loops, content = draw_waves(rng, body.axes_mm, 34), draw_waves(rng, body.axes_mm, 45)
    lower = join_rounded(body.z + 66 + 0.1 * body.x, body.y - 22 + 7 * content)
    body.paint(np.maximum(8 * (0.25 - np.abs(loops)), lower), 78 + 14 * np.clip(content, -2, 2), 4,
               inside)
    filling = np.select([content > 1.1, content < -0.7], [230, -850], 28)
    body.paint(np.maximum(8 * (0.95 - np.abs(loops)), lower + 4), filling, 4, inside)
    for side in (-1, 1):  # ascending and descending colon
        colon = body.ellipsoid((side * 104, 8, -230), (20, 22, 92)) + 2.5 * loops
        body.paint(colon, 70, 3, inside)
        body.paint(colon + 3, np.where(content + body.y / -20 > 0.5, -880, 35 + 20 * content), 3,
                   inside)
    organ = vary(95, 115)
    body.paint(body.ellipsoid((8, 5 + vary(-4, 4), -98), (62, 12, 14)) + 3 * loops, organ, 4,
               inside)
    body.paint(body.ellipsoid((-28, 4, -118), (15, 14, 24)) + 2 * loops, organ + 8, 4, inside)
    stomach = body.ellipsoid((58, -28, -52), (vary(34, 46), vary(36, 46), vary(40, 54))) + 3 * loops
    body.paint(stomach, 75, 3, inside)
    meal = rng.choice([22.0, 40.0, 240.0])
    body.paint(stomach + 5, np.where(body.y < vary(-45, -15), -960, meal), 3, inside)
    spleen = body.ellipsoid((92, 30, -58), (vary(26, 34), vary(42, 54), vary(42, 58))) + 3 * content
    body.paint(spleen, vary(115, 130), within=inside)
    kidneys = np.float32(1e3)
    for side in (-1, 1):
        at = (side * 62 + 8 * side * (body.z + 130) / -60, 42, -136 + 8 * side)
        kidney = body.ellipsoid(at, (27, 27, 50)) + 1.5 * loops
        body.paint(kidney, vary(165, 190), 2.5, inside)
        body.paint(kidney + 9, 150 + 12 * content, 4)
        body.paint(body.ellipsoid((at[0] - side * 13, 36, at[2]), (15, 8, 22)) + 4 * content, -70,
                   4)
        kidneys = np.minimum(kidneys, kidney)
    blood = vary(150, 170)
    cava = body.ellipsoid((-22, 24, 0), (13, 10, 9000)) / 9
    body.paint(body.ellipsoid((10, 22, 0), (10.5, 10.5, 9000)) / 9, blood)
    body.paint(cava, blood - 8)
    return kidneys, cava


def draw_chest(body, inner, dome):
    """Lungs, heart and diaphragm above `dome`, the field of the abdomen in mm."""
    middle = body.ellipsoid((4, 20, 0), (30, 75, 9000)) / 12
    heart = body.ellipsoid((22, -38, 22), (58, 48, 50))
    chest = np.maximum(-dome, 1 - inner)
    body.paint(np.maximum(np.maximum(np.abs(dome + 1) - 1.5, -inner), -middle), 55, 3)
    lung = np.maximum(chest, -np.minimum(middle, heart - 3))
    body.paint(lung, -860 + 22 * draw_waves(body.rng, body.axes_mm, 60))
    body.paint(np.maximum(lung + 3, 6 * (2.1 - draw_waves(body.rng, body.axes_mm, 14))), 20)
    body.paint(np.maximum(heart, chest), 60, 4)
    body.paint(np.maximum(heart + 11 + 5 * draw_waves(body.rng, body.axes_mm, 50), chest),
               body.vary(140, 165), 6)


def draw_branches(body, start, towards, radius_mm, value, within, generations):
    """A vessel from `start` (x, y, z) along `towards`, forking and thinning inside `within`."""
    start, towards = np.asarray(start, float), np.asarray(towards, float)
    end = start + towards * body.vary(0.5, 0.65)
    box = find_box(body, (start + end) / 2, np.abs(end - start) / 2 + radius_mm + 14)
    along = (end - start) / max(np.sum((end - start) ** 2), 1.0)
    apart = [axis[box] - np.float32(s) for axis, s in zip((body.x, body.y, body.z), start)]
    t = np.clip(sum(a * np.float32(u) for a, u in zip(apart, along)), 0, 1)
    distance = np.sqrt(sum((a - t * np.float32(e - s)) ** 2 for a, e, s in zip(apart, end, start)))
    body.paint(distance - radius_mm * (1 - 0.2 * t), value, 2.0, within[box], box)
    if generations > 1:
        for _ in range(2):
            turn = body.rng.normal(size=3) * np.linalg.norm(towards) * 0.5
            draw_branches(body, end, 0.72 * (towards + turn), 0.74 * radius_mm, value, within,
                          generations - 1)


def find_box(body, centre, reach):
    """Slices (z, y, x) around a standard (x, y, z); `reach` holds 14 mm for bent axes too."""
    middle = [n // 2 for n in body.hu.shape]
    lines = (body.z[:, middle[1], middle[2]], body.y[middle[0], :, middle[2]],
             body.x[middle[0], middle[1], :])
    return tuple(slice(int(np.searchsorted(line, c - r)), int(np.searchsorted(line, c + r)) + 1)
                 for line, c, r in zip(lines, centre[::-1], reach[::-1]))
