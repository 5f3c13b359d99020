"""The figures of an evaluation that are about cases: each says in its title what it shows."""

import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import spearmanr

from helpers.looking.overlays import COLOURS
from helpers.looking.plots import bars, figure, log_axis
from helpers.scans.findings import counted
from helpers.scoring import attribution, probabilities, statistics
from helpers.scoring.case_scores import worst_first
from helpers.scoring.sentences import number

GREY, FAINT = "#7a7a7a", "#cccccc"
TUMOUR = COLOURS["tumour"]
DOTS = {"s": 40, "alpha": 0.85, "linewidth": 0}  # of every scatter plot
BINS = {"binwidth": 0.05, "binrange": (0, 1), "alpha": 0.85, "edgecolor": "white"}  # of Dice
LEFT = {"x": 0.01, "ha": "left"}  # where the title of a whole figure stands


def dice_by_case(cases, values):
    """Liver and tumour Dice of every case, the worst on top."""
    order = worst_first(cases)
    failed = order.failed.fillna("") != ""
    order["name"] = order.case.astype(str) + np.where(failed, "  (failed)", "")
    tumour = np.where(order.tumour_reference_voxels > 0, "tumour", "tumour, none there")
    points = pd.concat(
        [
            order.assign(kind="liver", dice=order.liver_dice),
            order.assign(kind=tumour, dice=order.tumour_dice),
        ]
    )
    colours = {"liver": COLOURS["liver"], "tumour": TUMOUR, "tumour, none there": TUMOUR}
    kinds = [kind for kind in colours if (points.kind == kind).any()]
    look = {"hue_order": kinds, "palette": colours, "markers": dict(zip(colours, "ooX"))}
    drawn, axis = figure(1, 1, 9.5, max(2.6, 0.24 * len(order) + 1.1))
    axis.hlines(order.name, order.liver_dice, order.tumour_dice, color=FAINT, lw=1, zorder=1)
    dots = {"s": 55, "linewidth": 0, "zorder": 3, "ax": axis}
    sns.scatterplot(points, x="dice", y="name", hue="kind", style="kind", **look, **dots)
    means = []
    for organ in ("liver", "tumour"):
        low, mean, high = (values[f"{organ}.dice_per_case.{k}"] for k in ("low", "mean", "high"))
        if low is not None:
            axis.axvspan(low, high, color=COLOURS[organ], alpha=0.1, lw=0)
        axis.axvline(mean, color=COLOURS[organ], lw=1)
        means.append(f"{organ} {number(mean, 2)}")
    title = f"Mean Dice: {', '.join(means)}; worst case {order.case.iloc[0]}"
    text = "Dice per case; bands are the means' 95 % intervals"
    axis.set(xlim=(-0.02, 1.02), xlabel=text, ylabel="", title=title)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1), title=None)
    return drawn


def dice_by_volume(cases):
    """Tumour Dice of every case against how much tumour it has."""
    drawn, axis = figure(1, 1, 9, 3.6)
    some = cases[cases.tumour_reference_voxels > 0]
    sns.scatterplot(some, x="tumour_reference_ml", y="tumour_dice", color=TUMOUR, ax=axis, **DOTS)
    beside = {"xytext": (4, 4), "textcoords": "offset points", "rotation": 30}
    for row in some.nsmallest(5, "tumour_dice").itertuples():
        at = row.tumour_reference_ml, row.tumour_dice
        axis.annotate(row.case, at, fontsize=8, color="#555555", **beside)
    title = f"{counted(len(some), 'case')} with tumour"
    if len(some) > 2 and some[["tumour_dice", "tumour_reference_ml"]].nunique().min() > 1:
        rho = spearmanr(some.tumour_reference_ml, some.tumour_dice).statistic
        title += f", rank correlation {rho:+.2f}"
    axis.set(xlabel="tumour in the reference, ml", ylabel="tumour Dice of the case", title=title)
    axis.set(ylim=(-0.03, 1.18), yticks=np.linspace(0, 1, 6))  # room for names
    axis.margins(x=0.1)
    log_axis(axis)
    return drawn


def dice_distribution(cases, slices):
    """How Dice spreads over cases and over tumour slices, and why the second has two humps."""
    drawn, axes = figure(1, 3, 10, 3.0)
    for axis, organ in zip(axes, ("liver", "tumour")):
        dice = cases[f"{organ}_dice"]
        sns.histplot(dice, color=COLOURS[organ], ax=axis, **BINS)
        title = f"{organ}: median {dice.median():.2f}, lowest {dice.min():.2f}"
        axis.set(xlabel=f"{organ} Dice per case", ylabel="cases", title=title)
        axis.yaxis.get_major_locator().set_params(integer=True)
    tumour = slices[slices.tumour_reference > 0]
    met = tumour.tumour_both > 0
    missed, median = 1 - met.mean() if len(met) else 0, tumour.tumour_dice[met].median()
    title = f"two humps: {missed:.0%} missed,\nthe others {number(median, 2)}"
    axes[2].set(xlabel="tumour Dice per slice with tumour", ylabel="slices", title=title)
    if len(tumour):
        kinds = met.map({True: "met", False: "no tumour voxel met"}).rename("")
        palette = {"met": TUMOUR, "no tumour voxel met": COLOURS["missed"]}
        look = {"palette": palette, "multiple": "stack"}
        sns.histplot(x=tumour.tumour_dice, hue=kinds, ax=axes[2], **look, **BINS)
        axes[2].set(xlabel="tumour Dice per slice with tumour", ylabel="slices")
    return drawn


