"""The figures of an error analysis: what false tumour looks like, what oracles give, whether probabilities can be trusted."""

import numpy as np

from helpers import calibration, error_kinds, oracles, uncertainty
from helpers.plots import figure
from helpers.viewer import COLOURS

GREY, FAINT = "#7a7a7a", "#cccccc"
LOOK_COLOURS = {"gallbladder": "#009E73", "outside": "#000000", "vessel": "#56B4E9", "edge": "#E69F00", "other": "#CC79A7",
                "outline": FAINT}  # fmt: skip
LOOK_NAMES = error_kinds.LOOKS | {"outline": "around real lesions"}


def false_by_look(cases, lesions):
    """Volume and count of false tumour by what it looks like, and where every false lesion lies in HU and depth."""
    drawn, (left, right) = figure(1, 2, 12, 3.9, width_ratios=[1, 1.25])
    table = error_kinds.counted(cases, lesions)[::-1]
    bars = left.barh([LOOK_NAMES[look] for look in table.look], table.ml, 0.65, color=[LOOK_COLOURS[k] for k in table.look])
    labels = [_lesions(n) if look != "outline" else "" for n, look in zip(table.lesions, table.look)]
    left.bar_label(bars, labels, padding=4, color="#444444", fontsize=9)
    left.set(xlabel="wrongly predicted, ml", xlim=(0, max(table.ml.max() * 1.25, 0.1)))
    left.grid(axis="y", visible=False)
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    own = table[table.look != "outline"]
    most = f"most of it {LOOK_NAMES[own.look[own.ml.idxmax()]]}" if own.ml.sum() else "none"
    left.set_title(f"{_lesions(len(false), 'false ')}, {false.volume_ml.sum():.1f} ml, {most}")
    real = lesions[lesions.side == "reference"]
    right.scatter(real.hu, real.edge_mm, _areas(real), color=FAINT, lw=0, label="real lesions")
    for look in [look for look in error_kinds.LOOKS if (false.looks_like == look).any()]:
        part = false[false.looks_like == look]
        right.scatter(part.hu, part.edge_mm, _areas(part), color=LOOK_COLOURS[look], alpha=0.75, lw=0, label=LOOK_NAMES[look])
    right.axhline(error_kinds.EDGE_MM, color=GREY, lw=0.8, ls=":")
    for edge in error_kinds.GALLBLADDER_HU:
        right.axvline(edge, color=GREY, lw=0.8, ls=":")
    right.set(xlabel="mean HU of the lesion", ylabel="mean distance to the predicted\nliver's surface, mm")
    known = int(false.hu.notna().sum())
    right.set_title("Where false lesions lie (area: volume)" if known else "No scan, so no HU")
    if known:
        for handle in right.legend(loc="upper left", bbox_to_anchor=(1, 1)).legend_handles:
            handle.set_sizes([40])
    return drawn


def _lesions(number, kind=""):
    return f"{number} {kind}lesion{'' if number == 1 else 's'}"


def _areas(table):
    return np.clip(40 * table.volume_ml.to_numpy(float) ** (2 / 3), 8, 500)


def dice_by_volume(cases):
    """Tumour Dice of every case against how much tumour it has."""
    from scipy.stats import spearmanr

    drawn, axis = figure(1, 1, 9, 3.6)
    some = cases[cases.tumour_reference_voxels > 0]
    axis.scatter(some.tumour_reference_ml, some.tumour_dice, color=COLOURS["tumour"], s=36, alpha=0.85, lw=0)
    for row in some.nsmallest(5, "tumour_dice").itertuples():
        axis.annotate(row.case, (row.tumour_reference_ml, row.tumour_dice), xytext=(4, 4), textcoords="offset points",
                      fontsize=8, color="#555555", rotation=30)  # fmt: skip
    axis.set(xscale="log", xlabel="tumour in the reference, ml", ylabel="tumour Dice of the case", ylim=(-0.03, 1.03))
    axis.xaxis.set_major_formatter("{x:g}")
    differ = len(some) > 2 and some[["tumour_dice", "tumour_reference_ml"]].nunique().min() > 1
    said = f", rank correlation {spearmanr(some.tumour_reference_ml, some.tumour_dice).statistic:+.2f}" if differ else ""
    axis.set_title(f"{len(some)} cases with tumour{said}")
    return drawn


