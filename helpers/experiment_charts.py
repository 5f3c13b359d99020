"""The figures of notebook 07: what each trial costs and gives, and how its patients fare."""

import numpy as np

from helpers.plots import figure
from helpers.viewer import COLOURS


def score_against_speed(table):
    """The figure of what each row costs and gives: score over slices a second, an axis a stage; dots grow with the weights."""
    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=4.2, squeeze=False)
    for axis, (stage, part) in zip(axes[0], scored.groupby("stage", sort=False)):
        away = [part.score - part.low.fillna(part.score), part.high.fillna(part.score) - part.score]
        colours = np.where(part.trial == part.default, "#444444", COLOURS[stage])
        axis.errorbar(part.slices_per_second, part.score, yerr=away, fmt="none", ecolor="#BBBBBB", elinewidth=1)
        axis.scatter(part.slices_per_second, part.score, c=colours, s=20 + 4 * part.parameters_m, zorder=3)
        for row in part.itertuples():
            axis.annotate(row.trial, (row.slices_per_second, row.score), (4, 4), textcoords="offset points", fontsize=8)
        whole = part[part.patients == part.patients.max()]  # rows that lack patients are not ranked
        best = whole.loc[whole.score.idxmax()]
        axis.margins(x=0.2)
        axis.set(xscale="log", xlabel="slices learnt a second of one core, log", ylabel=f"{stage} Dice, mean over patients")
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks("{x:g}")
        axis.set_title(f"{stage}: highest {best.trial}, {best.score:.2f}; dark is the default")
    return drawn


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
        axis.set_title(f"{stage}: {len(part)} rows, {int(part.patients.max())} patients; bars are means")
    return drawn
