"""The figures of an evaluation: each takes tables, and says in its title what it shows."""

import numpy as np

from helpers.looking.plots import curves, figure
from helpers.looking.viewer import COLOURS
from helpers.scoring import attribution, false_positives, probabilities, statistics
from helpers.scoring.case_scores import worst_first
from helpers.scoring.lesions import SIZES

GREY, FAINT = "#7a7a7a", "#cccccc"
LOOK_COLOURS = {"gallbladder": "#009E73", "outside": "#000000", "vessel": "#56B4E9", "edge": "#E69F00", "other": "#CC79A7",
                "outline": FAINT}  # fmt: skip
LOOK_NAMES = false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"}
OUTCOMES = {"found": COLOURS["reference"], "poor": "#E69F00", "missed": "#000000"}
DEPTHS = ("under 10", "10 to 20", "over 20", "unknown")
CONTRASTS = ("under −40", "−40 to −15", "−15 to 15", "over 15", "unknown")


def _number(value, digits=2):
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


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
        fpr, tpr, area = probabilities.curve(levels, organ, inside)
        if np.isfinite(area):
            axes[0].plot(fpr, tpr, style, color=COLOURS[organ], lw=1.8, label=f"{label}: {area:.3f}")
    for organ in ("liver", "tumour"):
        if f"{organ}_score" in slices and slices[f"{organ}_score"].notna().any():
            there = slices[slices[f"{organ}_score"].notna()]
            fpr, tpr, area = probabilities.roc_of_scores(there[f"{organ}_reference"] > 0, there[f"{organ}_score"])
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


def paired(first, second, names):
    """Differences per case between the tables of cases of two runs: second less first, the mean with its interval below."""
    drawn, axes = figure(1, 2, 11, max(2.8, 0.22 * len(second) + 1.6), sharey=False)
    for axis, organ in zip(axes, ("liver", "tumour")):
        found = statistics.paired_difference(first, second, f"{organ}_dice")
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


def false_by_look(cases, lesions):
    """Volume and count of false tumour by what it looks like, and where every false lesion lies in HU and depth."""
    drawn, (left, right) = figure(1, 2, 12, 3.9, width_ratios=[1, 1.25])
    table = false_positives.counted(cases, lesions)[::-1]
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
    for look in [look for look in false_positives.FALSE_POSITIVE_TYPES if (false.false_positive_type == look).any()]:
        part = false[false.false_positive_type == look]
        right.scatter(part.hu, part.edge_mm, _areas(part), color=LOOK_COLOURS[look], alpha=0.75, lw=0, label=LOOK_NAMES[look])
    right.axhline(false_positives.EDGE_MM, color=GREY, lw=0.8, ls=":")
    for edge in false_positives.GALLBLADDER_HU:
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
    table = attribution.oracle_table(cases)
    at = [t for t in attribution.ORACLE_THRESHOLDS if attribution.column(t) in cases]
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
        curves = cases[[attribution.column(t) for t in at]].dropna()
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
            one = probabilities.reliability(part, organ)
            upper.plot(one.said, one["are"], color=FAINT, lw=0.7)
        bins = probabilities.reliability(levels, organ)
        upper.plot(bins.said, bins["are"], color=COLOURS[organ], lw=1.8, marker="o", ms=4)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel=f"share that is {organ}")
        wrong, over = values.get(f"{organ}.calibration_error"), values.get(f"{organ}.overconfidence")
        if wrong is not None:
            upper.set_title(f"{organ}: off by {wrong:.3f}, too {'high' if over > 0 else 'low'} by {abs(over):.3f}")
        lower.bar((bins.bin + 0.5) / probabilities.CALIBRATION_BINS, bins.voxels, 0.9 / probabilities.CALIBRATION_BINS, color=COLOURS[organ], alpha=0.6)
        lower.set(yscale="log", xlabel=f"{organ} probability", ylabel="voxels")
    return drawn


def uncertainty_and_errors(cases, spreads, values):
    """Whether the spread over mirrored views finds wrong voxels, how often each is wrong, and whether bad cases stand out."""
    drawn, (left, middle, right) = figure(1, 3, 13, 3.7)
    for measure, colour, name in (("spread", COLOURS["tumour"], "spread of four views"), ("doubt", GREY, "nearness to a half")):
        fpr, tpr, area = probabilities.uncertainty_roc(spreads, measure)
        left.plot(fpr, tpr, color=colour, lw=1.8, label=f"{name}: {area:.3f}")
    left.plot([0, 1], [0, 1], color=FAINT, lw=1)
    left.set(xlabel="right voxels called unsure", ylabel="wrong voxels called unsure")
    left.set_title("Finding wrong voxels, ROC area")
    left.legend(loc="lower right")
    bins = probabilities.by_bin(spreads)
    names = [f"{low:g}–{high:g}" for low, high in zip(bins.low[:-1], bins.high[:-1])] + [f"over {bins.low.iloc[-1]:g}"]
    bars = middle.bar(names, bins.rate.fillna(0), 0.7, color=COLOURS["tumour"])
    middle.bar_label(bars, [f"{share:.0%}" for share in bins.of_errors], fontsize=8, color="#444444", padding=2)
    middle.tick_params(axis="x", rotation=30)
    middle.set(xlabel="spread of a voxel", ylabel="share that is wrong", ylim=(0, max(0.05, 1.15 * bins.rate.max())))
    middle.set_title("Wrong, by spread (labels: share of all errors)")
    mean = probabilities.uncertainty_by_case(spreads)
    dice = cases.set_index("case").tumour_dice.reindex(mean.index)
    right.scatter(np.maximum(mean, 1e-5), 1 - dice, color=COLOURS["tumour"], s=34, alpha=0.85, lw=0)
    right.set(xscale="log", xlabel="mean spread over the predicted liver", ylabel="1 − tumour Dice", ylim=(-0.03, 1.03))
    rho, p = values["uncertainty.spearman"], values["uncertainty.spearman.p"]
    right.set_title("Cases: too few to rank" if rho is None else f"Cases: rank correlation {rho:+.2f}, p {p:.2g}")
    return drawn


