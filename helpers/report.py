"""One HTML file that a clinician and a reviewer can read: half a page of plain words, then tables and figures."""

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers import attribution, lesions, paths

SIZE_NAMES = dict(zip(lesions.SIZES, ("under 10 mm", "10 to 20 mm", "over 20 mm"), strict=True))
STYLE = """
:root { --ink: #1d2733; --soft: #5b6875; --line: #dfe4e8; --wash: #f5f7f9; --liver: #0072B2; --tumour: #D55E00 }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: var(--ink); background: #fff;
       max-width: 1080px; margin: 0 auto; padding: 32px 28px 80px }
h1 { font-size: 26px; margin: 0 0 2px; letter-spacing: -.01em }
h2 { font-size: 18px; margin: 44px 0 6px }
p { margin: 8px 0; max-width: 82ch }
.meta, .note { color: var(--soft); font-size: 13.5px }
.only { display: inline-block; border: 1px solid; color: var(--tumour); border-radius: 3px; padding: 1px 8px; font-size: 12.5px }
.words { background: var(--wash); border-left: 4px solid var(--liver); padding: 12px 20px; margin: 18px 0 }
.words li { margin: 4px 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 12px; margin: 16px 0 }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px }
.tile b { display: block; font-size: 28px; font-weight: 600 }
.tile span { color: var(--soft); font-size: 13px; display: block }
.tile.liver b { color: var(--liver) }
.tile.tumour b { color: var(--tumour) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 13.5px; margin: 10px 0; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 5px 14px 5px 0 }
th { color: var(--soft); font-weight: 500; border-bottom: 1px solid #b9c2ca; vertical-align: bottom }
td { border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap }
th:first-child, td:first-child, .text, .rule { text-align: left }
td.rule { color: var(--soft); min-width: 34ch; white-space: normal }
figure { margin: 14px 0 22px }
img { max-width: 100%; height: auto; display: block }
@media print { body { padding: 0; max-width: none } h2 { break-after: avoid } figure, table { break-inside: avoid } }
"""


@dataclass
class Section:
    """A heading, a sentence, and below it HTML parts in order: tables (`table`) and figures (`picture`)."""

    title: str
    words: str = ""
    parts: list = field(default_factory=list)


