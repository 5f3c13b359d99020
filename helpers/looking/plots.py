"""Still figures, kept beside the report, and curves that grow while a network trains."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import display, get_ipython
from matplotlib import ticker

from helpers.files import written_whole
from helpers.looking import overlays

LOOK = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.8,
    "axes.grid": True,
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


def figure(rows=1, columns=1, width=10.0, height=3.6, **more):
    """A calm matplotlib (figure, axes) in inches: two thin spines, a light grid."""
    plt.rcParams.update(LOOK)  # for the session: some are asked for when a title or label is set
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **more)


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
        for steps in ((1, 2, 5), (1, 3), (1,)):
            ticks = np.outer(decades, steps).ravel()
            shown = np.count_nonzero((low <= ticks) & (ticks <= high))
            if shown <= 8:
                break
        return ticks if shown >= 3 else ticker.MaxNLocator(5).tick_values(low, high)


def log_axis(axis, name="x"):
    """An axis, "x" or "y", in logarithms, with numbers as people write them."""
    axis.set(**{f"{name}scale": "log"})
    line = getattr(axis, f"{name}axis")
    line.set_major_locator(LogTicks())
    line.set_major_formatter("{x:,.10g}")
    line.set_minor_locator(ticker.NullLocator())


def contact_sheet(panels, titles=(), columns=4, spacing_mm=None, width=10.0, legend=()):
    """A still figure of planes, uint8 (y, x, 3) as `overlays.paint` gives them, each with a title.

    spacing_mm  (z, y, x) of all panels, or a list of one for each; None means square pixels.
    legend      names in `overlays.SCHEME` that are explained below the panels.
    """
    panels = list(panels)
    if not panels:
        raise ValueError("no panels to show")
    used, per_panel = min(columns, len(panels)), isinstance(spacing_mm, list)
    width, columns, rows = (
        width * used / columns,
        used,
        -(-len(panels) // used),
    )  # few panels: a small figure, not big panels
    aspects = [
        (s[1] / s[2] if s else 1.0)
        for s in (spacing_mm if per_panel else [spacing_mm] * len(panels))
    ]
    tall = max(p.shape[0] * a / p.shape[1] for p, a in zip(panels, aspects, strict=True))
    sheet, axes = figure(
        rows, columns, width, rows * (width / columns * tall + 0.35), squeeze=False
    )
    for k, axis in enumerate(axes.ravel()):
        axis.set_axis_off()
        if k < len(panels):
            axis.imshow(panels[k], aspect=aspects[k], interpolation="antialiased")
            axis.set_title(titles[k] if k < len(titles) else "", fontsize=9)
    if legend:
        overlays.legend(sheet, legend)
    return sheet


def save_figure(drawn, path=None):
    """Save a figure, whole or not at all; returns it closed, so that a cell shows it once."""
    if path is not None:
        with written_whole(path) as beside:
            drawn.savefig(beside, dpi=120, facecolor="white")
    plt.close(drawn)
    return drawn


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
        axis.set(
            title=", ".join(ways) or f"{', '.join(group)}: nothing yet",
            xlabel=along,
            ylabel=", ".join(group),
        )
        if len(ways) > 1:
            axis.legend()
    return drawn


class LiveCurves:
    """`curves` in one place of a notebook, redrawn by each call; outside a notebook nothing."""

    def __init__(self, columns, along="step"):
        self.columns, self.along, self.handle = columns, along, None

    def __call__(self, history):
        if get_ipython() is None or not history:
            return
        drawn = save_figure(curves(history, self.columns, self.along))
        if self.handle is None:
            self.handle = display.display(drawn, display_id=True)
        else:
            self.handle.update(drawn)
