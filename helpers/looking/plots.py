"""Still figures, kept beside the report, and curves that grow while a network trains."""

import io

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import display, get_ipython
from matplotlib import ticker
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from helpers.files import written_whole
from helpers.looking import overlays
from helpers.scans.findings import counted

DPI = 120
LOOK = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=("#333333", "#009E73", "#CC79A7")),  # no organ's colour
    "axes.axisbelow": True,
    "grid.color": "#eeeeee",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": "#444444",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


class Drawn(Figure):
    """A figure that a notebook shows as a small file, and in words to those who can't see it."""

    def _ipython_display_(self):
        display.display(picture_of(self))


def figure(rows=1, columns=1, width=10.0, height=3.6, **more):
    """A calm matplotlib (figure, axes) in inches: two thin spines, a light grid."""
    plt.rcParams.update(LOOK)  # for the session: some are asked for when a title or label is set
    size = {"figsize": (width, height), "layout": "constrained"}
    return plt.subplots(rows, columns, FigureClass=Drawn, **size, **more)


def bars(axis, lengths, names, colours):
    """Horizontal bars from top to bottom, each with its name and colour."""
    look = {"saturation": 1, "width": 0.65, "legend": False}
    places = range(len(names))
    sns.barplot(x=lengths, y=names, hue=places, palette=list(colours), ax=axis, **look)
    axis.set_ylabel("")
    axis.grid(axis="y", visible=False)


class LogTicks(ticker.LogLocator):
    """Three to eight round numbers, whatever a logarithmic axis spans."""

    def tick_values(self, low, high):
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 3), (1,)):
            ticks = np.outer(decades, steps).ravel()
            if 3 <= np.count_nonzero((low <= ticks) & (ticks <= high)) <= 8:
                return ticks
        return ticker.MaxNLocator(5).tick_values(low, high)


def log_axis(axis, name="x"):
    """An axis, "x" or "y", in logarithms, with numbers as people write them."""
    axis.set(**{f"{name}scale": "log"})
    line = getattr(axis, f"{name}axis")
    line.set_major_locator(LogTicks())
    line.set_major_formatter("{x:,.10g}")
    line.set_minor_locator(ticker.NullLocator())