def volumes(cases):
    """Predicted against reference volume of liver and tumour."""
    drawn, axes = figure(1, 2, 9.5, 4.0)
    for axis, organ in zip(axes, ("liver", "tumour")):
        x, y = f"{organ}_reference_ml", f"{organ}_prediction_ml"
        off = cases[y] - cases[x]
        axis.axline((0, 0), slope=1, color=GREY, lw=1)
        sns.scatterplot(cases, x=x, y=y, color=COLOURS[organ], ax=axis, **DOTS)
        title = f"{organ}: {off.mean():+,.1f} ml on average, at most {off.abs().max():,.1f} off"
        axis.set(xlabel=f"{organ} in the reference, ml", ylabel=f"{organ} in the prediction, ml")
        axis.set_title(title)
    return drawn


def roc_curves(slices, levels):
    """ROC curves of voxels and of slices."""
    drawn, (left, right) = figure(1, 2, 9.5, 4.2)
    _roc(left, probabilities.curve(levels, "liver"), "liver", COLOURS["liver"])
    _roc(left, probabilities.curve(levels, "tumour"), "tumour, whole scan", TUMOUR)
    _roc(left, probabilities.curve(levels, "tumour", True), "tumour, in the liver", TUMOUR, "--")
    for organ in ("liver", "tumour"):
        if f"{organ}_score" in slices and slices[f"{organ}_score"].notna().any():
            known = slices[slices[f"{organ}_score"].notna()]
            reference = known[f"{organ}_reference"] > 0
            curve = probabilities.roc_of_scores(reference, known[f"{organ}_score"])
            _roc(right, curve, organ, COLOURS[organ])
    for axis, title in ((left, "Voxels"), (right, "Slices by highest probability")):
        axis.axline((0, 0), slope=1, color=FAINT, lw=1)
        axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axis.set_title(f"{title}, with area")
    return drawn


def _roc(axis, curve, label, colour, style="-"):
    """One ROC curve (`probabilities.roc`) with its area in the legend; none where there is none."""
    fpr, tpr, area = curve
    if np.isfinite(area):
        axis.plot(fpr, tpr, style, color=colour, lw=1.8, label=f"{label}: {area:.3f}")
        axis.legend(loc="lower right")


def calibration_curves(levels, values):
    """Reliability of probabilities, of all cases together and of each (thin), and voxels a bin."""
    drawn, axes = figure(2, 2, 9.5, 4.8, sharex=True, height_ratios=[2.4, 1])
    for (upper, lower), organ in zip(axes.T, ("liver", "tumour")):
        upper.axline((0, 0), slope=1, color=GREY, lw=1, ls=":")
        for _, level in levels.groupby("case"):
            one = probabilities.reliability(level, organ)
            upper.plot(one.probability, one.share, color=FAINT, lw=0.7)
        bins = probabilities.reliability(levels, organ)
        upper.plot(bins.probability, bins.share, color=COLOURS[organ], lw=1.8, marker="o", ms=4)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel=f"share that is {organ}")
        wrong = values.get(f"{organ}.calibration_error")
        if wrong is not None:
            over = values[f"{organ}.overconfidence"]
            way = "high" if over > 0 else "low"
            upper.set_title(f"{organ}: off by {wrong:.3f}, too {way} by {abs(over):.3f}")
        number_of_bins = probabilities.CALIBRATION_BINS
        middles = (bins.bin + 0.5) / number_of_bins
        look = {"color": COLOURS[organ], "alpha": 0.6, "linewidth": 0, "shrink": 0.9}
        grid = {"bins": number_of_bins, "binrange": (0, 1)}
        sns.histplot(x=middles, weights=bins.voxels, ax=lower, **grid, **look)
        lower.set(xlabel=f"{organ} probability", ylabel="voxels")
        log_axis(lower, "y")
    return drawn


