"""The figures of an evaluation: each takes tables, and says in its title what it shows."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from scipy.stats import spearmanr

from helpers.looking.plots import curves, figure
from helpers.looking.viewer import COLOURS
from helpers.scoring import attribution, false_positives, probabilities, statistics
from helpers.scoring.case_scores import worst_first
from helpers.scoring.lesions import SIZES
from helpers.scoring.sentences import SIZE_NAMES, number

GREY, FAINT = "#7a7a7a", "#cccccc"
TYPES = false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"}
TYPE_COLOURS = dict(zip(TYPES.values(), ("#009E73", "#000000", "#56B4E9", "#E69F00", "#CC79A7", FAINT), strict=True))
OUTCOMES = {"found": COLOURS["reference"], "poor": "#E69F00", "missed": "#000000"}
DEPTHS = ("under 10", "10 to 20", "over 20", "unknown")
CONTRASTS = ("under −40", "−40 to −15", "−15 to 15", "over 15", "unknown")
DOTS = {"s": 40, "alpha": 0.85, "linewidth": 0}  # of every scatter plot
BINS = {"binwidth": 0.05, "binrange": (0, 1), "alpha": 0.85, "edgecolor": "white"}  # of every histogram of Dice


def dice_by_case(cases, values):
    """Liver and tumour Dice of every case, the worst on top."""
    order = worst_first(cases)
    failed = order.failed.fillna("") != ""
    order["name"] = order.case.astype(str) + np.where(failed, "  (failed)", "")
    kinds = {"liver": ("o", "liver"), "tumour": ("o", "tumour"), "tumour, none there": ("X", "tumour")}
    liver = order.assign(kind="liver", dice=order.liver_dice)
    with_tumour = np.where(order.tumour_reference_voxels > 0, "tumour", "tumour, none there")
    points = pd.concat([liver, order.assign(kind=with_tumour, dice=order.tumour_dice)])
    drawn, axis = figure(1, 1, 9.5, max(2.6, 0.24 * len(order) + 1.1))
    axis.hlines(order.name, order.liver_dice, order.tumour_dice, color=FAINT, lw=1, zorder=1)
    sns.scatterplot(
        points, x="dice", y="name", hue="kind", style="kind", hue_order=[k for k in kinds if (points.kind == k).any()],
        palette={kind: COLOURS[organ] for kind, (_, organ) in kinds.items()},
        markers={kind: marker for kind, (marker, _) in kinds.items()}, s=55, linewidth=0, zorder=3, ax=axis,
    )  # fmt: skip
    for organ in ("liver", "tumour"):
        low, mean, high = (values[f"{organ}.dice_per_case.{k}"] for k in ("low", "mean", "high"))
        if low is not None:
            axis.axvspan(low, high, color=COLOURS[organ], alpha=0.1, lw=0)
        axis.axvline(mean, color=COLOURS[organ], lw=1)
    axis.set(xlim=(-0.02, 1.02), xlabel="Dice per case; bands are the means' 95 % intervals", ylabel="")
    means = (f"{organ} {number(values[f'{organ}.dice_per_case.mean'], 2)}" for organ in ("liver", "tumour"))
    axis.set_title(f"Mean Dice: {', '.join(means)}; worst case {order.case.iloc[0]}")
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1), title=None)
    return drawn


def dice_distribution(cases, slices):
    """How Dice spreads over cases and over tumour slices, and why the second has two humps."""
    drawn, axes = figure(1, 3, 12.5, 3.4)
    for axis, organ in zip(axes, ("liver", "tumour")):
        dice = cases[f"{organ}_dice"]
        sns.histplot(dice, color=COLOURS[organ], ax=axis, **BINS)
        axis.set(xlabel=f"{organ} Dice per case", ylabel="cases")
        axis.set_title(f"{organ}: median {dice.median():.2f}, lowest {dice.min():.2f}")
        axis.yaxis.get_major_locator().set_params(integer=True)
    tumour = slices[slices.tumour_reference > 0]
    tumour = tumour.assign(met=np.where(tumour.tumour_both > 0, "met", "no tumour voxel met"))
    colours = {"met": COLOURS["tumour"], "no tumour voxel met": "#000000"}
    if len(tumour):
        order = [name for name in colours if (tumour.met == name).any()]
        hue = {"hue": "met", "hue_order": order, "palette": colours, "multiple": "stack"}
        sns.histplot(tumour, x="tumour_dice", ax=axes[2], **hue, **BINS)
        axes[2].get_legend().set_title(None)
    met = tumour[tumour.met == "met"]
    missed = 1 - len(met) / len(tumour) if len(tumour) else 0
    axes[2].set(xlabel="tumour Dice per slice with tumour", ylabel="slices")
    axes[2].set_title(f"two humps: {missed:.0%} missed, the others {number(met.tumour_dice.median(), 2)}")
    return drawn


def roc_curves(slices, levels):
    """ROC curves of voxels and of slices."""
    drawn, axes = figure(1, 2, 9.5, 4.2)
    kinds = {"liver": ("liver", False, "-"), "tumour, whole scan": ("tumour", False, "-"),
             "tumour, in the liver": ("tumour", True, "--")}  # fmt: skip
    for label, (organ, inside, style) in kinds.items():
        _roc(axes[0], probabilities.curve(levels, organ, inside), label, COLOURS[organ], style)
    for organ in ("liver", "tumour"):
        if f"{organ}_score" in slices and slices[f"{organ}_score"].notna().any():
            known = slices[slices[f"{organ}_score"].notna()]
            curve = probabilities.roc_of_scores(known[f"{organ}_reference"] > 0, known[f"{organ}_score"])
            _roc(axes[1], curve, organ, COLOURS[organ])
    for axis, title in zip(axes, ("Voxels", "Slices by highest probability")):
        axis.axline((0, 0), slope=1, color=FAINT, lw=1)
        axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axis.set_title(f"{title}, with area")
    return drawn


def _roc(axis, curve, label, colour, style="-"):
    """One ROC curve (`probabilities.roc`), with its area in the legend; none where it does not exist."""
    fpr, tpr, area = curve
    if np.isfinite(area):
        axis.plot(fpr, tpr, style, color=colour, lw=1.8, label=f"{label}: {area:.3f}")
        axis.legend(loc="lower right")


def volumes(cases):
    """Predicted against reference volume of liver and tumour."""
    drawn, axes = figure(1, 2, 9.5, 4.0)
    for axis, organ in zip(axes, ("liver", "tumour")):
        x, y = f"{organ}_reference_ml", f"{organ}_prediction_ml"
        off = cases[y] - cases[x]
        axis.axline((0, 0), slope=1, color=GREY, lw=1)
        sns.scatterplot(cases, x=x, y=y, color=COLOURS[organ], ax=axis, **DOTS)
        axis.set(xlabel=f"{organ} in the reference, ml", ylabel=f"{organ} in the prediction, ml")
        axis.set_title(f"{organ}: {off.mean():+,.1f} ml on average, at most {off.abs().max():,.1f} off")
    return drawn


def paired(first, second, names):
    """Differences per case between the tables of cases of two runs: second less first, the mean with its interval below."""
    drawn, axes = figure(1, 2, 11, max(2.8, 0.22 * len(second) + 1.6), sharey=False)
    colours = {True: COLOURS["reference"], False: COLOURS["prediction"]}
    for axis, organ in zip(axes, ("liver", "tumour")):
        result = statistics.paired_difference(first, second, f"{organ}_dice")
        table = result["table"].sort_values("difference", ascending=False)
        sns.barplot(
            table, x="difference", y="case", hue=table.difference >= 0, palette=colours, saturation=1,
            width=0.7, legend=False, ax=axis,
        )  # fmt: skip
        if result["low"] is not None:
            axis.axvspan(result["low"], result["high"], color=COLOURS[organ], alpha=0.15, lw=0)
        axis.axvline(result["mean"], color=COLOURS[organ], lw=1.5)
        axis.axvline(0, color="#333333", lw=0.8)
        axis.set(xlabel=f"{organ} Dice, {names[1]} − {names[0]}", ylabel="")
        axis.grid(axis="y", visible=False)
        low, high, p = (number(result[key]) for key in ("low", "high", "p"))
        axis.set_title(f"{organ}: {result['mean']:+.3f} ({low} to {high}), Wilcoxon p {p}")
    return drawn


def learning(history, name):
    """Learning curves of one stage: losses on the left, scores on the right, whichever columns the history has."""
    not_scores = {"step", "minutes", "rate", "lr", "round", "chunk", "epoch"}
    columns = [c for c in history.select_dtypes("number") if c not in not_scores]
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
    table = false_positives.counted(cases, lesions)
    table["type"] = table.look.map(TYPES)
    counts = [f", {_lesions(n)}" if look != "outline" else "" for look, n in zip(table.look, table.lesions)]
    sns.barplot(
        table, x="ml", y=table.type + counts, hue="type", palette=TYPE_COLOURS, saturation=1, width=0.65, legend=False, ax=left
    )
    left.set(xlabel="wrongly predicted, ml", ylabel="", xlim=(0, max(table.ml.max() * 1.05, 0.1)))
    left.grid(axis="y", visible=False)
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    alone = table[table.look != "outline"]
    most = f"most of it {alone.type[alone.ml.idxmax()]}" if alone.ml.sum() else "none"
    left.set_title(f"{_lesions(len(false), 'false ')}, {false.volume_ml.sum():.1f} ml, {most}")
    real = lesions[lesions.side == "reference"].assign(type="real lesions")
    points = pd.concat([real, false.assign(type=false.false_positive_type.map(TYPES))])
    points = points[points.hu.notna() & points.edge_mm.notna()].rename(columns={"volume_ml": "ml"})
    colours = {"real lesions": FAINT} | TYPE_COLOURS
    if len(points):
        sns.scatterplot(
            points, x="hu", y="edge_mm", hue="type", hue_order=[k for k in colours if (points.type == k).any()],
            palette=colours, size="ml", sizes=(15, 400), alpha=0.75, linewidth=0, ax=right,
        )  # fmt: skip
        sns.move_legend(right, "upper left", bbox_to_anchor=(1, 1))
    right.axhline(false_positives.EDGE_MM, color=GREY, lw=0.8, ls=":")
    for edge in false_positives.GALLBLADDER_HU:
        right.axvline(edge, color=GREY, lw=0.8, ls=":")
    right.set(xlabel="mean HU of the lesion", ylabel="mean distance to the predicted\nliver's surface, mm")
    right.set_title("Where false lesions lie" if len(points) else "No scan, so no HU")
    return drawn


def _lesions(count, kind=""):
    return f"{count} {kind}lesion{'' if count == 1 else 's'}"


def dice_by_volume(cases):
    """Tumour Dice of every case against how much tumour it has."""
    drawn, axis = figure(1, 1, 9, 3.6)
    some = cases[cases.tumour_reference_voxels > 0]
    sns.scatterplot(some, x="tumour_reference_ml", y="tumour_dice", color=COLOURS["tumour"], ax=axis, **DOTS)
    for row in some.nsmallest(5, "tumour_dice").itertuples():
        axis.annotate(row.case, (row.tumour_reference_ml, row.tumour_dice), xytext=(4, 4), textcoords="offset points",
                      fontsize=8, color="#555555", rotation=30)  # fmt: skip
    axis.set(xlabel="tumour in the reference, ml", ylabel="tumour Dice of the case", ylim=(-0.03, 1.03))
    axis.margins(x=0.1)
    _log_axis(axis)
    differ = len(some) > 2 and some[["tumour_dice", "tumour_reference_ml"]].nunique().min() > 1
    rho = spearmanr(some.tumour_reference_ml, some.tumour_dice).statistic if differ else np.nan
    axis.set_title(f"{len(some)} cases with tumour" + (f", rank correlation {rho:+.2f}" if differ else ""))
    return drawn


def _log_axis(axis):
    """x in logarithms, with numbers as they are."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 3, 5)))
    axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())