def lesions_by_size(table, values):
    """Which lesions are found, by diameter: share per size class with intervals, and Dice of every single lesion."""
    from matplotlib import ticker

    drawn, (left, right) = figure(1, 2, 12, 3.6, width_ratios=[1, 1.35])
    names = ("under 10 mm", "10 to 20 mm", "over 20 mm")
    bars = ((-0.19, "any", "#cccccc", "touched at all"), (0.19, "iou50", OUTCOMES["found"], "IoU > 0.5"))
    for shift, how, colour, label in bars:
        for k, size in enumerate(SIZES):
            share = values[f"tumour.{size}.lesion_recall_{how}"]
            if share is None:
                continue
            left.bar(k + shift, share, 0.36, color=colour, label=label if k == _first(values, how) else None)
            low, high = (values[f"tumour.{size}.lesion_recall_{how}.{end}"] for end in ("low", "high"))
            if low is not None:
                left.plot([k + shift] * 2, [low, high], color="#333333", lw=1.2)
    counts = [values[f"tumour.{size}.lesions"] for size in SIZES]
    labels = [f"{n}\n{c} lesions" for n, c in zip(names, counts)]
    left.set(xticks=range(3), xticklabels=labels, ylim=(0, 1.15), yticks=np.linspace(0, 1, 6), ylabel="share found")
    left.set_title("Found, by size (lines: 95 % over cases)")
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="upper left", ncols=2)
    reference = table[table.side == "reference"]
    for kind, colour in OUTCOMES.items():
        part = reference[_outcome(reference) == kind]
        right.scatter(part.diameter_mm, part.dice, color=colour, s=30, alpha=0.8, label=f"{kind} ({len(part)})", lw=0)
    for edge in (10, 20):
        right.axvline(edge, color="#7a7a7a", lw=0.8, ls=":")
    right.set(xlabel="diameter of the lesion, mm", ylabel="Dice of the lesion", ylim=(-0.03, 1.03), xscale="log")
    right.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 3, 5)))
    right.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    right.xaxis.set_minor_formatter(ticker.NullFormatter())
    found = int(reference.found_iou50.astype(bool).sum())
    right.set_title(f"{found} of {len(reference)} lesions found at IoU > 0.5")
    right.legend()
    return drawn


def _first(values, how):
    return next((k for k, size in enumerate(SIZES) if values[f"tumour.{size}.lesion_recall_{how}"] is not None), -1)


def _outcome(reference):
    """ "found", "poor" or "missed" for rows of reference lesions."""
    return np.where(reference.found_iou50.astype(bool), "found", np.where(reference.found_any.astype(bool), "poor", "missed"))


def missed_by_kind(table):
    """What became of reference lesions, by size, by contrast to the liver around and by depth of their centre in it."""
    drawn, axes = figure(1, 3, 12.5, 3.6)
    ours = table[table.side == "reference"]
    outcome, kinds = _outcome(ours), {
        "diameter": (ours["size"], SIZES),
        "contrast to the liver, HU": (_binned(ours.contrast_hu, (-40, -15, 15), CONTRASTS), CONTRASTS),
        "depth in the liver, mm": (_binned(ours.depth_mm, (10, 20), DEPTHS), DEPTHS),
    }  # fmt: skip
    for axis, (name, (values, labels)) in zip(axes, kinds.items()):
        values = np.asarray(values)
        labels = [label for label in labels if (values == label).any()] or [labels[0]]
        start = np.zeros(len(labels))
        for kind, colour in OUTCOMES.items():
            heights = np.array([((values == label) & (outcome == kind)).sum() for label in labels])
            bars = axis.bar(labels, heights, 0.6, bottom=start, color=colour, label=kind)
            start += heights
        axis.bar_label(bars, [f"{m:.0f} of {n:.0f}" for m, n in zip(heights, start)], padding=2, fontsize=8, color="#444444")
        axis.set(xlabel=name, ylabel="reference lesions", ylim=(0, max(1, 1.12 * start.max())))
        axis.yaxis.get_major_locator().set_params(integer=True)
    missed = int((outcome == "missed").sum())
    axes[0].set_title(f"{missed} of {len(ours)} lesions missed (above each bar)")
    axes[0].legend()
    return drawn


def _binned(values, edges, labels):
    """The label of each value's bin; the last label stands for no value."""
    values = np.asarray(values, float)
    return np.where(np.isnan(values), labels[-1], np.array(labels)[np.digitize(values, edges)])


def lost_by_stage(values):
    """How many reference lesions each stage of the cascade lost."""
    counts = {stage: values[f"lost.{stage}"] for stage in attribution.STAGES}
    drawn, axis = figure(1, 1, 10, 2.7)
    names = [f"{stage}: {text}" for stage, text in attribution.STAGES.items()]
    bars = axis.barh(names[::-1], list(counts.values())[::-1], color=COLOURS["tumour"], height=0.6)
    axis.bar_label(bars, padding=4, color="#444444")
    axis.set(xlabel="reference lesions not found at IoU > 0.5")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", visible=False)
    most = max(counts, key=counts.get)
    said = f"{sum(counts.values())} lesions lost, most of them by the stage “{most}”: improve that first"
    drawn.suptitle(said if sum(counts.values()) else "no lesion was lost", x=0.01, ha="left", fontsize=11)
    return drawn
