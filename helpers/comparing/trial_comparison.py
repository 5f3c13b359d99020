"""What the rows of notebook 07 say beside each other: patients' scores, paired tests, sentences and figures."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib import ticker

from helpers.looking.plots import figure
from helpers.looking.viewer import COLOURS
from helpers.scoring import statistics

COLUMNS = ["trial", "patients", "score", "low", "high", "difference", "difference_low", "difference_high", "better", "worse", "p"]


def of_patients(scores, split):
    """One score a patient, the mean over its scans: DataFrame trial, patient, score.

    scores  DataFrame trial, case, score; split: split.csv, which says whose scan each case is.
    """
    patient = dict(zip(split.case, split.group, strict=True))
    scores = scores.assign(patient=scores.case.map(patient))
    return scores.groupby(["trial", "patient"], sort=False, as_index=False).score.mean()


def compared(scores, default_of):
    """Means with 95 % intervals, and each trial against its default on the same patients.

    scores      DataFrame trial, patient, score.
    default_of  dict of trial -> the trial it is compared with, itself for a default.
    returns     DataFrame, a row a trial: patients, score, low, high, difference, difference_low, difference_high, better, worse,
                p (Wilcoxon's signed-rank test, two-sided, 1 when no patient differs) and p_holm, corrected over all rows.
    """
    rows, cases = [], scores.rename(columns={"patient": "case"})
    for trial, scored in cases.groupby("trial", sort=False):
        low, high = statistics.bootstrap_ci(scored.score)
        row = {"trial": trial, "patients": len(scored), "score": scored.score.mean(), "low": low, "high": high}
        default = cases[cases.trial == default_of[trial]]
        if trial != default_of[trial] and set(scored.case) & set(default.case):
            paired = statistics.paired_difference(default, scored, "score")
            row |= {"difference": paired["mean"], "difference_low": paired["low"], "difference_high": paired["high"]}
            row |= {"better": paired["better"], "worse": paired["worse"], "p": 1.0 if paired["p"] is None else paired["p"]}
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p_holm=statistics.holm(table.p))


def largest_component_gain(scores):
    """What the largest component changes for networks of the liver, a sentence a row; scores as of `Trial.scores`."""
    sentences = []
    for trial, largest in scores.dropna(subset="all_components").groupby("trial", sort=False):
        gain = statistics.paired_difference(largest.assign(score=largest.all_components), largest, "score")
        scans = f"{gain['better']} scans better, {gain['worse']} worse"
        sentences.append(f"{trial}: {gain['mean']:+.4f} by the largest component; {scans}")
    return "\n".join(sentences)


def conclusion(table, level=0.05):
    """What the numbers say, a paragraph a stage; rows that lack patients are not ranked.

    table  DataFrame of `compared` with the columns stage, default and slices_per_second.
    """
    return "\n".join(_of_stage(stage, rows, level) for stage, rows in table.groupby("stage", sort=False))


def _of_stage(stage, rows, level):
    scored = rows[rows.score.notna()]
    if len(scored) < 2:
        return f"{stage}: {len(scored)} of {len(rows)} rows have a score, so there is nothing to compare."
    ranked = scored[scored.patients == scored.patients.max()]
    best, beyond_noise = ranked.loc[ranked.score.idxmax()], ranked.p_holm < level
    lines = [f"{stage}, {best.patients:.0f} patients: {best.trial} leads with {best.score:.3f}{_from_to(best.low, best.high)}."]
    if best.trial != best.default and best.difference == best.difference:
        verdict = "beyond noise" if best.p_holm < level else "within noise"
        interval = _from_to(best.difference_low, best.difference_high)
        lines.append(f"It is {best.difference:+.3f}{interval} from {best.default}, p {best.p_holm:.2g} after Holm: {verdict}.")
    named = ", ".join(f"{row.trial} ({row.difference:+.3f})" for row in ranked[beyond_noise].itertuples())
    lines.append(f"Beyond noise against {best.default}: {named or 'none'}.")
    timed = ranked[~beyond_noise & ranked.slices_per_second.notna()]
    if len(timed):
        fast = timed.loc[timed.slices_per_second.idxmax()]
        lines.append(f"Of the others {fast.trial} learns fastest, {fast.slices_per_second:.1f} slices a second of one core.")
    if unranked := sorted(set(rows.trial) - set(ranked.trial)):
        lines.append(f"Not ranked, for want of scores: {', '.join(unranked)}.")
    return " ".join(lines)


def _from_to(low, high):
    return f" ({low:.3f} to {high:.3f})" if low is not None and low == low else ""


def score_against_speed(table):
    """The figure of what each row costs and gives: score over slices a second, an axis a stage; dots grow with the weights."""
    drawn, stages = _axis_a_stage(table, height=4.2)
    for axis, stage, rows in stages:
        away = [rows.score - rows.low.fillna(rows.score), rows.high.fillna(rows.score) - rows.score]
        axis.errorbar(rows.slices_per_second, rows.score, yerr=away, fmt="none", ecolor="#BBBBBB", elinewidth=1)
        lacking = rows.patients < rows.patients.max()
        look = {"c": np.where(rows.trial == rows.default, "#444444", COLOURS[stage]), "s": 20 + 4 * rows.parameters_m}
        axis.scatter(rows.slices_per_second, rows.score, **look, alpha=np.where(lacking, 0.4, 1.0), zorder=3)
        axis.margins(x=0.2)
        axis.set(xscale="log", xlabel="slices learnt a second of one core, log", ylabel=f"{stage} Dice, mean over patients")
        axis.xaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        _name_dots(axis, rows)
        best = rows.loc[rows.score[~lacking].idxmax()]
        pale = ", pale: fewer patients" if lacking.any() else ""
        axis.set_title(f"{stage}: highest {best.trial}, {best.score:.2f}; dark: default{pale}")
    return drawn


def _axis_a_stage(table, height):
    """A figure, and (axis, stage, its rows that have a score) for each stage."""
    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=height, squeeze=False)
    return drawn, [(axis, *group) for axis, group in zip(axes[0], scored.groupby("stage", sort=False))]


def _name_dots(axis, rows):
    """Each row's name beside its dot, on the first of four sides where no other name lies; scale and limits stand by now."""
    taken, per_point = [], axis.figure.dpi / 72
    for row in rows.itertuples():
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
    drawn, stages = _axis_a_stage(table, height=1.6 + 0.3 * table.score.notna().sum())
    for axis, stage, rows in stages:
        where = {"x": "score", "y": "trial", "order": rows.trial.tolist(), "ax": axis}
        scores = patients[patients.trial.isin(rows.trial)]
        seaborn.stripplot(scores, **where, color=COLOURS[stage], alpha=0.5, jitter=False)
        seaborn.pointplot(scores, **where, color="#222222", errorbar=None, linestyle="none", marker="|", markersize=16)
        few, many = int(rows.patients.min()), int(rows.patients.max())
        counted = f"{many}" if few == many else f"{few} to {many}"
        axis.set(title=f"{stage}: {len(rows)} rows, {counted} patients; bars are means", xlabel=f"{stage} Dice", ylabel="")
    return drawn