def oracles_beside(cases):
    """Mean tumour Dice as it is and under every oracle, and against the threshold where probabilities were kept."""
    table = attribution.oracle_table(cases)
    thresholds = {attribution.column(t): t for t in attribution.ORACLE_THRESHOLDS if attribution.column(t) in cases}
    both = bool(thresholds)
    drawn, axes = figure(1, 1 + both, 12.5 if both else 8.5, 3.2, squeeze=False, width_ratios=[1.5, 1][: 1 + both])
    left, actual = axes[0, 0], table.oracle == "tumour_dice"
    colours = {True: GREY, False: COLOURS["tumour"]}
    sns.barplot(table, x="mean", y="what", hue=actual, palette=colours, saturation=1, width=0.62, legend=False, ax=left)
    left.hlines(table.what, table.low, table.high, color="#333333", lw=1.2)
    for k, row in enumerate(table.itertuples()):
        gain = "" if row.oracle == "tumour_dice" else f"  ({row.gain:+.2f})"
        left.text(1.02, k, f"{row.mean:.2f}{gain}", va="center", fontsize=9, color="#444444")
    left.axvline(table["mean"].iloc[0], color=GREY, lw=0.8, ls=":")
    left.set(xlim=(0, 1), xlabel=f"mean tumour Dice of {table.cases.iloc[0]} cases, with 95 % intervals", ylabel="")
    left.grid(axis="y", visible=False)
    best = table.iloc[1:].sort_values("gain").iloc[-1]
    left.set_title(f"Most to gain, {best.gain:+.2f}: {best.what}" if best.gain > 0.005 else "No oracle gains anything")
    if both:
        dice = cases[["case", *thresholds]].dropna().rename(columns=thresholds)
        points = dice.melt("case", var_name="threshold", value_name="dice").astype({"threshold": float})
        line = {"data": points, "x": "threshold", "y": "dice", "ax": axes[0, 1]}
        sns.lineplot(**line, units="case", estimator=None, color=FAINT, lw=0.8)
        sns.lineplot(**line, errorbar=None, color=COLOURS["tumour"], lw=2, marker="o", markersize=5)
        axes[0, 1].set(xlabel="threshold for all cases", ylabel="tumour Dice", ylim=(-0.03, 1.03))
        means = points.groupby("threshold").dice.mean()
        axes[0, 1].set_title(f"One threshold: {means.idxmax():g} is best, {means.max():.2f}")
    return drawn


