"""What stands in the report below the summary, in its order: from tables and the folder of figures."""

import html

from helpers import attribution, charts, error_sections, lesions, report, summary
from helpers.report import Section, between, number, picture, table

PUBLISHED = (
    ("best of LiTS at ISBI 2017, MICCAI 2017, MICCAI 2018", ".963", ".674, .702, .739", "recall .458, .515, .554"),
    ("nnU-Net 3d_fullres, 5-fold on the training set", ".957", ".640 (folds .567 to .706)", "–"),
    ("Han 2017, 2.5-D", "–", ".674", "precision .354, recall .458"),
    ("Chlebus 2018, 2-D U-Net", "–", ".652", "precision .385, recall .406"),
    ("Christ 2017, cascaded U-Net", ".94", ".529", "precision .552, recall .383"),
    ("a human second reader", "–", ".72 on lesions both found", "–"),
)


def of_scores(values, tables, figures):
    """The sections that every scoring has.

    figures  function of a figure's name, such as "dice_by_case", that gives its PNG file.
    """
    return [
        _worst(tables["cases"], figures), _tumour_free(values, tables["cases"]), _lesions(values, tables, figures),
        *_attribution(values, tables, figures), *error_sections.of_errors(values, tables, figures),
        _measures(values, figures), _slices(values, figures), _published(values), _rules(values),
    ]  # fmt: skip


def _worst(cases, figures):
    rows = charts.worst_first(cases)
    columns = {
        "case": "case", "tumour_dice": "tumour Dice", "liver_dice": "liver Dice", "liver_assd_mm": "liver ASSD, mm",
        "liver_msd_mm": "liver largest distance, mm", "tumour_reference_ml": "tumour, ml",
        "tumour_prediction_ml": "predicted, ml", "lesions": "lesions", "lesions_found_iou50": "found", "false_lesions": "false",
        "failed": "failed because",
    }  # fmt: skip
    if not (rows.failed.fillna("") != "").any():
        columns.pop("failed")
    if "run" in rows and rows.run.nunique() > 1:
        columns = {"case": "case", "run": "run"} | columns
    pictures = [picture(figures(name)) for name in ("dice_by_case", "dice_by_volume", "worst_slices", "best_slices")]
    words = (
        "Every case, by the lower of its two Dice. A dash is a value that does not exist, such as the distance to an empty mask."
    )
    return Section("Worst cases first", words, [table(rows, columns, 2, ("case", "run", "failed"), limit=40), *pictures])


def _tumour_free(values, cases):
    free = cases[cases.tumour_reference_voxels == 0].sort_values("tumour_prediction_ml", ascending=False)
    slices = [error_sections.false_slices(values, cases)] if values["tumour_free_slices"] else []
    if free.empty:
        return Section("Cases and slices without tumour", "No case is without tumour.", slices)
    columns = {"case": "case", "tumour_prediction_ml": "predicted tumour, ml", "predicted_lesions": "predicted lesions"}
    words = (
        f"{values['tumour_free.clean']} of {values['tumour_free.cases']} stayed free of predicted tumour. Dice can say only 1 "
        "(clean) or 0 (any voxel) of these, so they stand apart; both values are in the mean over all cases, as LiTS wants it."
    )
    return Section("Cases and slices without tumour", words, [table(free, columns, 2, ("case",)), *slices])


def _lesions(values, tables, figures):
    rows = []
    for size, name in {"": "all", **report.SIZE_NAMES}.items():
        key = f"tumour.{size}." if size else "tumour."
        row = {"size": name, "lesions": values[f"{key}lesions"], "predicted": values[f"{key}predicted_lesions"]}
        for how in ("iou50", "any"):
            row |= {f"{rate}_{how}": between(values, f"{key}lesion_{rate}_{how}", 2) for rate in ("recall", "precision", "f1")}
        rows.append(row)
    columns = {"size": "diameter", "lesions": "lesions", "predicted": "predicted"}
    columns |= {f"{rate}_iou50": f"{rate}, IoU > 0.5" for rate in ("recall", "precision", "f1")}
    columns |= {"recall_any": "recall, any overlap", "precision_any": "precision, any overlap"}
    kinds = tables["lesions"].groupby("side").kind.value_counts().unstack(0) if len(tables["lesions"]) else None
    said = "" if kinds is None else "; ".join(
        f"{side}: " + ", ".join(f"{int(n)} {kind}" for kind, n in kinds[side].dropna().items()) for side in kinds
    )  # fmt: skip
    words = (
        "A lesion is a 6-connected component; lesions that share a prediction, or predictions that share a lesion, are judged "
        f"as a group and counted by their members. Diameter is that of the ball with the same volume. {html.escape(said)}."
    )
    figure_names = ("lesions_by_size", "missed_by_kind")
    return Section("Lesions", words, [table(rows, columns, 2, ("size",)), *(picture(figures(n)) for n in figure_names)])


def _attribution(values, tables, figures):
    if "lost.gate" not in values:
        return []
    words = "For every lesion that was not found, the first stage of the cascade that lost it."
    lost = tables["lesions"]
    lost = lost[(lost.side == "reference") & lost.lost_by.isin(list(attribution.STAGES))].sort_values(
        "volume_ml", ascending=False
    )
    columns = {
        "case": "case", "lost_by": "lost by", "diameter_mm": "diameter, mm", "volume_ml": "volume, ml",
        "contrast_hu": "contrast, HU", "place": "place", "index_z": "slice", "iou": "IoU", "dice": "Dice",
    }  # fmt: skip
    parts = [picture(figures("lost_by_stage")), table(lost, columns, 2, ("case", "lost_by", "place"), limit=25)]
    return [Section("Which stage lost them", words, parts)]