def number(value, digits=3):
    """A number as a person writes it; an en dash where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return f"{value:,.{digits}f}" if isinstance(value, (float, np.floating)) else html.escape(str(value))


def between(values, key, digits=3):
    """ "0.950 (0.930 to 0.968)" for a key of the summary; without the interval where there is none."""
    mean = values.get(f"{key}.mean", values.get(key))
    low, high = values.get(f"{key}.low"), values.get(f"{key}.high")
    return number(mean, digits) + (f" ({number(low, digits)} to {number(high, digits)})" if low is not None else "")


def table(rows, columns, digits=3, text=(), limit=None):
    """An HTML table. rows: list of dicts or DataFrame; columns: dict of key to heading; text: keys set to the left."""
    rows = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    head = "".join(f"<th{_kind(key, text)}>{html.escape(name)}</th>" for key, name in columns.items())
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(key, text)}>{number(row.get(key), digits)}</td>" for key in columns) + "</tr>"
        for row in rows[:limit]
    )
    more = f'<p class="note">… and {len(rows) - limit} more in the CSV file.</p>' if limit and len(rows) > limit else ""
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>{more}'


def _kind(key, text):
    return ' class="rule"' if key == "rule" else ' class="text"' if key in text else ""


def picture(path):
    """A PNG file as a figure inside the page; nothing when there is no such file."""
    path = Path(path)
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></figure>'


def in_plain_words(values, tables):
    """The half page on top: sentences, each true of the numbers it is made from."""
    v, cases = values, tables["cases"]
    n, k = v["cases.count"], v["tumour.lesions"]
    liver, tumour = between(v, "liver.dice_per_case", 2), between(v, "tumour.dice_per_case", 2)
    said = [
        f"<b>Liver.</b> The outline agrees with the reference with a Dice of {liver} on average; in half of the cases it is "
        f"above {number(v['liver.dice_per_case.median'], 2)}. Its surface lies {number(v['liver.assd_mm.median'], 1)} mm off, "
        "in the median of cases.",
        f"<b>Tumour.</b> Dice per case is {tumour} over all {n} cases, and "
        f"{between(v, 'tumour.dice_per_case_with_tumour', 2)} over the {v['cases.with_tumour']} that have tumour. "
        "A second human reader reaches about 0.72 on lesions that both found.",
    ]
    if k:
        sizes = ", ".join(
            f"{name} {number(v[f'tumour.{s}.lesion_recall_any'] * v[f'tumour.{s}.lesions'], 0)} of {v[f'tumour.{s}.lesions']}"
            for s, name in SIZE_NAMES.items()
            if v[f"tumour.{s}.lesions"]
        )
        touched, found = int(cases.lesions_found_any.sum()), int(cases.lesions_found_iou50.sum())
        said.append(
            f"<b>Lesions.</b> Of {k} lesions, {touched} were touched by a finding, and {found} outlined well enough to count "
            f"as found (IoU over 0.5). Touched, by size: {sizes}."
        )
    said.append(
        f"<b>False alarms.</b> {between(v, 'tumour.false_lesions_per_case', 2)} false lesions a case, with "
        f"{between(v, 'tumour.false_ml_per_case', 2)} ml. "
        + (
            f"Cases without tumour: {v['tumour_free.cases']}, of which {v['tumour_free.clean']} stayed clean."
            if v["tumour_free.cases"]
            else "No case without tumour is among them, so nothing is known about healthy livers."
        )
        + _slices_without_tumour(v)
    )
    lost = {stage: v.get(f"lost.{stage}") for stage in attribution.STAGES}
    if sum(x or 0 for x in lost.values()):
        most = max(lost, key=lambda s: lost[s] or 0)
        why = attribution.STAGES[most]
        said.append(f"<b>Where to improve.</b> Most lesions are lost by the stage “{most}”, {lost[most]} of them: {why}.")
    if v["cases.failed"]:
        names = ", ".join(map(html.escape, v["cases.failed_names"]))
        said.append(f"<b>Failed.</b> {v['cases.failed']} of {n} cases have no usable prediction and count as Dice 0: {names}.")
    if n < 20:
        said.append(
            f"<b>How sure.</b> {n} cases of {v['cases.patients']} patients are few: the 95 % intervals in brackets are rather "
            "too narrow for so small a sample."
        )
    return '<div class="words"><ul>' + "".join(f"<li>{s}</li>" for s in said) + "</ul></div>"


def _slices_without_tumour(values):
    if not values["tumour_free_slices"]:
        return ""
    free, share = values["tumour_free_slices"], values["false_slices.any"]
    return f" Of {free:,} liver slices without tumour, {100 * share:.1f} % show some."


def tiles(values):
    """The four numbers that people ask for first."""
    keys = {
        "liver.dice_per_case": ("liver", "liver Dice per case"), "tumour.dice_per_case": ("tumour", "tumour Dice per case"),
        "tumour.lesion_recall_iou50": ("tumour", "lesions found, IoU > 0.5"),
        "tumour.false_lesions_per_case": ("tumour", "false lesions per case"),
    }  # fmt: skip
    out = []
    for key, (organ, name) in keys.items():
        low, high = values.get(f"{key}.low"), values.get(f"{key}.high")
        words = f"95 % interval {number(low, 2)} to {number(high, 2)}" if low is not None else "too few cases for an interval"
        value = number(values.get(f"{key}.mean", values.get(key)), 2)
        out.append(f'<div class="tile {organ}"><span>{name}</span><b>{value}</b><span>{words}</span></div>')
    return '<div class="tiles">' + "".join(out) + "</div>"


def write(path, title, meta, values, tables, sections):
    """Write the report, whole or not at all.

    title     of the page; meta: one line below it, such as the split and the number of cases.
    values    the summary; tables: "cases" is used for the plain words.
    sections  list of Section.
    """
    body = []
    for section in sections:
        words = f"<p>{section.words}</p>" if section.words else ""
        body.append(f"<section><h2>{html.escape(section.title)}</h2>{words}{''.join(section.parts)}</section>")
    paths.write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1>{html.escape(title)}</h1><p class="meta">{html.escape(meta)} &nbsp; <span class="only">research only, not for '
        f"clinical use</span></p>{tiles(values)}{in_plain_words(values, tables)}{''.join(body)}</body></html>\n",
    )