def calibration_curves(levels, values):
    """Reliability of liver and tumour probabilities, all cases together and each (thin), and how many voxels each bin holds."""
    drawn, axes = figure(2, 2, 9.5, 4.8, sharex=True, height_ratios=[2.4, 1])
    for (upper, lower), organ in zip(axes.T, ("liver", "tumour")):
        upper.axline((0, 0), slope=1, color=GREY, lw=1, ls=":")
        for _, part in levels.groupby("case"):
            one = probabilities.reliability(part, organ)
            upper.plot(one.probability, one.share, color=FAINT, lw=0.7)
        bins = probabilities.reliability(levels, organ)
        upper.plot(bins.probability, bins.share, color=COLOURS[organ], lw=1.8, marker="o", ms=4)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel=f"share that is {organ}")
        wrong, over = values.get(f"{organ}.calibration_error"), values.get(f"{organ}.overconfidence")
        if wrong is not None:
            upper.set_title(f"{organ}: off by {wrong:.3f}, too {'high' if over > 0 else 'low'} by {abs(over):.3f}")
        middles = (bins.bin + 0.5) / probabilities.CALIBRATION_BINS
        sns.histplot(
            x=middles, weights=bins.voxels, bins=probabilities.CALIBRATION_BINS, binrange=(0, 1), shrink=0.9,
            color=COLOURS[organ], alpha=0.6, linewidth=0, ax=lower,
        )  # fmt: skip
        lower.set(yscale="log", xlabel=f"{organ} probability", ylabel="voxels")
    return drawn


