"""A page a case for a clinician: pictures, volumes, lesions, and what the rules dropped."""

import base64
import html
from pathlib import Path

import numpy as np
from IPython.display import HTML

from helpers.looking import plots, report, slice_panels
from helpers.scans.findings import counted
from helpers.scoring.false_positives import FALSE_POSITIVE_TYPES
from helpers.scoring.sentences import number

ROWS = 14  # of a page's tables, so that it stays one page on paper
LESIONS = "lesion outcome where index_z diameter_mm volume_ml depth_mm"
OUTCOMES = {
    "poor": "met, outlined too poorly", "merged": "found, joined with neighbours",
    "split": "found, in pieces", "merged and split": "found, joined and in pieces",
}
DROPPED = "what index_z volume_ml why"


def page(row, lesions, dropped, picture=None):
    """One case as HTML.

    row       of cases.csv; lesions, dropped: its rows of the tables of these names.
    picture   the file of `slice_panels.case_pictures`, or None.
    """
    name = html.escape(str(row.case))
    parts = [f'<section class="report-case" id="{report.anchor(row.case)}"><h3>{name}</h3>']
    parts.append(f"<p>{html.escape(_headline(row))}</p>")
    if picture:
        kind = "jpeg" if Path(picture).suffix == ".jpg" else "png"
        data = base64.b64encode(Path(picture).read_bytes()).decode()
        alt = html.escape(f"{row.case}: {plots.alt_of(picture)}")
        parts.append(f'<img alt="{alt}" src="data:image/{kind};base64,{data}">')
    volumes = report.table(_volumes(row), digits=1).data
    gone = report.table(_dropped(dropped), DROPPED, 2).data if len(dropped) else (
        "<p>Nothing that was logged.</p>"
    )
    parts.append(
        f'<div class="beside"><div><h4>Volumes</h4>{volumes}</div>'
        f"<div><h4>Dropped by the rules</h4>{gone}</div></div>"
    )
    parts.append(f"<h4>Lesions</h4>{_lesions(lesions)}</section>")
    return HTML("".join(parts))


def _headline(row):
    if row.failed:
        return f"No usable prediction: {row.failed}"
    found = f"{row.lesions_found_iou50} of {counted(row.lesions, 'lesion')} found at IoU > 0.5"
    found = found if row.lesions else "no lesion to find"
    return (
        f"Liver Dice {row.liver_dice:.2f}, tumour Dice {row.tumour_dice:.2f}; {found}, "
        f"{counted(row.false_lesions, 'false lesion')}; {counted(row.slices, 'slice')}"
    )


def _volumes(row):
    rows = []
    for organ in ("liver", "tumour"):
        reference, predicted = (row[f"{organ}_{side}_ml"] for side in ("reference", "prediction"))
        if row.failed:
            predicted = np.nan
        rows.append({"organ": f"{organ}, ml", "reference": reference, "predicted": predicted,
                     "difference": predicted - reference})
    shares = [100 * row[f"burden_{side}"] for side in ("reference", "prediction")]
    rows.append({"organ": "tumour, % of liver", "reference": shares[0], "predicted": shares[1],
                 "difference": shares[1] - shares[0]})
    return rows


def _lesions(lesions):
    """The lesions of the reference, then the false ones, the largest first."""
    reference = lesions[lesions.side == "reference"]
    false = lesions[(lesions.side == "prediction") & (lesions.kind == "false")]
    if not len(reference) + len(false):
        return "<p>None, neither in the reference nor predicted.</p>"
    rows = [
        row | {"outcome": OUTCOMES.get(row["kind"], row["kind"]) + _by(row)}
        for row in reference.to_dict("records")
    ]
    rows += [
        row | {"lesion": f"false {row['lesion']}",
               "outcome": f"false: {FALSE_POSITIVE_TYPES[row['false_positive_type']]}"}
        for row in false.to_dict("records")
    ]
    return report.table(rows, LESIONS, 1, ROWS).data


def _by(row):
    lost_by = row.get("lost_by") or ""
    return f": {slice_panels.LOST_BY[lost_by]}" if lost_by not in ("", "outline") else ""


def _dropped(dropped):
    """The largest of what was dropped, and the rest of each kind in one row."""
    rows, rest = dropped.head(5), dropped.iloc[5:]
    out = [row | {"what": row["organ"]} for row in rows.to_dict("records")]
    for (organ, why), group in rest.groupby(["organ", "why"], sort=False):
        out.append({"what": f"{organ}, {len(group)} more", "index_z": "",
                    "volume_ml": group.volume_ml.sum(), "why": f"{why}, each"})
    return [row | {"volume_ml": number(row["volume_ml"], 2)} for row in out]
