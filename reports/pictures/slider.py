"""slider.gif of the README: a phantom of the demo leafed through, prediction and reference on it.

.venv/bin/python reports/pictures/slider.py volume-3   after make demo; a case of its test set
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

from helpers import overlays, read_mask, read_row, runs
from helpers.intake import case_table

WIDTH, BAR, MARGIN = 360, 26, 10  # pixels
COLOURS = 48


def main(case):
    run = runs.Run("demo")
    rows = case_table.read_table(run.lists / "cases.csv")
    row = rows[rows.case == case].iloc[0]
    if "phantoms" not in row.image:
        sys.exit(f"{row.image} is no phantom: pictures of scans of people aren't published")
    volume, reference = read_row(row)
    prediction = read_mask(run.prediction(case), volume)
    there, wide = np.nonzero((volume.hu > -300).any(0))
    body = slice(there.min(), there.max() + 1), slice(wide.min(), wide.max() + 1)
    frames = []
    for z in range(0, len(reference), 2):
        masks = overlays.of_both(reference[z][body], prediction[z][body])
        enlarged = overlays.enlarged(volume.hu[z][body], masks, volume.spacing_mm[1:], WIDTH)
        plane = Image.fromarray(overlays.paint(*enlarged))
        frame = Image.new("RGB", (WIDTH, plane.height + BAR), "white")
        frame.paste(plane, ((WIDTH - plane.width) // 2, 0))
        draw_track(ImageDraw.Draw(frame), plane.height + BAR // 2, reference, z)
        frames.append(frame)
    richest = int((reference == 2).sum((1, 2)).argmax()) // 2  # its frame has all colours
    palette = frames[richest].quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    out = runs.HERE / "reports" / "pictures" / "slider.gif"
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=180, loop=0)
    print(f"{out}: {len(frames)} frames, {out.stat().st_size / 1e6:.2f} MB")


def draw_track(draw, y, reference, z):
    """The track of a slider at height y: where liver and tumour are, and which slice is shown."""
    x = np.linspace(MARGIN, WIDTH - MARGIN, len(reference))
    half = (x[1] - x[0]) / 2 + 0.5
    for k, labels in enumerate(reference):
        liver = overlays.LIVER if labels.any() else "#dddddd"
        colour = overlays.TUMOUR if (labels == 2).any() else liver
        draw.rectangle((x[k] - half, y - 3, x[k] + half, y + 3), fill=colour)
    draw.ellipse((x[z] - 8, y - 8, x[z] + 8, y + 8), fill="white", outline="#444444", width=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
