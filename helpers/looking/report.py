"""The parts of the report that notebook 06 shows: its first screen and its tables."""

import html

import pandas as pd
from IPython.display import HTML

from helpers.report_page import TILES_STYLE
from helpers.scoring import attribution, case_scores, false_positives
from helpers.scoring.lesions import SIZES
from helpers.scoring.sentences import SIZE_NAMES, between, in_plain_words, number, scored_cases

TILES = {
    "liver.dice_per_case": "liver Dice per case",
    "tumour.dice_per_case": "tumour Dice per case",
    "tumour.lesion_recall_iou50": "lesions found, IoU > 0.5",
    "tumour.false_lesions_per_case": "false lesions per case",
}
HEADINGS = {  # of columns whose heading isn't their name
    "tumour_dice": "tumour Dice",
    "liver_dice": "liver Dice",
    "liver_assd_mm": "liver ASSD, mm",
    "liver_msd_mm": "liver largest distance, mm",
    "tumour_reference_ml": "tumour, ml",
    "tumour_prediction_ml": "predicted tumour, ml",
    "lesions_found_iou50": "found",
    "failed": "failed because",
    "tumour_free_slices": "slices without tumour",
    "false_slices_any": "with predicted tumour",
    "false_slices_sizeable": "with a lesion of 0.05 ml or more",
    "false_slices_false": "with a false lesion",
    "diameter_mm": "diameter, mm",
    "volume_ml": "volume, ml",
    "contrast_hu": "contrast to the liver, HU",
    "index_z": "slice",
    "iou": "IoU",
    "dice": "Dice",
    "false_positive_type": "looks like",
    "hu": "HU",
    "edge_mm": "to the liver's surface, mm",
    "outside": "share outside the liver",
    "elongation": "length / width",
}
TEXTS = {"run", "failed", "lost_by", "place", "false_positive_type", "rule", "numbers"}
# columns of the tables
WORST = (
    "case run tumour_dice liver_dice liver_assd_mm liver_msd_mm tumour_reference_ml "
    "tumour_prediction_ml lesions lesions_found_iou50 false_lesions failed"
)
TUMOUR_FREE = "case tumour_prediction_ml predicted_lesions"
FALSE_SLICES = "case tumour_free_slices false_slices_any false_slices_sizeable false_slices_false"
LOST = "case lost_by diameter_mm volume_ml contrast_hu place index_z iou dice"
FALSE = "case false_positive_type volume_ml hu contrast_hu edge_mm outside elongation index_z"
MEASURES = {
    "dice_per_case": "Dice per case",
    "dice_per_case_with_tumour": "Dice per case with tumour",
    "jaccard_per_case": "Jaccard per case",
    "voe": "VOE",
    "rvd_2017": "RVD, (P − R) / R",
    "rvd_lits_official": "RVD, (R − P) / P",
    "assd_mm": "ASSD, mm",
    "rmsd_mm": "RMSD, mm",
    "msd_mm": "MSD (largest), mm",
    "hd95_mm": "HD95, mm",
    "volume_error_ml": "volume error, ml",
}
SLICE_MEASURES = {
    "sensitivity": "slice_sensitivity",
    "specificity": "slice_specificity",
    "detection rate": "slice_detection_rate",
    "mean Dice per slice": "slice_dice.mean",
    "ROC area, slices": "slice_auc",
    "ROC area, voxels": "voxel_auc",
}
PUBLISHED = (  # arXiv 1901.04056, arXiv 1702.05970, nnU-Net's documentation, Chlebus et al. 2018
    (
        "best of LiTS at ISBI 2017, MICCAI 2017, MICCAI 2018",
        ".963",
        ".674, .702, .739",
        "recall .458, .515, .554",
    ),
    ("nnU-Net 3d_fullres, 5-fold on the training set", ".957", ".640 (folds .567 to .706)", "–"),
    ("Han 2017, 2.5-D", "–", ".674", "precision .354, recall .458"),
    ("Chlebus 2018, 2-D U-Net", "–", ".652", "precision .385, recall .406"),
    ("Christ 2017, cascaded U-Net", ".94", ".529", "precision .552, recall .383"),
    ("a human second reader", "–", ".72 on lesions both found", "–"),
)


