"""The figures of lesions: which are found, which are not, and which stage lost them."""

import numpy as np

from helpers import attribution, lesions
from helpers.plots import figure
from helpers.viewer import COLOURS

OUTCOMES = {"found": COLOURS["reference"], "poor": "#E69F00", "missed": "#000000"}


def lesions_by_size(table, values):
    """Which lesions are found, by diameter: share per size class with intervals, and Dice of every single lesion."""
    from matplotlib import ticker

    drawn, (left, right) = figure(1, 2, 12, 3.6, width_ratios=[1, 1.35])
    names = ("under 10 mm", "10 to 20 mm", "over 20 mm")
    bars = ((-0.19, "any", "#cccccc", "touched at all"), (0.19, "iou50", OUTCOMES["found"], "IoU > 0.5"))
    for shift, how, colour, label in bars:
        for k, size in enumerate(lesions.SIZES):
            share = values[f"tumour.{size}.lesion_recall_{how}"]
            if share is None:
                continue
            left.bar(k + shift, share, 0.36, color=colour, label=label if k == _first(values, how) else None)
            low, high = (values[f"tumour.{size}.lesion_recall_{how}.{end}"] for end in ("low", "high"))
            if low is not None:
                left.plot([k + shift] * 2, [low, high], color="#333333", lw=1.2)
    counts = [values[f"tumour.{size}.lesions"] for size in lesions.SIZES]
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
    return next((k for k, size in enumerate(lesions.SIZES) if values[f"tumour.{size}.lesion_recall_{how}"] is not None), -1)


def _outcome(reference):
    """ "found", "poor" or "missed" for rows of reference lesions."""
    return np.where(reference.found_iou50.astype(bool), "found", np.where(reference.found_any.astype(bool), "poor", "missed"))


DEPTHS = ("under 10", "10 to 20", "over 20", "unknown")
CONTRASTS = ("under −40", "−40 to −15", "−15 to 15", "over 15", "unknown")


def missed_by_kind(table):
    """What became of reference lesions, by size, by contrast to the liver around and by depth of their centre in it."""
    drawn, axes = figure(1, 3, 12.5, 3.6)
    ours = table[table.side == "reference"]
    outcome, kinds = _outcome(ours), {
        "diameter": (ours["size"], lesions.SIZES),
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
