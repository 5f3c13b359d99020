"""The figures of an evaluation that are about lesions: found, missed, lost on the way, invented."""

import numpy as np
import pandas as pd
import seaborn as sns

from helpers.looking.figures import DOTS, FAINT, GREY, LEFT
from helpers.looking.overlays import COLOURS
from helpers.looking.plots import bars, figure, log_axis
from helpers.scans.findings import counted
from helpers.scoring import attribution, false_positives
from helpers.scoring.lesions import SIZES
from helpers.scoring.sentences import SIZE_NAMES

TYPES = false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"}
PALETTE = ("#009E73", "#000000", "#56B4E9", "#E69F00", "#CC79A7", FAINT)
TYPE_COLOURS = dict(zip(TYPES.values(), PALETTE, strict=True))
OUTCOMES = {"found": COLOURS["tumour"], "poor": "#F2B58C", "missed": COLOURS["missed"]}
DEPTHS = ("under 10", "10 to 20", "over 20", "unknown")
CONTRASTS = ("under −40", "−40 to −15", "−15 to 15", "over 15", "unknown")
WAYS = {"any": ("touched at all", FAINT), "iou50": ("IoU > 0.5", OUTCOMES["found"])}


def lesions_by_size(table, values):
    """Which lesions are found: share by size with intervals, and Dice of every single lesion."""
    drawn, (left, right) = figure(1, 2, 10, 3.4, width_ratios=[1, 1.35])
    _shares_found(left, values)
    reference = table[table.side == "reference"]
    outcome = pd.Series(_outcome(reference), reference.index, dtype=object)
    legend = {kind: f"{kind} ({(outcome == kind).sum()})" for kind in OUTCOMES}
    if len(reference):
        palette = {legend[kind]: colour for kind, colour in OUTCOMES.items()}
        look = {"hue": outcome.map(legend).rename(""), "hue_order": list(palette)}
        points = {"x": "diameter_mm", "y": "dice", "palette": palette, "ax": right}
        sns.scatterplot(reference, **points, **look, **DOTS)
    for edge in (10, 20):
        right.axvline(edge, color=GREY, lw=0.8, ls=":")
    right.set(xlabel="diameter of the lesion, mm", ylabel="Dice of the lesion", ylim=(-0.03, 1.03))
    log_axis(right)
    found = int((outcome == "found").sum())
    right.set_title(f"{found} of {counted(len(reference), 'lesion')} found at IoU > 0.5")
    return drawn


def _shares_found(axis, values):
    """A bar for each size and each way to count, with its interval."""
    rows, intervals = [], []
    for place, size in enumerate(SIZES):
        lesions = counted(values[f"tumour.{size}.lesions"], "lesion")
        for how, shift in (("any", -0.19), ("iou50", 0.19)):
            key = f"tumour.{size}.lesion_recall_{how}"
            name = f"{SIZE_NAMES[size]}\n{lesions}"
            rows.append({"size": name, "how": WAYS[how][0], "share": values[key]})
            if values[f"{key}.low"] is not None:
                intervals.append((place + shift, values[f"{key}.low"], values[f"{key}.high"]))
    shares = pd.DataFrame(rows).astype({"share": float})
    look = {"palette": dict(WAYS.values()), "saturation": 1, "width": 0.76}
    sns.barplot(shares, x="size", y="share", hue="how", ax=axis, **look)
    for at, low, high in intervals:
        axis.plot([at, at], [low, high], color="#333333", lw=1.2)
    axis.set(ylim=(0, 1.15), yticks=np.linspace(0, 1, 6), xlabel="", ylabel="share found")
    axis.set_title("Found, by size (lines: 95 % over cases)")
    if axis.get_legend():
        sns.move_legend(axis, "upper left", ncols=2, title=None)


def _outcome(reference):
    """ "found", "poor" or "missed" for rows of reference lesions."""
    found, touched = (reference[name].astype(bool) for name in ("found_iou50", "found_any"))
    return np.where(found, "found", np.where(touched, "poor", "missed"))