def uncertainty_and_errors(cases, spreads, values):
    """Whether the spread over mirrored views finds wrong voxels, how often each is wrong, and whether bad cases stand out."""
    drawn, (left, middle, right) = figure(1, 3, 13, 3.7)
    for measure, colour, name in (("spread", COLOURS["tumour"], "spread of four views"), ("doubt", GREY, "nearness to a half")):
        _roc(left, probabilities.uncertainty_roc(spreads, measure), name, colour)
    left.axline((0, 0), slope=1, color=FAINT, lw=1)
    left.set(xlabel="right voxels called unsure", ylabel="wrong voxels called unsure")
    left.set_title("Finding wrong voxels, ROC area")
    bins = probabilities.by_bin(spreads)
    names = [f"{low:g}–{high:g}" for low, high in zip(bins.low[:-1], bins.high[:-1])] + [f"over {bins.low.iloc[-1]:g}"]
    sns.barplot(x=names, y=bins.rate.fillna(0), color=COLOURS["tumour"], saturation=1, width=0.7, ax=middle)
    labels = [f"{share:.0%}" for share in bins.of_errors]
    middle.bar_label(middle.containers[0], labels, fontsize=8, color="#444444", padding=2)
    middle.tick_params(axis="x", rotation=30)
    middle.set(xlabel="spread of a voxel", ylabel="share that is wrong", ylim=(0, max(0.05, 1.15 * bins.rate.max())))
    middle.set_title("Wrong, by spread (labels: share of all errors)")
    mean = probabilities.uncertainty_by_case(spreads).clip(lower=1e-5)
    dice = cases.set_index("case").tumour_dice.reindex(mean.index)
    sns.scatterplot(x=mean, y=1 - dice, color=COLOURS["tumour"], ax=right, **DOTS)
    right.set(xscale="log", xlabel="mean spread over the predicted liver", ylabel="1 − tumour Dice", ylim=(-0.03, 1.03))
    rho, p = values["uncertainty.spearman"], values["uncertainty.spearman.p"]
    right.set_title("Cases: too few to rank" if rho is None else f"Cases: rank correlation {rho:+.2f}, p {p:.2g}")
    return drawn


