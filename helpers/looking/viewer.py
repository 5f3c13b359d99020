"""One widget that leafs through scans with their masks; planes are painted in the browser, by
SCRIPTS.

A plane travels once, on demand, as its exact HU and labels; what changes no voxel (window, layers,
zoom) never comes back here. One case at a time is in memory.
"""

import base64
from pathlib import Path

import anywidget
import cv2
import numpy as np
import traitlets

from helpers.looking import overlays, views
from helpers.looking.overlays import SOFT_TISSUE
from helpers.looking.views import View, of_run, of_volume

__all__ = ["View", "Viewer", "of_run", "of_volume"]  # what notebooks need
SCRIPTS = ("planes.js", "painting.js", "words.js", "viewer.js")  # one module of the browser
PRESETS = {
    "liver": (-40, 160), "soft tissue": SOFT_TISSUE, "lung": (-1350, 150), "bone": (-500, 1300)
}
RAMP = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_MAGMA)[0, :, ::-1]


class Viewer(anywidget.AnyWidget):
    """A widget that leafs through cases; where no kernel answers it, a still picture.

    names   the cases, in the order in which they are offered.
    read    function of a name that gives its View; a ValueError or OSError from it is shown in
            place of the picture.
    window  (low, high) in HU to begin with.
    scores  name -> number, dict or Series, shown beside the name: the lowest come first then.
    """

    _esm = "".join(Path(__file__).with_name(name).read_text("utf8") for name in SCRIPTS)
    _css = Path(__file__).with_suffix(".css")
    cases = traitlets.List().tag(sync=True)  # [name, its score as a text] each
    presets = traitlets.Dict(PRESETS).tag(sync=True)
    window = traitlets.Tuple(SOFT_TISSUE).tag(sync=True)
    opened = traitlets.Dict().tag(sync=True)  # what the browser knows of the case before its planes
    still = traitlets.Bytes().tag(sync=True)  # JPEG of the slice that a case opens with

    def __init__(self, names, read, window=SOFT_TISSUE, scores=None):
        pairs = () if scores is None else dict(scores).items()
        scores = {name: score for name, score in pairs if score == score}  # nan is none
        names = sorted(names, key=lambda name: scores.get(name, 2.0))
        texts = [f"{scores[name]:.2f}" if name in scores else "" for name in names]
        self._read, self._view, self._number = read, None, 0
        super().__init__(cases=[[*pair] for pair in zip(names, texts)], window=tuple(window))
        self.on_msg(self._answer)
        self._open(names[0])

    def _open(self, name):
        self._view, self._number = None, self._number + 1  # never two cases in memory
        try:
            view = self._read(name)
        except (ValueError, OSError) as error:
            self.still, facts = b"", {"error": str(error)}
        else:
            self._view, facts = view, facts_of(view)
            self.still = picture(view, facts["start"], self.window)
        self.opened = {"number": self._number, "name": name, **facts}

    def _answer(self, _, message, __):
        if message["want"] == "case":
            self._open(message["name"])
        elif message["number"] == self._number and self._view is not None:
            axis, indices = message["axis"], message["indices"]
            planes = [views.packed(self._view, axis, index) for index in indices]
            self.send({"number": self._number, "axis": axis, "indices": indices}, planes)

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = f"{self.opened['name']}, one slice"
        if self.still:
            data["image/jpeg"] = base64.b64encode(self.still).decode()
        return data, metadata


def facts_of(view):
    """What the browser has to know of a View, apart from its planes."""
    counts = views.pairs_by_slice(view)
    return {"shape": view.hu.shape, "spacing": view.spacing_mm, "sides": list(view.masks),
            "labels": views.LABELS, "pairs": counts.sum(0).tolist(),
            "layers": views.layers_of(view, counts), "lesions": views.lesions_of(view, counts),
            "maps": list(view.maps), "ramp": RAMP.ravel().tolist() if view.maps else [],
            "start": views.richest(counts), "names": view.names, "flat": view.flat,
            "turned": view.turned}


def picture(view, z, window):
    """A still JPEG of an axial slice with its overlays, in its true shape."""
    edges_mm = view.spacing_mm[1:] if view.spacing_mm else (1.0, 1.0)
    plane, drawn = overlays.enlarged(view.hu[z], view.overlays_of(z), edges_mm)
    rgb = overlays.paint(plane, drawn, window)
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