def contact_sheet(panels, titles=(), columns=4, spacing_mm=None, width=10.0, legend=(), trim=True):
    """A still figure of planes, uint8 (y, x, 3) as `overlays.paint` gives them, each with a title.

    columns     at most so many beside each other.
    spacing_mm  (z, y, x) of all panels, or a list of one for each; None means square pixels.
    width       of as many panels as `columns`, in inches.
    legend      names in `overlays.SCHEME` that are explained below the panels.
    trim        cuts off what is black round all panels of one shape.
    """
    panels = _trimmed(list(panels)) if trim else list(panels)
    if not panels:
        raise ValueError("no panels to show")
    rows = -(-len(panels) // columns)
    width, columns = width / columns, -(-len(panels) // rows)  # of a panel; no row nearly empty
    if not isinstance(spacing_mm, list):
        spacing_mm = [spacing_mm] * len(panels)
    aspects = [s[1] / s[2] if s else 1.0 for s in spacing_mm]
    tall = max(p.shape[0] * a / p.shape[1] for p, a in zip(panels, aspects, strict=True))
    size = {"width": width * columns, "height": rows * (width * tall + 0.35)}
    sheet, axes = figure(rows, columns, **size, squeeze=False)
    for k, axis in enumerate(axes.ravel()):
        axis.set_axis_off()
        if k < len(panels):
            axis.imshow(panels[k], aspect=aspects[k], interpolation="antialiased")
            axis.set_title(titles[k] if k < len(titles) else "", fontsize=9)
    if legend:
        overlays.legend(sheet, legend)
    return sheet


def _trimmed(panels, rim=2):
    """Panels without what is black round all of one shape, as far as `rim` pixels from the rest."""
    inner = {}
    for shape in {panel.shape for panel in panels}:
        lit = np.any([panel.max(2) > 0 for panel in panels if panel.shape == shape], axis=0)
        ends = [np.flatnonzero(lit.any(1 - axis))[[0, -1]] for axis in (0, 1) if lit.any()]
        inner[shape] = tuple(slice(max(0, low - rim), high + rim + 1) for low, high in ends)
    return [panel[inner[panel.shape]] for panel in panels]


def save_figure(drawn, path=None):
    """Save a figure, whole or not at all; returns it closed, so that a cell shows it once.

    The file keeps what the figure says in words, for those who can't see it (`alt_of`).
    """
    if path is not None:
        with written_whole(path) as beside:
            beside.write_bytes(encoded(drawn, jpeg=str(path).endswith(".jpg")))
    plt.close(drawn)
    return drawn


def encoded(drawn, jpeg=False):
    """The bytes of a figure with what it says in words: a JPEG, or a PNG, which of a chart has the
    256 colours that it needs.
    """
    raw, out = io.BytesIO(), io.BytesIO()
    drawn.savefig(raw, dpi=DPI, facecolor="white")
    picture, words = Image.open(raw).convert("RGB"), described(drawn)
    if jpeg:
        picture.save(out, "JPEG", quality=85, subsampling=0, comment=words.encode())
        return out.getvalue()
    if not _shows_planes(drawn):
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("Description", words)
    picture.save(out, "PNG", optimize=True, pnginfo=notes)
    return out.getvalue()


def picture_of(drawn):
    """A figure as a notebook shows it: planes as JPEG, for the noise of a CT makes a large PNG."""
    width, jpeg = int(100 * drawn.get_figwidth()), _shows_planes(drawn)
    return display.Image(encoded(drawn, jpeg), width=width, alt=described(drawn))


def _shows_planes(drawn):
    return any(axis.images for axis in drawn.axes)


def described(drawn):
    """What a figure says in words: its titles, its axes and what its legends explain."""
    words = [drawn.get_suptitle()]
    for axis in drawn.axes:
        title = axis.get_title(loc="left").replace("\n", ", ")
        x, y = axis.get_xlabel(), axis.get_ylabel()
        words.append(title + (f" ({y or 'rows'} against {x})" if x else ""))
    legends = drawn.legends + [axis.get_legend() for axis in drawn.axes if axis.get_legend()]
    names = dict.fromkeys(text.get_text() for legend in legends for text in legend.get_texts())
    words.append(f"shown: {', '.join(names)}" if names else "")
    return ". ".join(" ".join(text.split()) for text in words if text.strip())


def alt_of(path):
    """The words that `save_figure` kept in a file."""
    with Image.open(path) as picture:
        words = picture.info.get("Description") or picture.info.get("comment", b"").decode()
    return words


def kept(path, fresh, draw, *arguments):
    """A figure from its file, drawn first when it is to be made afresh or isn't there."""
    if fresh or not path.is_file():
        save_figure(draw(*arguments), path)
    return display.Image(filename=path, alt=alt_of(path))


def curves(history, columns, along="step"):
    """Learning curves: one panel for each of `columns`, a name or a tuple of names drawn together.

    history  list of dicts; a row may lack a column (validation is rarer than steps).
    along    the column on the x axis.
    """
    groups = [(c,) if isinstance(c, str) else tuple(c) for c in columns]
    drawn, axes = figure(1, len(groups), 4.6 * len(groups) + 0.6, 3.0, squeeze=False)
    for axis, group in zip(axes[0], groups, strict=True):
        ways = []  # of each curve, from its first value to its last
        for name in group:
            points = [
                (row.get(along, k), row[name])
                for k, row in enumerate(history)
                if row.get(name) is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                axis.plot(x, y, lw=1.5, marker="o" if len(x) < 40 else "", ms=3, label=name)
                ways.append(f"{name} {y[0]:.3g} → {y[-1]:.3g}")
        axis.xaxis.get_major_locator().set_params(integer=True)
        names = ", ".join(group)
        axis.set(xlabel=along, ylabel=names, title=", ".join(ways) or f"{names}: nothing yet")
        if len(ways) > 1:
            axis.legend()
    return drawn


def learning(history, name):
    """Learning curves of one stage: losses on the left, scores on the right."""
    not_drawn = {"step", "minutes", "rate", "lr", "round", "chunk", "epoch"}
    columns = [column for column in history.select_dtypes("number") if column not in not_drawn]
    losses = tuple(column for column in columns if "loss" in column)
    scores = tuple(column for column in columns if column not in losses)
    if not columns:
        raise ValueError(f"the history of {name} has no column of numbers to draw: {list(history)}")
    along = "step" if "step" in history else "index"
    plain = {name: name.replace("_", " ") for name in columns}
    losses, scores = (tuple(plain[name] for name in group) for group in (losses, scores))
    rows = history.reset_index().rename(columns=plain).to_dict("records")
    rows = [{k: v for k, v in row.items() if v == v} for row in rows]  # nan is a row's gap
    drawn = curves(rows, [group for group in (losses, scores) if group], along)
    drawn.suptitle(f"{name}: {counted(len(history), 'validation')}", fontsize=11, x=0.01, ha="left")
    return drawn


class LiveCurves:
    """`curves` in one place of a notebook, redrawn by each call; outside a notebook nothing."""

    def __init__(self, columns, along="step"):
        self.columns, self.along, self.handle = columns, along, None

    def __call__(self, history):
        if get_ipython() is None or not history:
            return
        drawn = picture_of(save_figure(curves(history, self.columns, self.along)))
        if self.handle is None:
            self.handle = display.display(drawn, display_id=True)
        else:
            self.handle.update(drawn)