def lesions_by_size(table, values):
    """Which lesions are found, by diameter: share per size class with intervals, and Dice of every single lesion."""
    drawn, (left, right) = figure(1, 2, 12, 3.6, width_ratios=[1, 1.35])
    names = {size: f"{SIZE_NAMES[size]}\n{_lesions(values[f'tumour.{size}.lesions'])}" for size in SIZES}
    ways = {"any": "touched at all", "iou50": "IoU > 0.5"}
    keys = {(size, how): f"tumour.{size}.lesion_recall_{how}" for size in SIZES for how in ways}
    shares = pd.DataFrame(
        [{"size": names[size], "how": ways[how], "share": values[key]} for (size, how), key in keys.items()]
    ).astype({"share": float})
    colours = dict(zip(ways.values(), (FAINT, OUTCOMES["found"]), strict=True))
    sns.barplot(shares, x="size", y="share", hue="how", palette=colours, saturation=1, width=0.76, ax=left)
    for (size, how), key in keys.items():
        low, high = (values[f"{key}.{end}"] for end in ("low", "high"))
        if low is not None:
            at = SIZES.index(size) + (0.19 if how == "iou50" else -0.19)
            left.plot([at, at], [low, high], color="#333333", lw=1.2)
    left.set(ylim=(0, 1.15), yticks=np.linspace(0, 1, 6), xlabel="", ylabel="share found")
    left.set_title("Found, by size (lines: 95 % over cases)")
    if left.get_legend():
        sns.move_legend(left, "upper left", ncols=2, title=None)
    reference = table[table.side == "reference"]
    outcome = pd.Series(_outcome(reference), reference.index, dtype=object)
    counted = {f"{kind} ({(outcome == kind).sum()})": colour for kind, colour in OUTCOMES.items()}
    legend = outcome.map(dict(zip(OUTCOMES, counted, strict=True)))
    if len(reference):
        hue = {"hue": legend, "hue_order": list(counted), "palette": counted}
        sns.scatterplot(reference, x="diameter_mm", y="dice", ax=right, **hue, **DOTS)
        right.get_legend().set_title(None)
    for edge in (10, 20):
        right.axvline(edge, color=GREY, lw=0.8, ls=":")
    right.set(xlabel="diameter of the lesion, mm", ylabel="Dice of the lesion", ylim=(-0.03, 1.03))
    _log_axis(right)
    right.set_title(f"{int((outcome == 'found').sum())} of {len(reference)} lesions found at IoU > 0.5")
    return drawn


