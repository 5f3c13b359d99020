"""Slices with masks laid over them, and sliders that leaf through them."""

import html

import cv2
import ipywidgets as widgets
import numpy as np

# distinct for colour-blind eyes (Okabe and Ito); the same in every figure of the project
COLOURS = {
    "liver": "#0072B2",
    "tumour": "#D55E00",
    "reference": "#009E73",
    "prediction": "#CC79A7",
    "box": "#E69F00",
}
SOFT_TISSUE = (-160, 240)  # HU window in which a person looks at a liver


def grey(hu_plane, window=SOFT_TISSUE):
    """A plane of HU (y, x) as uint8: the low end of the window is black, the high end white."""
    low, high = window
    if not high > low:
        raise ValueError(f"window {window}: its high end must lie above its low end")
    return np.clip(
        (np.asarray(hu_plane, np.float32) - low) * (255.0 / (high - low)) + 0.5, 0, 255
    ).astype(np.uint8)


def overlay(hu_plane, overlays, window=SOFT_TISSUE, opacity=0.4, line_px=1):
    """A plane of HU (y, x) in grey with masks on it, uint8 RGB (y, x, 3).

    overlays   list of (mask bool (y, x), colour "#rrggbb", "fill" or "line"), drawn in this order.
    opacity  of fills; lines are opaque, `line_px` wide, just inside the mask.
    """
    rgb = np.repeat(grey(hu_plane, window)[..., None], 3, axis=2)
    for mask, colour, style in overlays:
        ink = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        if style == "line":
            rgb[edge(mask, line_px)] = ink
        elif style == "fill":
            rgb[mask] = rgb[mask] * (1 - opacity) + ink * opacity
        else:
            raise ValueError(f"style {style!r}: an overlay is drawn as 'fill' or 'line'")
    return rgb


