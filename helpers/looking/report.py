"""The parts of the report that notebook 06 shows: its head, tiles, sentences and tables."""

import html

import pandas as pd
from IPython.display import HTML

from helpers.scoring import attribution, case_scores, false_positives
from helpers.scoring.lesions import SIZES
from helpers.scoring.sentences import SIZE_NAMES, between, in_plain_words, number, scored_cases

STYLE = """
.report-head p { color: #5b6875; margin: 4px 0 }
.report-head .only { border: 1px solid; color: #D55E00; border-radius: 3px; padding: 1px 8px }
.report-tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 16px 0 }
.report-tiles div { border: 1px solid #dfe4e8; border-radius: 6px; padding: 10px 14px }
.report-tiles b { display: block; font-size: 28px; line-height: 1.4; font-weight: 600 }
.report-tiles span { color: #5b6875; font-size: 13px; display: block }
.report-tiles .liver b { color: #0072B2 }
.report-tiles .tumour b { color: #D55E00 }
.report-words { border-left: 4px solid #0072B2; padding: 2px 20px; margin: 18px 0 }
.report-words li { margin: 4px 0 }
"""
TILES = {
    "liver.dice_per_case": ("liver", "liver Dice per case"),
    "tumour.dice_per_case": ("tumour", "tumour Dice per case"),
    "tumour.lesion_recall_iou50": ("tumour", "lesions found, IoU > 0.5"),
    "tumour.false_lesions_per_case": ("tumour", "false lesions per case"),
}
WORST = {
    "case": "case", "run": "run", "tumour_dice": "tumour Dice", "liver_dice": "liver Dice",
    "liver_assd_mm": "liver ASSD, mm", "liver_msd_mm": "liver largest distance, mm",
    "tumour_reference_ml": "tumour, ml", "tumour_prediction_ml": "predicted, ml", "lesions": "lesions",
    "lesions_found_iou50": "found", "false_lesions": "false", "failed": "failed because",
}  # fmt: skip
TUMOUR_FREE = {
    "case": "case", "tumour_prediction_ml": "predicted tumour, ml", "predicted_lesions": "predicted lesions",
}  # fmt: skip
FALSE_SLICES = {
    "case": "case", "tumour_free_slices": "slices without tumour", "false_slices_any": "with predicted tumour",
    "false_slices_sizeable": "with a lesion of 0.05 ml or more", "false_slices_false": "with a false lesion",
}  # fmt: skip
LOST = {
    "case": "case", "lost_by": "lost by", "diameter_mm": "diameter, mm", "volume_ml": "volume, ml",
    "contrast_hu": "contrast, HU", "place": "place", "index_z": "slice", "iou": "IoU", "dice": "Dice",
}  # fmt: skip
FALSE = {
    "case": "case", "false_positive_type": "looks like", "volume_ml": "ml", "hu": "HU",
    "contrast_hu": "to the liver, HU", "edge_mm": "to the liver's surface, mm",
    "outside": "share outside the liver", "elongation": "length / width", "index_z": "slice",
}  # fmt: skip
ORACLES = {
    "what": "if perfect", "mean": "tumour Dice per case", "interval": "95 % interval", "gain": "gain",
    "cases": "cases",
}  # fmt: skip
MEASURES = {
    "dice_per_case": "Dice per case", "dice_per_case_with_tumour": "Dice per case with tumour",
    "jaccard_per_case": "Jaccard per case", "voe": "VOE", "rvd_2017": "RVD, (P − R) / R",
    "rvd_lits_official": "RVD, (R − P) / P", "assd_mm": "ASSD, mm", "rmsd_mm": "RMSD, mm",
    "msd_mm": "MSD (largest), mm", "hd95_mm": "HD95, mm", "volume_error_ml": "volume error, ml",
}  # fmt: skip
SLICE_MEASURES = {
    "slice_sensitivity": "sensitivity", "slice_specificity": "specificity",
    "slice_detection_rate": "detection rate", "slice_dice.mean": "mean Dice per slice",
    "slice_auc": "ROC area, slices", "voxel_auc": "ROC area, voxels",
}  # fmt: skip
PUBLISHED = (  # arXiv 1901.04056, arXiv 1702.05970, nnU-Net's documentation, Chlebus et al. 2018
    ("best of LiTS at ISBI 2017, MICCAI 2017, MICCAI 2018", ".963", ".674, .702, .739", "recall .458, .515, .554"),
    ("nnU-Net 3d_fullres, 5-fold on the training set", ".957", ".640 (folds .567 to .706)", "–"),
    ("Han 2017, 2.5-D", "–", ".674", "precision .354, recall .458"),
    ("Chlebus 2018, 2-D U-Net", "–", ".652", "precision .385, recall .406"),
    ("Christ 2017, cascaded U-Net", ".94", ".529", "precision .552, recall .383"),
    ("a human second reader", "–", ".72 on lesions both found", "–"),
)