def _measure(values, key, name):
    """A row: mean with its interval, and what stands beside it in the summary."""
    beside = {part: values.get(f"{key}.{part}", "") for part in ("median", "cases", "rule")}
    return {"measure": name, "mean": between(values, key)} | beside


def _measures(values, figures):
    rows = []
    names = {
        "dice_per_case": "Dice per case", "jaccard_per_case": "Jaccard per case", "voe": "VOE", "rvd_2017": "RVD, (P − R) / R",
        "rvd_organisers": "RVD, (R − P) / P", "assd_mm": "ASSD, mm", "rmsd_mm": "RMSD, mm", "msd_mm": "MSD (largest), mm",
        "hd95_mm": "HD95, mm", "volume_error_ml": "volume error, ml",
    }  # fmt: skip
    for organ in ("liver", "tumour"):
        extra = [k for k in values if k.startswith(f"{organ}.surface_dice") and k.endswith(".mean")]
        extra = [k.removeprefix(f"{organ}.").removesuffix(".mean") for k in extra]
        extra = {k: k.replace("surface_dice_", "surface Dice at ").replace("mm", " mm") for k in extra}
        if organ == "tumour":
            extra |= {"dice_per_case_with_tumour": "Dice per case with tumour"}
        for key, name in (names | extra).items():
            rows.append(_measure(values, f"{organ}.{key}", f"{organ}: {name}"))
        rows.append(_measure(values, f"{organ}.dice_global", f"{organ}: Dice global"))
    rows.append(_measure(values, "tumour_burden.rmse", "tumour burden, RMSE") | {"rule": values["tumour_burden.rule"]})
    rows.append(_measure(values, "tumour_burden.max_error", "tumour burden, largest error"))
    columns = {
        "measure": "measure",
        "mean": "mean (95 % interval)",
        "median": "median",
        "cases": "cases",
        "rule": "rule for empties",
    }
    figure_names = ("dice_distribution", "volumes")
    words = (
        "All measures of the LiTS challenge. No mean gets better by missing something: where a miss leaves a distance undefined, "
        "it counts as the diagonal of the largest scan, so read the median beside it."
    )
    return Section("All measures", words, [table(rows, columns, 3, ("measure",)), *(picture(figures(n)) for n in figure_names)])


def _slices(values, figures):
    rows = []
    for organ in ("liver", "tumour"):
        if f"{organ}.slice_sensitivity" in values:
            keys = ("slice_sensitivity", "slice_specificity", "slice_detection_rate", "slice_dice.mean", "slice_auc", "voxel_auc")
            rows.append({"organ": organ} | {key: values.get(f"{organ}.{key}") for key in keys})
    columns = {
        "organ": "", "slice_sensitivity": "sensitivity", "slice_specificity": "specificity",
        "slice_detection_rate": "detection rate", "slice_dice.mean": "mean Dice per slice", "slice_auc": "ROC area, slices",
        "voxel_auc": "ROC area, voxels",
    }  # fmt: skip
    words = (
        "Counted over "
        + summary.RULES["slices"]
        + "; detected where prediction and reference meet; Dice over slices where either has any."
    )
    return Section("Slices and probabilities", words, [table(rows, columns, 3, ("organ",)), picture(figures("roc_curves"))])


def _published(values):
    rows = [dict(zip(("system", "liver", "tumour", "lesions"), row, strict=True)) for row in PUBLISHED]
    precision, recall = (number(values[f"organisers.detection_{name}"]) for name in ("precision", "recall"))
    ours = {
        "system": f"this one, {values['cases.count']} cases", "liver": between(values, "liver.dice_per_case"),
        "tumour": between(values, "tumour.dice_per_case"), "lesions": f"precision {precision}, recall {recall}",
    }  # fmt: skip
    heads = ("system", "liver Dice", "tumour Dice per case", "lesions, as the organisers count")
    columns = dict(zip(ours, heads, strict=True))
    words = (
        "Only for orientation: other cases, and other rules for training. Lesions here are counted as the organisers' script "
        "does, with its faults (merged groups, unions looked up under the wrong label); our own counts stand above. "
        "Sources: arXiv 1901.04056, arXiv 1702.05970, nnU-Net's documentation, Chlebus et al. 2018."
    )
    return Section("Beside published results", words, [table([ours, *rows], columns, 3, ("system",))])


def _rules(values):
    keys = {}
    for key, rule in values.items():
        if key.endswith("rule") and not key.startswith(tuple(f"tumour.{size}." for size in lesions.SIZES)):
            keys.setdefault(rule, []).append(key.removesuffix("rule").strip("._"))
    rows = [{"key": html.escape(", ".join(names)), "rule": rule} for rule, names in keys.items()]
    words = "Beside each number in summary.json stands its rule; these are all of them."
    words += f" Intervals: {values['interval.rule']}."
    return Section("What every number does with empties", words, [table(rows, {"rule": "rule", "key": "numbers"}, 3, ("key",))])


def of_comparison(rows, names, figures):
    """Two runs side by side."""
    shown = rows.assign(interval=[f"{number(a)} to {number(b)}" for a, b in zip(rows.low, rows.high, strict=True)])
    columns = {
        "measure": "mean per case of", "first": names[0], "second": names[1], "difference": "difference",
        "interval": "95 % interval", "p": "Wilcoxon p", "better": "higher in", "worse": "lower in", "cases": "cases",
    }  # fmt: skip
    words = f"Paired differences per case, {html.escape(names[1])} less {html.escape(names[0])}."
    parts = [table(shown, columns, 3, ("measure",)), picture(figures("comparison"))]
    return Section("Two runs side by side", words, parts)