def edge(mask, width=1):
    """The outermost pixels of a mask bool (y, x), `width` deep; the plane's rim counts."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(
        mask.astype(np.uint8),
        cross,
        iterations=width,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return mask & (inside == 0)


def label_overlays(labels_plane):
    """The overlays of a plane of labels (y, x): 1 is liver, 2 is tumour."""
    return [
        (labels_plane == 1, COLOURS["liver"], "fill"),
        (labels_plane == 2, COLOURS["tumour"], "fill"),
    ]


def box_overlay(shape, box, z):
    """The frame of a box ((z0, z1), (y0, y1), (x0, x1)) on slice z as an overlay."""
    (z0, z1), (y0, y1), (x0, x1) = box
    mask = np.zeros(shape[-2:], bool)
    mask[y0:y1, x0:x1] = z0 <= z < z1
    return mask, COLOURS["box"], "line"


def enlarged(hu_plane, overlays, edges_mm=(1.0, 1.0), longest=500):
    """The same plane and overlays on square pixels, `longest` of them along the longer side.

    edges_mm  (y, x) edges of a pixel: a plane of oblong pixels gets its true shape.
    """
    tall, wide = (n * mm for n, mm in zip(hu_plane.shape, edges_mm, strict=True))
    scale = longest / max(tall, wide)
    size = (max(1, round(wide * scale)), max(1, round(tall * scale)))  # OpenCV wants (x, y)
    smooth = cv2.INTER_AREA if size[0] < hu_plane.shape[1] else cv2.INTER_LINEAR
    hu = cv2.resize(np.asarray(hu_plane, np.float32), size, interpolation=smooth)
    resized = [
        (cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127, *look)
        for mask, *look in overlays
    ]
    return hu, resized


def richest(hu, overlays_of):
    """The slice with most of the last overlay, else of the one before; else the middle one."""
    pixels = [
        [int(np.count_nonzero(mask)) for mask, _, _ in reversed(overlays_of(z))]
        for z in range(len(hu))
    ]
    return max(range(len(hu)), key=pixels.__getitem__) if any(map(any, pixels)) else len(hu) // 2


def frame(hu_plane, overlays, window=SOFT_TISSUE, opacity=0.4, edges_mm=(1.0, 1.0)):
    """One picture of a slider as PNG bytes, with the patient's right and left marked."""
    rgb = overlay(*enlarged(hu_plane, overlays, edges_mm), window, opacity)
    for letter, x in (("R", 8), ("L", rgb.shape[1] - 20)):
        cv2.putText(
            rgb,
            letter,
            (x, rgb.shape[0] // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.5,
            (150, 150, 150),
            1,
            cv2.LINE_AA,
        )
    return cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def slice_slider(hu, overlays_of, start=None, window=SOFT_TISSUE, spacing_mm=None):
    """A widget that leafs through one scan.

    hu           (z, y, x).
    overlays_of  function of z that gives the overlays of that slice, as `overlay` takes them.
    start        first slice shown; None takes the richest one.
    spacing_mm   (z, y, x), for the true shape of the pixels; None means square ones.
    """
    return case_slider([""], lambda _: (hu, overlays_of, spacing_mm), start, window)


def case_slider(names, read, start=None, window=SOFT_TISSUE):
    """A widget that leafs through several scans; one at a time is in memory.

    names  what the drop-down offers.
    read   function of a name: (hu (z, y, x), overlays_of, spacing_mm), as in `slice_slider`.
           A ValueError or OSError from it is shown in place of the picture.
    """
    slim = {"style": {"description_width": "58px"}, "layout": widgets.Layout(width="290px")}
    low, high = window
    case = widgets.Dropdown(options=list(names), description="case", **slim)
    z = widgets.IntSlider(0, 0, 0, description="slice", **slim)
    centre = widgets.IntSlider(
        round((low + high) / 2), -1000, 1000, 5, description="centre", **slim
    )
    width = widgets.IntSlider(round(high - low), 10, 3000, 10, description="width", **slim)
    strength = widgets.FloatSlider(0.4, min=0, max=1, step=0.05, description="overlay", **slim)
    caption = widgets.HTML()
    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
    scan = {}

    def draw(_=None):
        overlays, half = scan["overlays_of"](z.value), width.value / 2
        view = (centre.value - half, centre.value + half)
        picture.value = frame(scan["hu"][z.value], overlays, view, strength.value, scan["edges_mm"])
        place = f"slice {z.value}, from 0 at the feet to {z.max}"
        caption.value = "<br>".join(
            (place, f"{view[0]:.0f} to {view[1]:.0f} HU", _legend(overlays))
        )

    def open_case(_=None):
        controls.children = [case] if case.value else []
        try:
            hu, overlays_of, spacing_mm = read(case.value)
        except (ValueError, OSError) as error:
            picture.value, caption.value = b"", html.escape(str(error))
        else:
            scan.update(
                hu=hu,
                overlays_of=overlays_of,
                edges_mm=tuple(spacing_mm[1:]) if spacing_mm else (1.0, 1.0),
            )
            z.unobserve(draw, "value")  # one picture a case, not one for each step on the way
            z.value, z.max = 0, len(hu) - 1
            z.value = richest(hu, overlays_of) if start is None else min(start, z.max)
            z.observe(draw, "value")
            controls.children = [*controls.children, z, centre, width, strength]
            draw()
        controls.children = [*controls.children, caption]

    controls = widgets.VBox(layout=widgets.Layout(width="300px"))
    for slider in (centre, width, strength):
        slider.observe(draw, "value")
    case.observe(open_case, "value")
    open_case()
    return widgets.HBox(
        [picture, controls], layout=widgets.Layout(flex_flow="row wrap", grid_gap="16px")
    )


def _legend(overlays):
    names = {colour: name for name, colour in COLOURS.items()}
    used = dict.fromkeys(colour for _, colour, _ in overlays)
    return " &nbsp; ".join(
        f'<span style="color:{c}">&#9632;</span> {names.get(c, "")}' for c in used
    )
