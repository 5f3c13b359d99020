"""The figures of an evaluation: each takes tables, and says in its title what it shows."""

import numpy as np

from helpers import attribution, summary
from helpers.plots import curves, figure
from helpers.viewer import COLOURS

GREY, FAINT = "#7a7a7a", "#cccccc"


def _number(value, digits=2):
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def worst_first(cases):
    """The cases by the lower of their two Dice, so that a lost liver isn't hidden by a tumour that never was."""
    order = cases.assign(worse=cases[["liver_dice", "tumour_dice"]].min(axis=1))
    return order.sort_values(["worse", "tumour_dice", "case"], kind="stable").drop(columns="worse").reset_index(drop=True)


def dice_by_case(cases, values):
    """Liver and tumour Dice of every case, the worst on top."""
    order = worst_first(cases)[::-1].reset_index(drop=True)
    drawn, axis = figure(1, 1, 9.5, max(2.6, 0.24 * len(order) + 1.4))
    rows = np.arange(len(order))
    axis.hlines(rows, order.liver_dice, order.tumour_dice, color=FAINT, lw=1, zorder=1)
    with_tumour = order.tumour_reference_voxels > 0
    axis.scatter(order.liver_dice, rows, color=COLOURS["liver"], s=34, label="liver", zorder=3)
    marks = {"s": 34, "edgecolor": COLOURS["tumour"], "zorder": 3}
    axis.scatter(order.tumour_dice[with_tumour], rows[with_tumour], color=COLOURS["tumour"], label="tumour", **marks)
    if (~with_tumour).any():
        axis.scatter(order.tumour_dice[~with_tumour], rows[~with_tumour], facecolor="white", label="tumour, none there", **marks)
    for organ in ("liver", "tumour"):
        low, mean, high = (values[f"{organ}.dice_per_case.{k}"] for k in ("low", "mean", "high"))
        if low is not None:
            axis.axvspan(low, high, color=COLOURS[organ], alpha=0.1, lw=0)
        axis.axvline(mean, color=COLOURS[organ], lw=1)
    names = [f"{c}  (failed)" if f else c for c, f in zip(order.case, order.failed.fillna("") != "")]
    axis.set(yticks=rows, yticklabels=names, xlim=(-0.02, 1.02), xlabel="Dice per case; bands are the means' 95 % intervals")
    axis.set_title(
        f"Mean Dice: liver {_number(values['liver.dice_per_case.mean'])}, tumour {_number(values['tumour.dice_per_case.mean'])}; "
        f"worst case {order.case.iloc[-1]}"
    )
    drawn.legend(loc="outside lower center", ncols=3)
    return drawn


def dice_distribution(cases, slices):
    """How Dice spreads over cases and over tumour slices, and why the second has two humps."""
    drawn, axes = figure(1, 3, 12.5, 3.4)
    bins = np.linspace(0, 1, 21)
    for axis, organ in zip(axes[:2], ("liver", "tumour")):
        one = cases[f"{organ}_dice"]
        axis.hist(one, bins, color=COLOURS[organ], alpha=0.85)
        axis.set(xlabel=f"{organ} Dice per case", ylabel="cases")
        axis.set_title(f"{organ}: median {one.median():.2f}, lowest {one.min():.2f}")
        axis.yaxis.get_major_locator().set_params(integer=True)
    tumour = slices[slices.tumour_reference > 0]
    missed = tumour.tumour_both == 0
    axes[2].hist(
        [tumour.tumour_dice[missed], tumour.tumour_dice[~missed]], bins, stacked=True,
        color=["#000000", COLOURS["tumour"]], label=["no tumour voxel met", "met"],
    )  # fmt: skip
    share, good = missed.mean() if len(tumour) else 0, tumour.tumour_dice[~missed].median()
    axes[2].set(xlabel="tumour Dice per slice with tumour", ylabel="slices")
    axes[2].set_title(f"two humps: {share:.0%} missed, the others {_number(good)}")
    if len(tumour):
        axes[2].legend()
    return drawn