def first_screen(title, meta, values, cases):
    """The head of the report, the four numbers that people ask for first, and the plain words.

    meta  what stands in front of the number of cases, such as the split.
    """
    meta = html.escape(meta + scored_cases(values))
    words = "".join(f"<li>{sentence}</li>" for sentence in in_plain_words(values, cases))
    return HTML(
        f'<style>{TILES_STYLE}</style><div class="report-head"><h1>{html.escape(title)}</h1>'
        f'<p>{meta} &nbsp; <span class="only">research only, not for clinical use</span></p></div>'
        f'<div class="report-tiles">{"".join(_tile(values, key) for key in TILES)}</div>'
        f'<div class="report-words"><ul>{words}</ul></div>'
    )


def _tile(values, key):
    mean, low, high = (
        number(values.get(name), 2) for name in (f"{key}.mean", f"{key}.low", f"{key}.high")
    )
    if f"{key}.mean" not in values:
        mean = number(values[key], 2)
    interval = f"95 % interval {low} to {high}" if low != "–" else "too few cases for an interval"
    colour = key.partition(".")[0]
    spans = f"<span>{TILES[key]}</span><b>{mean}</b><span>{interval}</span>"
    return f'<div class="{colour}">{spans}</div>'


def table(rows, keys="", digits=3, limit=None):
    """A table with numbers as a person writes them; a missing value is an en dash.

    rows   list of dicts, or a DataFrame; keys: its columns, spaces between; "" for all of them.
    limit  most rows that are shown; below them stands how many more there are.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    keys = keys.split() if keys else list(records[0])
    headings = [HEADINGS.get(key, key.replace("_", " ")) for key in keys]
    left = [heading for key, heading in zip(keys, headings) if key in {keys[0], *TEXTS}]
    cells = [[number(row.get(key), digits) for key in keys] for row in records[:limit]]
    style = pd.DataFrame(cells, columns=headings).style.hide().format(escape="html")
    style = style.format_index(escape="html", axis=1)
    style = style.set_properties(subset=left, **{"text-align": "left"})
    style = style.apply_index(lambda row: ["text-align: left" * (h in left) for h in row], axis=1)
    if keys[0] not in TEXTS:  # "volume-7" is no two words
        style = style.set_properties(subset=headings[:1], **{"white-space": "nowrap"})
    if len(records) > len(cells):
        style = style.set_caption(f"… and {len(records) - len(cells)} more in the CSV file.")
    return style.set_table_styles([{"selector": "caption", "props": "caption-side: bottom"}])


def worst_cases(cases, limit=40):
    """Every case, the worst on top; runs and failures only where there are any to distinguish."""
    rows = case_scores.worst_first(cases)
    needless = set() if (rows.failed.fillna("") != "").any() else {"failed"}
    needless |= set() if "run" in rows and rows.run.nunique() > 1 else {"run"}
    return table(rows, " ".join(key for key in WORST.split() if key not in needless), 2, limit)


def lesion_rates(values):
    """Recall, precision and F1 of lesions with their intervals, of all and by size."""
    rows = []
    for size, name in {"": "all", **SIZE_NAMES}.items():
        key = f"tumour.{size}." if size else "tumour."
        row = {"diameter": name, "lesions": values[f"{key}lesions"]}
        row["predicted"] = values[f"{key}predicted_lesions"]
        for how, overlap in (("iou50", "IoU > 0.5"), ("any", "any overlap")):
            for rate in ("recall", "precision", "f1"):
                row[f"{rate}, {overlap}"] = between(values, f"{key}lesion_{rate}_{how}", 2)
        rows.append(row)
    return table(rows)


def lost_lesions(lesions, limit=25):
    """The reference lesions that a stage of the cascade lost, the largest on top."""
    lost = lesions[(lesions.side == "reference") & lesions.lost_by.isin(list(attribution.STAGES))]
    return table(lost.sort_values("volume_ml", ascending=False, kind="stable"), LOST, 2, limit)


def false_lesion_types(cases, lesions):
    """How many false lesions there are of each type, and how many ml."""
    names = false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"}
    counts = false_positives.counted(cases, lesions).to_dict("records")
    rows = [
        {"looks": names[row["look"]], "false lesions": row["lesions"], "ml": row["ml"]}
        for row in counts
    ]
    return table(rows, digits=2)


def false_lesions(lesions, limit=15):
    """The false lesions, the largest on top."""
    rows = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    return table(rows.sort_values("volume_ml", ascending=False, kind="stable"), FALSE, 2, limit)


def oracles(cases):
    """Tumour Dice as it is, and with each step perfect."""
    rows = [
        {
            "if perfect": row.what,
            "tumour Dice per case": row.mean,
            "95 % interval": f"{number(row.low, 2)} to {number(row.high, 2)}",
            "gain": row.gain,
            "cases": row.cases,
        }
        for row in attribution.oracle_table(cases).itertuples()
    ]
    return table(rows)


def differences(rows, first, second):
    """`statistics.side_by_side` of two runs with these names."""
    intervals = [f"{number(low)} to {number(high)}" for low, high in zip(rows.low, rows.high)]
    names = {
        "measure": "mean per case of",
        "first": first,
        "second": second,
        "difference": "difference",
        "interval": "95 % interval",
        "p": "Wilcoxon p",
        "better": f"higher in {second}",
        "worse": f"lower in {second}",
        "cases": "cases",
    }
    return table(rows.assign(interval=intervals)[list(names)].rename(columns=names))


def all_measures(values):
    """Every measure of both organs: mean and interval, median, cases, and the rule for empties."""
    rows = []
    for organ in ("liver", "tumour"):
        names = dict(MEASURES)
        for key in values:
            if key.startswith(f"{organ}.surface_dice_") and key.endswith("mm.mean"):
                name = key.removeprefix(f"{organ}.").removesuffix(".mean")
                mm = name.removeprefix("surface_dice_").removesuffix("mm")
                names[name] = f"surface Dice at {mm} mm"
        names["dice_global"] = "Dice global"
        rows += [_measure(values, f"{organ}.{key}", f"{organ}: {n}") for key, n in names.items()]
    rows.append(_measure(values, "tumour_burden.rmse", "tumour burden, RMSE"))
    rows[-1]["rule"] = values["tumour_burden.rule"]
    rows.append(_measure(values, "tumour_burden.max_error", "tumour burden, largest error"))
    return table([row for row in rows if row])


def _measure(values, key, name):
    """A row with what stands beside a mean in the summary; empty where there is no such measure."""
    if key not in values and f"{key}.mean" not in values:
        return {}
    beside = {end: values.get(f"{key}.{end}", "") for end in ("median", "cases", "rule")}
    return {"measure": name, "mean (95 % interval)": between(values, key)} | beside


def slice_measures(values):
    """Slices as a detector sees them, a row for each organ."""
    rows = [
        {"organ": organ} | {n: values.get(f"{organ}.{key}") for n, key in SLICE_MEASURES.items()}
        for organ in ("liver", "tumour")
    ]
    return table(rows)


def beside_published(values):
    """This scoring on top of what others reported on their own cases."""
    precision, recall = (
        number(values[f"lits_official.detection_{name}"]) for name in ("precision", "recall")
    )
    dice = [between(values, f"{organ}.dice_per_case") for organ in ("liver", "tumour")]
    lesions = f"precision {precision}, recall {recall}"
    ours = (f"this one, {values['cases.count']} cases", *dice, lesions)
    heads = ("system", "liver Dice", "tumour Dice per case", "lesions, as the LiTS script counts")
    return table([dict(zip(heads, row)) for row in (ours, *PUBLISHED)])


def rules_for_empties(values):
    """Every rule of the summary, with the numbers that it stands beside."""
    keys = {}
    for key, rule in values.items():
        if key.endswith("rule") and not key.startswith(tuple(f"tumour.{s}." for s in SIZES)):
            keys.setdefault(rule, []).append(key.removesuffix("rule").strip("._"))
    return table([{"rule": rule, "numbers": ", ".join(names)} for rule, names in keys.items()])