def _outcome(reference):
    """ "found", "poor" or "missed" for rows of reference lesions."""
    return np.where(reference.found_iou50.astype(bool), "found", np.where(reference.found_any.astype(bool), "poor", "missed"))


def missed_by_kind(table):
    """What became of reference lesions, by size, by contrast to the liver around and by depth of their centre in it."""
    drawn, axes = figure(1, 3, 12.5, 3.6)
    lesions = table[table.side == "reference"]
    outcome = _outcome(lesions)
    kinds = {
        "diameter": (lesions["size"].to_numpy(), SIZES),
        "contrast to the liver, HU": (_binned(lesions.contrast_hu, (-40, -15, 15), CONTRASTS), CONTRASTS),
        "depth in the liver, mm": (_binned(lesions.depth_mm, (10, 20), DEPTHS), DEPTHS),
    }
    for axis, (name, (values, labels)) in zip(axes, kinds.items()):
        labels = [label for label in labels if (values == label).any()] or [labels[0]]
        counts = {kind: [((values == label) & (outcome == kind)).sum() for label in labels] for kind in OUTCOMES}
        counts = pd.DataFrame(counts, labels)
        counts.plot.bar(stacked=True, color=OUTCOMES, width=0.6, rot=0, legend=axis is axes[2], ax=axis)
        texts = [f"{missed} of {lesions}" for missed, lesions in zip(counts.missed, counts.sum(axis=1))]
        axis.bar_label(axis.containers[-1], texts, padding=2, fontsize=8, color="#444444")
        axis.set(xlabel=name, ylabel="reference lesions", ylim=(0, max(1, 1.12 * counts.sum(axis=1).max())))
        axis.yaxis.get_major_locator().set_params(integer=True)
    missed = int((outcome == "missed").sum())
    axes[0].set_title(f"{missed} of {len(lesions)} lesions missed (above each bar)")
    sns.move_legend(axes[2], "upper left", bbox_to_anchor=(1, 1), title=None)
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
    sns.barplot(x=list(counts.values()), y=names, color=COLOURS["tumour"], saturation=1, width=0.6, ax=axis)
    axis.bar_label(axis.containers[0], padding=4, color="#444444")
    axis.set(xlabel="reference lesions not found at IoU > 0.5", xlim=(0, max(1, 1.05 * max(counts.values()))))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", visible=False)
    total, most = sum(counts.values()), max(counts, key=counts.get)
    title = f"{total} lesions lost, most of them by the stage “{most}”: improve that first" if total else "no lesion was lost"
    drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
    return drawn