def missed_by_kind(table):
    """What became of reference lesions: by size, by contrast to the liver, by depth in it."""
    drawn, axes = figure(1, 3, 10.5, 3.3)
    lesions = table[table.side == "reference"]
    outcome = _outcome(lesions)
    kinds = {
        "diameter": (lesions["size"].to_numpy(), SIZES),
        "contrast to the liver, HU": (
            _binned(lesions.contrast_hu, (-40, -15, 15), CONTRASTS),
            CONTRASTS,
        ),
        "depth in the liver, mm": (_binned(lesions.depth_mm, (10, 20), DEPTHS), DEPTHS),
    }
    for axis, (name, (values, labels)) in zip(axes, kinds.items()):
        labels = [label for label in labels if (values == label).any()] or [labels[0]]
        counts = pd.DataFrame(
            [[((values == la) & (outcome == kind)).sum() for kind in OUTCOMES] for la in labels],
            labels,
            list(OUTCOMES),
        )
        legend = axis is axes[2]
        counts.plot.bar(stacked=True, color=OUTCOMES, width=0.6, rot=0, legend=legend, ax=axis)
        total = counts.sum(axis=1)
        texts = [f"{missed} of {n}" for missed, n in zip(counts.missed, total)]
        axis.bar_label(axis.containers[-1], texts, padding=2, fontsize=8, color="#444444")
        axis.set(xlabel=name, ylabel="reference lesions", ylim=(0, max(1, 1.12 * total.max())))
        axis.yaxis.get_major_locator().set_params(integer=True)
    missed = int((outcome == "missed").sum())
    axes[0].set_title(f"{missed} of {counted(len(lesions), 'lesion')} missed (above each bar)")
    sns.move_legend(axes[2], "upper left", bbox_to_anchor=(1, 1), title=None)
    return drawn


def _binned(values, edges, labels):
    """The label of each value's bin; the last label stands for no value."""
    values = np.asarray(values, float)
    return np.where(np.isnan(values), labels[-1], np.array(labels)[np.digitize(values, edges)])


def lost_by_stage(values):
    """How many reference lesions each stage of the cascade lost."""
    counts = {stage: values[f"lost.{stage}"] for stage in attribution.STAGES}
    names = [f"{stage}: {text}" for stage, text in attribution.STAGES.items()]
    drawn, axis = figure(1, 1, 10, 2.7)
    bars(axis, list(counts.values()), names, [COLOURS["tumour"]] * len(names))
    for place, count in enumerate(counts.values()):
        axis.annotate(count, (count, place), (4, 0), textcoords="offset points", va="center")
    axis.set(xlabel="reference lesions not found at IoU > 0.5")
    axis.set_xlim(0, max(1, 1.05 * max(counts.values())))
    axis.xaxis.get_major_locator().set_params(integer=True)
    total, most = sum(counts.values()), max(counts, key=counts.get)
    title = f"{counted(total, 'lesion')} lost, most by the stage “{most}”: improve that first"
    drawn.suptitle(title if total else "no lesion was lost", fontsize=11, **LEFT)
    return drawn


def false_by_look(cases, lesions):
    """False tumour by what it looks like, and where every false lesion lies in HU and depth."""
    drawn, (left, right) = figure(1, 2, 10.5, 3.7, width_ratios=[1, 1.25])
    table = false_positives.counted(cases, lesions)
    types = table.look.map(TYPES)
    names = [
        name if name == TYPES["outline"] else f"{name}, {counted(count, 'lesion')}"
        for name, count in zip(types, table.lesions)
    ]
    bars(left, table.ml, names, types.map(TYPE_COLOURS))
    left.set(xlabel="wrongly predicted, ml", xlim=(0, max(table.ml.max() * 1.05, 0.1)))
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    ml = table.ml[table.look != "outline"]
    most = f"most of it {types[ml.idxmax()]}" if ml.sum() else "none"
    title = f"{counted(len(false), 'false lesion')}, {false.volume_ml.sum():.1f} ml"
    left.set_title(f"{title},\n{most}")
    real = lesions[lesions.side == "reference"].assign(type="real lesions")
    points = pd.concat([real, false.assign(type=false.false_positive_type.map(TYPES))])
    _where(right, points.dropna(subset=["hu", "edge_mm"]).rename(columns={"volume_ml": "ml"}))
    return drawn


def _where(axis, points):
    """Where lesions lie in HU and depth; the lines are the rules' edges."""
    colours = {"real lesions": FAINT} | TYPE_COLOURS
    if len(points):
        order = [name for name in colours if (points.type == name).any()]
        look = {"hue": "type", "hue_order": order, "palette": colours, "size": "ml"}
        dots = {"sizes": (15, 400), "alpha": 0.75, "linewidth": 0}
        sns.scatterplot(points, x="hu", y="edge_mm", ax=axis, **look, **dots)
        sns.move_legend(axis, "upper left", bbox_to_anchor=(1, 1))
    axis.axhline(false_positives.EDGE_MM, color=GREY, lw=0.8, ls=":")
    for edge in false_positives.GALLBLADDER_HU:
        axis.axvline(edge, color=GREY, lw=0.8, ls=":")
    text = "mean distance to the predicted\nliver's surface, mm"
    axis.set(xlabel="mean HU of the lesion", ylabel=text)
    axis.set_title("Where false lesions lie" if len(points) else "No scan, so no HU")