def first_screen(title, meta, values, cases):
    """The head of the report, the four numbers that people ask for first, and the half page of plain words."""
    head = f"<h1>{html.escape(title)}</h1><p>{html.escape(meta + scored_cases(values))} &nbsp; "
    head += '<span class="only">research only, not for clinical use</span></p>'
    words = "".join(f"<li>{sentence}</li>" for sentence in in_plain_words(values, cases))
    return HTML(
        f'<style>{STYLE}</style><div class="report-head">{head}</div>'
        f'<div class="report-tiles">{"".join(_tile(values, key, *shown) for key, shown in TILES.items())}</div>'
        f'<div class="report-words"><ul>{words}</ul></div>'
    )


def _tile(values, key, organ, name):
    low, high = (number(values.get(f"{key}.{end}"), 2) for end in ("low", "high"))
    interval = "too few cases for an interval" if low == "–" else f"95 % interval {low} to {high}"
    mean = number(values.get(f"{key}.mean", values.get(key)), 2)
    return f'<div class="{organ}"><span>{name}</span><b>{mean}</b><span>{interval}</span></div>'


def table(rows, columns, digits=3, texts=(), limit=None):
    """A table with numbers as a person writes them.

    rows     list of dicts, or a DataFrame; columns: dict of key to heading; a missing value is an en dash.
    texts    keys of the columns that are set to the left, as the first is, and may be broken into lines.
    limit    most rows that are shown; below them stands how many more there are.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    cells = [[number(row.get(key), digits) for key in columns] for row in records[:limit]]
    headings = list(columns.values())
    wrapped = [columns[key] for key in texts if key in columns]
    left = {headings[0], *wrapped}
    style = pd.DataFrame(cells, columns=headings).style.hide().format(escape="html")
    style = style.format_index(escape="html", axis=1).set_properties(**{"white-space": "nowrap"})
    style = style.set_properties(subset=wrapped, **{"white-space": "normal"})
    style = style.set_properties(subset=list(left), **{"text-align": "left"})
    style = style.apply_index(lambda names: ["text-align: left" if n in left else "" for n in names], axis=1)
    more = len(records) - len(cells)
    return style.set_caption(f"… and {more} more in the CSV file.") if more else style


def worst_cases(cases, limit=40):
    """Every case, the worst on top; why cases failed and whose they are only where there is something to say."""
    rows = case_scores.worst_first(cases)
    columns = dict(WORST)
    if not (rows.failed.fillna("") != "").any():
        columns.pop("failed")
    if "run" not in rows or rows.run.nunique() < 2:
        columns.pop("run")
    return table(rows, columns, 2, ("run", "failed"), limit)


def lesion_rates(values):
    """Recall, precision and F1 of lesions with their intervals, of all and by size."""
    rows = []
    for size, name in {"": "all", **SIZE_NAMES}.items():
        key = f"tumour.{size}." if size else "tumour."
        row = {"size": name, "lesions": values[f"{key}lesions"], "predicted": values[f"{key}predicted_lesions"]}
        for rate in ("recall", "precision", "f1"):
            row |= {f"{rate}_{how}": between(values, f"{key}lesion_{rate}_{how}", 2) for how in ("iou50", "any")}
        rows.append(row)
    columns = {"size": "diameter", "lesions": "lesions", "predicted": "predicted"}
    columns |= {f"{rate}_iou50": f"{rate}, IoU > 0.5" for rate in ("recall", "precision", "f1")}
    return table(rows, columns | {f"{rate}_any": f"{rate}, any overlap" for rate in ("recall", "precision")})


def lost_lesions(lesions, limit=25):
    """The reference lesions that a stage of the cascade lost, the largest on top."""
    lost = lesions[(lesions.side == "reference") & lesions.lost_by.isin(list(attribution.STAGES))]
    rows = lost.sort_values("volume_ml", ascending=False, kind="stable")
    return table(rows, LOST, 2, ("lost_by", "place"), limit)


def false_lesion_types(cases, lesions):
    """How many false lesions there are of each type, and how many ml."""
    rows = false_positives.counted(cases, lesions)
    names = false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"}
    return table(rows.assign(look=rows.look.map(names)), {"look": "looks", "lesions": "false lesions", "ml": "ml"}, 2)


def false_lesions(lesions, limit=15):
    """The false lesions, the largest on top."""
    rows = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    rows = rows.sort_values("volume_ml", ascending=False, kind="stable")
    return table(rows, FALSE, 2, ("false_positive_type",), limit)


def oracles(cases):
    """Tumour Dice as it is, and with each step perfect."""
    rows = attribution.oracle_table(cases)
    intervals = [f"{number(low, 2)} to {number(high, 2)}" for low, high in zip(rows.low, rows.high, strict=True)]
    return table(rows.assign(interval=intervals), ORACLES)


def differences(rows, first, second):
    """`statistics.side_by_side` of two runs with these names."""
    intervals = [f"{number(low)} to {number(high)}" for low, high in zip(rows.low, rows.high, strict=True)]
    columns = {
        "measure": "mean per case of", "first": first, "second": second, "difference": "difference",
        "interval": "95 % interval", "p": "Wilcoxon p", "better": f"higher in {second}",
        "worse": f"lower in {second}", "cases": "cases",
    }  # fmt: skip
    return table(rows.assign(interval=intervals), columns)


def all_measures(values):
    """Every measure of both organs: mean with its interval, median, cases, and the rule for empties."""
    rows = []
    for organ in ("liver", "tumour"):
        surface = [key for key in values if key.startswith(f"{organ}.surface_dice_") and key.endswith("mm.mean")]
        names = {f"{organ}.{key}": name for key, name in MEASURES.items()}
        for key in surface:
            mm = key.removeprefix(f"{organ}.surface_dice_").removesuffix("mm.mean")
            names[key.removesuffix(".mean")] = f"surface Dice at {mm} mm"
        names[f"{organ}.dice_global"] = "Dice global"
        rows += [_measure(values, key, f"{organ}: {name}") for key, name in names.items() if _known(values, key)]
    rows.append(_measure(values, "tumour_burden.rmse", "tumour burden, RMSE") | {"rule": values["tumour_burden.rule"]})
    rows.append(_measure(values, "tumour_burden.max_error", "tumour burden, largest error"))
    columns = {"measure": "measure", "mean": "mean (95 % interval)", "median": "median", "cases": "cases"}
    return table(rows, columns | {"rule": "rule for empties"}, texts=("rule",))


def _known(values, key):
    return key in values or f"{key}.mean" in values


def _measure(values, key, name):
    beside = {part: values.get(f"{key}.{part}", "") for part in ("median", "cases", "rule")}
    return {"measure": name, "mean": between(values, key)} | beside


def slice_measures(values):
    """Slices as a detector sees them, a row for each organ."""
    rows = [
        {"organ": organ} | {key: values.get(f"{organ}.{key}") for key in SLICE_MEASURES}
        for organ in ("liver", "tumour")
        if f"{organ}.slice_sensitivity" in values
    ]
    return table(rows, {"organ": "organ"} | SLICE_MEASURES)


def beside_published(values):
    """This scoring on top of what others reported on their own cases."""
    precision, recall = (number(values[f"lits_official.detection_{name}"]) for name in ("precision", "recall"))
    dice = [between(values, f"{organ}.dice_per_case") for organ in ("liver", "tumour")]
    ours = (f"this one, {values['cases.count']} cases", *dice, f"precision {precision}, recall {recall}")
    heads = ("system", "liver Dice", "tumour Dice per case", "lesions, as the LiTS script counts")
    rows = [dict(zip(heads, row, strict=True)) for row in (ours, *PUBLISHED)]
    return table(rows, dict(zip(heads, heads, strict=True)))


def rules_for_empties(values):
    """Every rule of the summary, with the numbers that it stands beside."""
    keys = {}
    for key, rule in values.items():
        if key.endswith("rule") and not key.startswith(tuple(f"tumour.{size}." for size in SIZES)):
            keys.setdefault(rule, []).append(key.removesuffix("rule").strip("._"))
    rows = [{"rule": rule, "numbers": ", ".join(names)} for rule, names in keys.items()]
    return table(rows, {"rule": "rule", "numbers": "numbers"}, texts=("rule", "numbers"))
