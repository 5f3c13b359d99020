"""The parts of the report that notebook 06 shows: its first screen and its tables."""

import html
import re

import pandas as pd
from IPython.display import HTML

from helpers.running import report_page
from helpers.scoring import attribution, case_scores, false_positives
from helpers.scoring.sentences import SIZE_NAMES, between, in_plain_words, number, scored_cases

TILES = {  # of the first screen: what it is called, and how many digits
    "liver.dice_per_case": ("liver Dice per case", 2),
    "tumour.dice_per_case": ("tumour Dice per case", 2),
    "liver.volume_error_ml": ("liver volume, ml off", 1),
    "tumour.volume_error_ml": ("tumour volume, ml off", 1),
    "tumour.lesion_recall_iou50": ("share of lesions found", 2),
    "tumour.false_lesions_per_case": ("false lesions per case", 2),
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
    "where": "where in the liver",
    "depth_mm": "below its surface, mm",
    "f1": "F1",
}
TEXTS = {  # columns that are read, not compared: set to the left
    "run", "failed", "lost_by", "place", "false_positive_type", "rule", "numbers", "where", "why",
    "measure", "outcome", "organ", "what", "found at",
}
# columns of the tables
WORST = (
    "case run tumour_dice liver_dice liver_assd_mm liver_msd_mm tumour_reference_ml "
    "tumour_prediction_ml lesions lesions_found_iou50 false_lesions failed"
)
PREDICTED = ["tumour_prediction_ml", "lesions_found_iou50", "false_lesions"]  # if there is one
TUMOUR_FREE = "case tumour_prediction_ml predicted_lesions"
FALSE_SLICES = "case tumour_free_slices false_slices_any false_slices_sizeable false_slices_false"
MISSED = "case index_z where diameter_mm volume_ml depth_mm contrast_hu"
LOST = "case lost_by diameter_mm volume_ml contrast_hu place index_z iou dice"
FALSE = "case false_positive_type volume_ml hu contrast_hu edge_mm outside elongation index_z"


def style():
    """How the parts look in a notebook; the exported page has it in its head."""
    return HTML(f"<style>{report_page.PARTS_STYLE}</style>")


def first_screen(title, meta, values):
    """The head of the report and the numbers that people ask for first.

    meta  what stands in front of the number of cases, such as the split.
    """
    marks = '<span class="mark">research only, not for clinical use</span>'
    if synthetic := values["cases.synthetic"]:
        some = "" if synthetic == values["cases.count"] else f"{synthetic} of the "
        marks = f'<span class="mark synthetic">{some}scans are synthetic</span>' + marks
    meta = html.escape(meta + scored_cases(values))
    tiles = "".join(_tile(values, key, *TILES[key]) for key in TILES)
    return HTML(
        f'<div class="report-head"><h1>{html.escape(title)}</h1><p>{marks}</p><p>{meta}</p></div>'
        f'<div class="report-tiles">{tiles}</div>'
    )


def _tile(values, key, name, digits):
    ends = (f"{key}.mean" if f"{key}.mean" in values else key, f"{key}.low", f"{key}.high")
    mean, low, high = (number(values.get(end), digits) for end in ends)
    interval = "too few cases for an interval" if low == "–" else f"95 %: {low} to {high}"
    colour = key.partition(".")[0]
    return f'<div class="{colour}"><span>{name}</span><b>{mean}</b><span>{interval}</span></div>'


def plain_words(values, cases):
    """Half a page of plain words."""
    words = "".join(f"<li>{sentence}</li>" for sentence in in_plain_words(values, cases))
    return HTML(f'<div class="report-words"><ul>{words}</ul></div>')


def made_from(values):
    """The box that says what a scoring was made from, as `scoring.provenance` has it, and, on the
    exported page, the list of contents.
    """
    words = values.get("made_from", {})
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in words.items()
    )
    box = f'<div class="report-made"><b>Made from</b><dl>{rows}</dl></div>' if rows else ""
    return HTML(report_page.CONTENTS + box)


def table(rows, keys="", digits=3, limit=None, link=None):
    """A table with numbers as a person writes them; a missing value is an en dash.

    rows   list of dicts, or a DataFrame; keys: its columns, spaces between; "" for all of them.
    limit  most rows that are shown; below them stands how many more there are.
    link   function of the first column's value that gives an address.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    keys = keys.split() if keys else list(records[0]) if records else []
    looks = {key: ' class="text"' for key in keys if key in TEXTS}
    looks |= {key: ' class="text name"' for key in keys[:1] if key not in TEXTS}

    def cell(row, key):
        text = html.escape(number(row.get(key), digits))
        if link and key == keys[0]:
            text = f'<a href="{html.escape(link(row[key]))}">{text}</a>'
        return f"<td{looks.get(key, '')}>{text}</td>"

    heads = (html.escape(HEADINGS.get(key, key.replace("_", " "))) for key in keys)
    head = "".join(f"<th{looks.get(key, '')}>{name}</th>" for key, name in zip(keys, heads))
    body = "".join(
        f"<tr>{''.join(cell(row, key) for key in keys)}</tr>" for row in records[:limit]
    )
    more = len(records) - len(records[:limit])
    caption = f"<caption>… and {more} more in the CSV file.</caption>" if more else ""
    return HTML(
        f'<table class="report-table">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def anchor(case):
    """The name of a case's page within the report."""
    return "case-" + re.sub(r"[^\w.-]", "_", str(case))


def worst_cases(cases, paged=(), limit=60):
    """Every case, the worst on top; runs and failures only where there are any to distinguish.

    paged  the cases that have a page of their own.
    """
    rows = case_scores.worst_first(cases).astype(object)
    judged = rows.case.isin(case_scores.predicted_only(rows).case)
    rows.loc[~judged, PREDICTED] = None
    needless = set() if (rows.failed.fillna("") != "").any() else {"failed"}
    needless |= set() if "run" in rows and rows.run.nunique() > 1 else {"run"}
    keys = " ".join(key for key in WORST.split() if key not in needless)
    link = (lambda case: f"#{anchor(case)}") if len(paged) else None
    return table(rows, keys, 2, limit, link)


def lesion_rates(values):
    """Recall, precision and F1 of lesions with their intervals, of all and by size."""
    rows = []
    for size, name in {"": "all", **SIZE_NAMES}.items():
        key = f"tumour.{size}." if size else "tumour."
        row = {"diameter": name, "lesions": values[f"{key}lesions"]}
        row["predicted"] = values[f"{key}predicted_lesions"]
        for how, overlap in (("iou50", "IoU > 0.5"), ("any", "any overlap")):
            rates = ("recall", "precision", "f1")
            by_rate = {rate: between(values, f"{key}lesion_{rate}_{how}", 2) for rate in rates}
            rows.append(row | {"found at": overlap} | by_rate)
    return table(rows)


def lost_lesions(lesions, limit=25):
    """The reference lesions that a stage of the cascade lost, the largest on top."""
    lost = lesions[(lesions.side == "reference") & lesions.lost_by.isin(list(attribution.STAGES))]
    return table(lost.sort_values("volume_ml", ascending=False, kind="stable"), LOST, 2, limit)


def missed_lesions(lesions, limit=25):
    """The reference lesions that no finding touches, the largest first."""
    missed = lesions[(lesions.side == "reference") & ~lesions.found_any.astype(bool)]
    return missed.sort_values("volume_ml", ascending=False, kind="stable").head(limit)


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
