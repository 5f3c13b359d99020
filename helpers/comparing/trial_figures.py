"""Figures of notebook 07: what its rows cost and give, and every patient's score."""

import numpy as np
import seaborn

from helpers.comparing.trial_scores import better_than_default
from helpers.looking.overlays import COLOURS
from helpers.looking.plots import figure, log_axis


def score_against_speed(table):
    """What each row costs and gives, an axis a stage; dots grow with the weights."""
    drawn, stages = _axis_a_stage(table, height=4.2)
    for axis, stage, rows in stages:
        x, y = rows.slices_per_second, rows.score
        away = [y - rows.low.fillna(y), rows.high.fillna(y) - y]
        axis.errorbar(x, y, yerr=away, fmt="none", ecolor="#BBBBBB", elinewidth=1)
        lacking = rows.patients < rows.patients.max()
        colours = np.where(rows.trial == rows.default, "#444444", COLOURS[stage])
        look = {"c": colours, "s": 20 + 4 * rows.parameters_m, "alpha": np.where(lacking, 0.4, 1.0)}
        axis.scatter(x, y, **look, zorder=3)
        axis.margins(x=0.2)
        axis.set(xlabel="slices learnt a second of one core, log")
        axis.set_ylabel(f"{stage} Dice, mean over patients")
        log_axis(axis)
        axis.set_ylim(_not_zoomed(*axis.get_ylim()))
        _name_dots(axis, rows)
        pale = ", pale: fewer patients" if lacking.any() else ""
        axis.set_title(f"{stage}: {better_than_default(rows)}\ndark: default{pale}")
    return drawn


def _not_zoomed(low, high, least=0.1):
    """Limits of Dice so far apart that a difference of nothing looks like nothing."""
    lacking = max(0.0, least - (high - low)) / 2
    return low - lacking, high + lacking


def _axis_a_stage(table, height):
    """A figure, and (axis, stage, its rows that have a score) for each stage."""
    stages = table[table.score.notna()].groupby("stage", sort=False)
    drawn, axes = figure(1, max(1, len(stages)), width=10, height=height, squeeze=False)
    return drawn, [(axis, *group) for axis, group in zip(axes[0], stages)]


def _name_dots(axis, rows):
    """Each row's name beside its dot, on the first of four sides where no other name lies.

    Lengths are in points; the axis' scale and limits stand by now.
    """
    taken, per_point = [], axis.figure.dpi / 72
    for row in rows.itertuples():
        spot, width = (row.slices_per_second, row.score), 5 * len(row.trial)
        x, y = axis.transData.transform(spot) / per_point
        for dx, dy in ((5, 4), (-5 - width, 4), (5, -12), (-5 - width, -12)):
            left, low = x + dx, y + dy
            beside = [v for u, v, w in taken if left < u + w and u < left + width]
            if all(abs(low - v) >= 9 for v in beside):
                break
        taken.append((left, low, width))
        axis.annotate(row.trial, spot, (dx, dy), textcoords="offset points", fontsize=8)


def by_patient(table, patients):
    """Every patient's score, a line of dots a row, the mean as a bar; an axis a stage."""
    drawn, stages = _axis_a_stage(table, height=1.6 + 0.3 * table.score.notna().sum())
    for axis, stage, rows in stages:
        scores = patients[patients.trial.isin(rows.trial)]
        where = {"x": "score", "y": "trial", "order": rows.trial.tolist(), "ax": axis}
        seaborn.stripplot(scores, **where, color=COLOURS[stage], alpha=0.5, jitter=False)
        bars = {"color": "#222222", "linestyle": "none", "marker": "|", "markersize": 16}
        seaborn.pointplot(scores, **where, **bars, errorbar=None)
        counts = " to ".join(f"{n:.0f}" for n in sorted({rows.patients.min(), rows.patients.max()}))
        axis.set(xlabel=f"{stage} Dice", ylabel="")
        axis.set_xlim(_not_zoomed(*axis.get_xlim()))
        axis.locator_params(axis="x", nbins=5)
        axis.set_title(f"{stage}: {len(rows)} rows, {counts} patients; bars are means")
    return drawn
