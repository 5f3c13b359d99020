"""The figures of notebook 07: what each trial costs and gives, and how its patients fare."""

import numpy as np

from helpers.plots import figure
from helpers.viewer import COLOURS


def score_against_speed(table):
    """The figure of what each row costs and gives: score over slices a second, an axis a stage; dots grow with the weights."""
    from matplotlib import ticker

    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=4.2, squeeze=False)
    for axis, (stage, part) in zip(axes[0], scored.groupby("stage", sort=False)):
        away = [part.score - part.low.fillna(part.score), part.high.fillna(part.score) - part.score]
        colours = np.where(part.trial == part.default, "#444444", COLOURS[stage])
        axis.errorbar(part.slices_per_second, part.score, yerr=away, fmt="none", ecolor="#BBBBBB", elinewidth=1)
        lacking = part.patients < part.patients.max()
        pale = np.where(lacking, 0.4, 1.0)
        axis.scatter(part.slices_per_second, part.score, c=colours, s=20 + 4 * part.parameters_m, alpha=pale, zorder=3)
        best = part.loc[part.score[~lacking].idxmax()]
        axis.margins(x=0.2)
        axis.set(xscale="log", xlabel="slices learnt a second of one core, log", ylabel=f"{stage} Dice, mean over patients")
        axis.xaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks("{x:g}")
        _name_dots(axis, part)
        told = ", pale: fewer patients" if lacking.any() else ""
        axis.set_title(f"{stage}: highest {best.trial}, {best.score:.2f}; dark: default{told}")
    return drawn


def _name_dots(axis, part):
    """Each row's name beside its dot, on the first of four sides where no other name lies; scale and limits stand by now."""
    taken, per_point = [], axis.figure.dpi / 72
    for row in part.itertuples():
        spot = (row.slices_per_second, row.score)
        (x, y), width, height = axis.transData.transform(spot) / per_point, 5 * len(row.trial), 9
        for dx, dy in ((5, 4), (-5 - width, 4), (5, -12), (-5 - width, -12)):
            left, low = x + dx, y + dy
            if not any(left < u + w and u < left + width and abs(low - v) < height for u, v, w in taken):
                break
        taken.append((left, low, width))
        axis.annotate(row.trial, spot, (dx, dy), textcoords="offset points", fontsize=8)


def by_patient(table, patients):
    """The figure of every patient's score, a line of dots a row, the mean as a bar; an axis a stage."""
    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=1.6 + 0.3 * len(scored), squeeze=False)
    for axis, (stage, part) in zip(axes[0], scored.groupby("stage", sort=False)):
        for k, row in enumerate(part[::-1].itertuples()):
            own = patients.score[patients.trial == row.trial]
            axis.scatter(own, [k] * len(own), color=COLOURS[stage], alpha=0.5, s=24, lw=0)
            axis.plot([row.score] * 2, [k - 0.35, k + 0.35], color="#222222", lw=2)
        axis.set(yticks=range(len(part)), yticklabels=part.trial[::-1], xlabel=f"{stage} Dice")
        axis.set_title(f"{stage}: {len(part)} rows, {_counted(part.patients)} patients; bars are means")
    return drawn


def _counted(counts):
    low, high = int(counts.min()), int(counts.max())
    return f"{high}" if low == high else f"{low} to {high}"