def uncertainty_and_errors(cases, spreads, values):
    """Whether the spread over mirrored views finds wrong voxels, and whether it ranks cases."""
    drawn, (left, middle, right) = figure(1, 3, 10.5, 3.3)
    _roc(left, probabilities.uncertainty_roc(spreads, "spread"), "spread of four views", TUMOUR)
    _roc(left, probabilities.uncertainty_roc(spreads, "doubt"), "nearness to a half", GREY)
    left.axline((0, 0), slope=1, color=FAINT, lw=1)
    left.set(xlabel="right voxels called unsure", ylabel="wrong voxels called unsure")
    left.set_title("Finding wrong voxels, ROC area")
    bins = probabilities.by_bin(spreads)
    names = [f"{low:g}–{high:g}" for low, high in zip(bins.low[:-1], bins.high[:-1])]
    names.append(f"over {bins.low.iloc[-1]:g}")
    sns.barplot(x=names, y=bins.rate.fillna(0), color=TUMOUR, saturation=1, width=0.7, ax=middle)
    labels = [f"{share:.0%}" for share in bins.of_errors]
    middle.bar_label(middle.containers[0], labels, fontsize=8, color="#444444", padding=2)
    middle.tick_params(axis="x", rotation=30)
    middle.set(xlabel="spread of a voxel", ylabel="share that is wrong")
    middle.set_ylim(0, max(0.05, 1.15 * bins.rate.max()))
    middle.set_title("Wrong, by spread (labels: share of all errors)")
    mean = probabilities.uncertainty_by_case(spreads).clip(lower=1e-5)
    dice = cases.set_index("case").tumour_dice.reindex(mean.index)
    sns.scatterplot(x=mean, y=1 - dice, color=TUMOUR, ax=right, **DOTS)
    right.set(xlabel="mean spread over the predicted liver", ylabel="1 − tumour Dice")
    log_axis(right)
    right.set_ylim(-0.03, 1.03)
    rho, p = values["uncertainty.spearman"], values["uncertainty.spearman.p"]
    ranks = "too few to rank" if rho is None else f"rank correlation {rho:+.2f}, p {p:.2g}"
    right.set_title(f"Cases: {ranks}")
    return drawn


def oracles_beside(cases):
    """Mean tumour Dice as it is and under every oracle, and against one threshold for all cases."""
    table = attribution.oracle_table(cases)
    at = {attribution.column(t): t for t in attribution.ORACLE_THRESHOLDS}
    at = {column: threshold for column, threshold in at.items() if column in cases}
    columns = 2 if at else 1  # thresholds need probabilities
    size, ratios = (10.5 if at else 8.5, 3.2), [1.5, 1][:columns]
    drawn, axes = figure(1, columns, *size, squeeze=False, width_ratios=ratios)
    left = axes[0, 0]
    colours = [GREY if name == "tumour_dice" else TUMOUR for name in table.oracle]
    bars(left, table["mean"], table.what, colours)
    left.hlines(table.what, table.low, table.high, color="#333333", lw=1.2)
    for k, row in enumerate(table.itertuples()):
        gain = f"  ({row.gain:+.2f})" if k else ""
        left.text(1.02, k, f"{row.mean:.2f}{gain}", va="center", fontsize=9, color="#444444")
    left.axvline(table["mean"].iloc[0], color=GREY, lw=0.8, ls=":")
    text = f"mean tumour Dice of {counted(table.cases.iloc[0], 'case')}, with 95 % intervals"
    best = table.iloc[1:].sort_values("gain").iloc[-1]
    title = f"Most to gain, {best.gain:+.2f}: {best.what}"
    left.set(xlim=(0, 1), xlabel=text)
    left.set_title(title if best.gain > 0.005 else "No oracle gains anything")
    if at:
        _against_threshold(axes[0, 1], cases[["case", *at]].dropna().rename(columns=at))
    return drawn


def _against_threshold(axis, dice):
    """Tumour Dice of each case (thin) and in the mean; dice: a column for each threshold."""
    points = dice.melt("case", var_name="threshold", value_name="dice").astype({"threshold": float})
    line = {"data": points, "x": "threshold", "y": "dice", "ax": axis}
    sns.lineplot(**line, units="case", estimator=None, color=FAINT, lw=0.8)
    sns.lineplot(**line, errorbar=None, color=TUMOUR, lw=2, marker="o", markersize=5)
    axis.set(xlabel="threshold for all cases", ylabel="tumour Dice", ylim=(-0.03, 1.03))
    means = points.groupby("threshold").dice.mean()
    axis.set_title(f"One threshold: {means.idxmax():g} is best, {means.max():.2f}")


def paired(first, second, names):
    """Differences per case between two runs' tables of cases, second less first, and the mean."""
    drawn, axes = figure(1, 2, 10, max(2.8, 0.22 * len(second) + 1.6), sharey=False)
    for axis, organ in zip(axes, ("liver", "tumour")):
        result = statistics.paired_difference(first, second, f"{organ}_dice")
        table = result["table"].sort_values("difference", ascending=False)
        colours = np.where(table.difference >= 0, COLOURS[organ], "#BBBBBB")
        bars(axis, table.difference, table.case, colours)
        if result["low"] is not None:
            axis.axvspan(result["low"], result["high"], color=COLOURS[organ], alpha=0.15, lw=0)
        axis.axvline(result["mean"], color=COLOURS[organ], lw=1.5)
        axis.axvline(0, color="#333333", lw=0.8)
        axis.set(xlabel=f"{organ} Dice, {names[1]} − {names[0]}")
        low, high, p = (number(result[key]) for key in ("low", "high", "p"))
        axis.set_title(f"{organ}: {result['mean']:+.3f} ({low} to {high}), Wilcoxon p {p}")
    return drawn