def oracles_beside(cases):
    """Mean tumour Dice as it is and under every oracle, and against the threshold where probabilities were kept."""
    table = oracles.table(cases)
    at = [t for t in oracles.THRESHOLDS if oracles.column(t) in cases]
    drawn, axes = figure(1, 2 if at else 1, 12.5 if at else 8.5, 3.2, squeeze=False, width_ratios=[1.5, 1][: 1 + bool(at)])
    left, shown = axes[0, 0], table[::-1].reset_index(drop=True)
    colours = [GREY if name == "tumour_dice" else COLOURS["tumour"] for name in shown.oracle]
    left.barh(shown.what, shown["mean"], 0.62, color=colours)
    for k, row in enumerate(shown.itertuples()):
        if np.isfinite(row.low):
            left.plot([row.low, row.high], [k, k], color="#333333", lw=1.2)
        gain = f"{row.mean:.2f}" if row.oracle == "tumour_dice" else f"{row.mean:.2f}  ({row.gain:+.2f})"
        left.text(1.02, k, gain, va="center", fontsize=9, color="#444444")
    left.axvline(table["mean"].iloc[0], color=GREY, lw=0.8, ls=":")
    left.set(xlim=(0, 1), xlabel=f"mean tumour Dice of {table.cases.iloc[0]} cases, with 95 % intervals")
    left.grid(axis="y", visible=False)
    best = table.iloc[1:].sort_values("gain").iloc[-1]
    left.set_title(f"Most to gain, {best.gain:+.2f}: {best.what}" if best.gain > 0.005 else "No oracle gains anything")
    if at:
        curves = cases[[oracles.column(t) for t in at]].dropna()
        axes[0, 1].plot(at, curves.T, color=FAINT, lw=0.8)
        axes[0, 1].plot(at, curves.mean(), color=COLOURS["tumour"], lw=2, marker="o", ms=3)
        axes[0, 1].set(xlabel="threshold for all cases", ylabel="tumour Dice", ylim=(-0.03, 1.03))
        top = int(np.argmax(curves.mean()))
        axes[0, 1].set_title(f"One threshold: {at[top]:g} is best, {curves.mean().iloc[top]:.2f}")
    return drawn


def calibration_curves(levels, values):
    """Reliability of liver and tumour probabilities, all cases together and each (thin), and how many voxels each bin holds."""
    drawn, axes = figure(2, 2, 9.5, 4.8, sharex=True, height_ratios=[2.4, 1])
    for (upper, lower), organ in zip(axes.T, ("liver", "tumour")):
        upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        for _, part in levels.groupby("case"):
            one = calibration.reliability(part, organ)
            upper.plot(one.said, one["are"], color=FAINT, lw=0.7)
        bins = calibration.reliability(levels, organ)
        upper.plot(bins.said, bins["are"], color=COLOURS[organ], lw=1.8, marker="o", ms=4)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel=f"share that is {organ}")
        wrong, over = values.get(f"{organ}.calibration_error"), values.get(f"{organ}.overconfidence")
        if wrong is not None:
            upper.set_title(f"{organ}: off by {wrong:.3f}, too {'high' if over > 0 else 'low'} by {abs(over):.3f}")
        lower.bar((bins.bin + 0.5) / calibration.BINS, bins.voxels, 0.9 / calibration.BINS, color=COLOURS[organ], alpha=0.6)
        lower.set(yscale="log", xlabel=f"{organ} probability", ylabel="voxels")
    return drawn


def uncertainty_and_errors(cases, spreads, values):
    """Whether the spread over mirrored views finds wrong voxels, how often each is wrong, and whether bad cases stand out."""
    drawn, (left, middle, right) = figure(1, 3, 13, 3.7)
    for measure, colour, name in (("spread", COLOURS["tumour"], "spread of four views"), ("doubt", GREY, "nearness to a half")):
        fpr, tpr, area = uncertainty.roc(spreads, measure)
        left.plot(fpr, tpr, color=colour, lw=1.8, label=f"{name}: {area:.3f}")
    left.plot([0, 1], [0, 1], color=FAINT, lw=1)
    left.set(xlabel="right voxels called unsure", ylabel="wrong voxels called unsure")
    left.set_title("Finding wrong voxels, ROC area")
    left.legend(loc="lower right")
    bins = uncertainty.by_bin(spreads)
    names = [f"{low:g}–{high:g}" for low, high in zip(bins.low[:-1], bins.high[:-1])] + [f"over {bins.low.iloc[-1]:g}"]
    bars = middle.bar(names, bins.rate.fillna(0), 0.7, color=COLOURS["tumour"])
    middle.bar_label(bars, [f"{share:.0%}" for share in bins.of_errors], fontsize=8, color="#444444", padding=2)
    middle.tick_params(axis="x", rotation=30)
    middle.set(xlabel="spread of a voxel", ylabel="share that is wrong", ylim=(0, max(0.05, 1.15 * bins.rate.max())))
    middle.set_title("Wrong, by spread (labels: share of all errors)")
    mean = uncertainty.by_case(spreads)
    dice = cases.set_index("case").tumour_dice.reindex(mean.index)
    right.scatter(np.maximum(mean, 1e-5), 1 - dice, color=COLOURS["tumour"], s=34, alpha=0.85, lw=0)
    right.set(xscale="log", xlabel="mean spread over the predicted liver", ylabel="1 − tumour Dice", ylim=(-0.03, 1.03))
    rho, p = values["uncertainty.spearman"], values["uncertainty.spearman.p"]
    right.set_title("Cases: too few to rank" if rho is None else f"Cases: rank correlation {rho:+.2f}, p {p:.2g}")
    return drawn