def roc_curves(slices, levels):
    """ROC curves of voxels and of slices."""
    drawn, axes = figure(1, 2, 9.5, 4.2)
    kinds = (
        ("liver", "liver", False, "-"),
        ("tumour, whole scan", "tumour", False, "-"),
        ("tumour, in the liver", "tumour", True, "--"),
    )
    for label, organ, inside, style in kinds:
        fpr, tpr, area = summary.curve(levels, organ, inside)
        if np.isfinite(area):
            axes[0].plot(fpr, tpr, style, color=COLOURS[organ], lw=1.8, label=f"{label}: {area:.3f}")
    for organ in ("liver", "tumour"):
        if f"{organ}_score" in slices and slices[f"{organ}_score"].notna().any():
            there = slices[slices[f"{organ}_score"].notna()]
            fpr, tpr, area = attribution.roc_of_scores(there[f"{organ}_reference"] > 0, there[f"{organ}_score"])
            axes[1].plot(fpr, tpr, color=COLOURS[organ], lw=1.8, label=f"{organ}: {area:.3f}")
    for axis, title in zip(axes, ("Voxels", "Slices by highest probability")):
        axis.plot([0, 1], [0, 1], color=FAINT, lw=1)
        axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axis.set_title(f"{title}, with area")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="lower right")
    return drawn


def volumes(cases):
    """Predicted against reference volume of liver and tumour."""
    drawn, axes = figure(1, 2, 9.5, 4.0)
    for axis, organ in zip(axes, ("liver", "tumour")):
        r, p = cases[f"{organ}_reference_ml"], cases[f"{organ}_prediction_ml"]
        top = max(r.max(), p.max(), 1e-3) * 1.08
        axis.plot([0, top], [0, top], color=GREY, lw=1)
        axis.scatter(r, p, color=COLOURS[organ], s=34, alpha=0.85, lw=0)
        axis.set(xlim=(-0.03 * top, top), ylim=(-0.03 * top, top))
        axis.set(xlabel=f"{organ} in the reference, ml", ylabel=f"{organ} in the prediction, ml")
        axis.set_title(f"{organ}: {(p - r).mean():+,.1f} ml on average, at most {(p - r).abs().max():,.1f} off")
    return drawn


def paired(differences, names):
    """Differences per case between two runs: second less first, the mean with its interval below."""
    drawn, axes = figure(1, 2, 11, max(2.8, 0.22 * len(differences["liver"]["table"]) + 1.6), sharey=False)
    for axis, organ in zip(axes, ("liver", "tumour")):
        found = differences[organ]
        table = found["table"].sort_values("difference")
        rows = np.arange(len(table))
        colours = np.where(table.difference >= 0, COLOURS["reference"], COLOURS["prediction"])
        axis.barh(rows, table.difference, color=colours, height=0.7)
        if found["low"] is not None:
            axis.axvspan(found["low"], found["high"], color=COLOURS[organ], alpha=0.15, lw=0)
        axis.axvline(found["mean"], color=COLOURS[organ], lw=1.5)
        axis.axvline(0, color="#333333", lw=0.8)
        axis.set(yticks=rows, yticklabels=table.case, xlabel=f"{organ} Dice, {names[1]} − {names[0]}")
        axis.grid(axis="y", visible=False)
        low, high, p = (_number(found[key], 3) for key in ("low", "high", "p"))
        axis.set_title(f"{organ}: {found['mean']:+.3f} ({low} to {high}), Wilcoxon p {p}")
    return drawn


def learning(history, name):
    """Learning curves of one stage: losses on the left, scores on the right, whichever columns the history has."""
    left_out = {"step", "minutes", "rate", "lr", "round", "chunk", "epoch"}
    columns = [c for c in history.select_dtypes("number") if c not in left_out]
    losses = tuple(c for c in columns if "loss" in c)
    groups = [group for group in (losses, tuple(c for c in columns if c not in losses)) if group]
    if not groups:
        raise ValueError(f"the history of {name} has no column of numbers to draw: {list(history)}")
    along = "step" if "step" in history else "index"
    rows = [{k: v for k, v in row.items() if v == v} for row in history.reset_index().to_dict("records")]  # nan is a row's gap
    drawn = curves(rows, groups, along)
    drawn.suptitle(f"{name}: {len(history)} validations", x=0.01, ha="left", fontsize=11)
    return drawn
