"""A sheet of slices with a predicted mask on them, for who looks through many scans."""

import numpy as np

from helpers.looking import overlays, plots, slice_panels

SLICES = 8


def save(volume, labels, title, path):
    """Write a PNG: the slices with most predicted tumour, and others through the liver, cut to it.

    volume  Volume; labels: uint8 (z, y, x), 1 liver, 2 tumour.
    """
    chosen, edges_mm = slices_to_show(labels), volume.spacing_mm[1:]
    y, x = slice_panels.square((labels > 0).any(0), edges_mm)
    panels = []
    for z in chosen:
        masks = overlays.of_prediction(labels[z][y, x])
        plane = overlays.enlarged(volume.hu[z][y, x], masks, edges_mm, slice_panels.PIXELS)
        panels.append(overlays.paint(*plane))
    legend = ("predicted liver", "predicted tumour")
    sheet = plots.contact_sheet(panels, [f"slice {z}" for z in chosen], legend=legend)
    sheet.suptitle(title, x=0.01, ha="left")
    plots.save_figure(sheet, path)


def slices_to_show(labels, count=SLICES):
    """Indices of slices, in order: half of them with most tumour, some way apart, the rest as far
    from those as there are within the liver, or within the scan where there is none.
    """
    tumour_px = (labels == 2).sum((1, 2))
    rows = np.flatnonzero((labels > 0).any((1, 2)))
    rows = rows if len(rows) else np.arange(len(labels))
    shown, apart = [], max(1, len(rows) // (2 * count))
    for z in np.argsort(-tumour_px, kind="stable")[: np.count_nonzero(tumour_px)]:
        if len(shown) < count // 2 and all(abs(z - other) >= apart for other in shown):
            shown.append(int(z))
    inner = rows[len(rows) // 20 : len(rows) - len(rows) // 20].tolist()  # tips show little
    while len(shown) < min(count, len(inner)):
        shown.append(max(inner, key=lambda z: min((abs(z - k) for k in shown), default=0)))
    return sorted(set(shown))
