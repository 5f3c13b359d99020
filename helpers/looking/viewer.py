"""Slices with masks laid over them, and sliders that leaf through them."""

import html

import cv2
import ipywidgets as widgets

from helpers.looking.overlays import SCHEME, SOFT_TISSUE, enlarged, paint, richest


def frame(hu_plane, overlays, window=SOFT_TISSUE, strength=1.0, edges_mm=(1.0, 1.0)):
    """One picture of a slider as PNG bytes, with the patient's right and left marked."""
    rgb = paint(*enlarged(hu_plane, overlays, edges_mm), window, strength)
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
    overlays_of  function of z that gives the overlays of that slice, as `overlays.paint` takes.
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
    strength = widgets.FloatSlider(1, min=0, max=2, step=0.1, description="overlay", **slim)
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
            z.value = richest(len(hu), overlays_of) if start is None else min(start, z.max)
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
    marks = {"line": "&#9633;", "fill": "&#9632;"}  # a hollow square, a filled one
    looks = {name: SCHEME[name] for _, name in overlays}
    return "<br>".join(
        f'<span style="color:{look.colour}">{marks[look.style]}</span> {name}'
        for name, look in looks.items()
    )
