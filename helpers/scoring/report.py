"""One HTML file that a clinician and a reviewer can read: half a page of plain words, then tables and figures."""

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers import files
from helpers.looking import plots
from helpers.looking.figures import (
    calibration_curves,
    dice_by_case,
    dice_by_volume,
    dice_distribution,
    false_by_look,
    lesions_by_size,
    lost_by_stage,
    missed_by_kind,
    oracles_beside,
    roc_curves,
    uncertainty_and_errors,
    volumes,
)
from helpers.scoring import attribution, case_scores, false_positives, summary
from helpers.scoring.lesions import SIZES

SIZE_NAMES = dict(zip(SIZES, ("under 10 mm", "10 to 20 mm", "over 20 mm"), strict=True))
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
PUBLISHED = (
    ("best of LiTS at ISBI 2017, MICCAI 2017, MICCAI 2018", ".963", ".674, .702, .739", "recall .458, .515, .554"),
    ("nnU-Net 3d_fullres, 5-fold on the training set", ".957", ".640 (folds .567 to .706)", "–"),
    ("Han 2017, 2.5-D", "–", ".674", "precision .354, recall .458"),
    ("Chlebus 2018, 2-D U-Net", "–", ".652", "precision .385, recall .406"),
    ("Christ 2017, cascaded U-Net", ".94", ".529", "precision .552, recall .383"),
    ("a human second reader", "–", ".72 on lesions both found", "–"),
)


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
    files.write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1>{html.escape(title)}</h1><p class="meta">{html.escape(meta)} &nbsp; <span class="only">research only, not for '
        f"clinical use</span></p>{tiles(values)}{in_plain_words(values, tables)}{''.join(body)}</body></html>\n",
    )


def of_errors(values, tables, figures):
    """The sections, in order; those that need probabilities only where there are some."""
    return [_false(tables, figures), _oracles(values, tables["cases"], figures), *_trust(values, figures)]


def false_slices(values, cases):
    """A sentence and a table of slices with liver, without tumour, and with some predicted."""
    any_, false = (between(values, f"false_slices.{kind}") for kind in ("any", "false"))
    words = (
        f"<p>Of {values['tumour_free_slices']:,} slices that show liver and no tumour, a share of {any_} shows predicted tumour; "
        f"{false} shows a lesion that is false altogether, not only too long. The cases with most of them:</p>"
    )
    columns = {
        "case": "case", "tumour_free_slices": "slices without tumour", "false_slices_any": "with predicted tumour",
        "false_slices_sizeable": "with a lesion of 0.05 ml or more", "false_slices_false": "with a false lesion",
    }  # fmt: skip
    return words + table(cases.sort_values("false_slices_any", ascending=False, kind="stable"), columns, 2, ("case",), limit=8)


def _false(tables, figures):
    cases, all_lesions = tables["cases"], tables["lesions"]
    rows = false_positives.counted(cases, all_lesions)
    rows["look"] = rows.look.map(false_positives.FALSE_POSITIVE_TYPES | {"outline": "around real lesions"})
    false = all_lesions[(all_lesions.side == "prediction") & (all_lesions.kind == "false")]
    columns = {
        "case": "case", "false_positive_type": "looks like", "volume_ml": "ml", "hu": "HU", "contrast_hu": "to the liver, HU",
        "edge_mm": "to the liver's surface, mm", "outside": "share outside the liver", "elongation": "length / width",
        "index_z": "slice",
    }  # fmt: skip
    words = "Sorted by rules of place, shape and HU; not a diagnosis: " + html.escape(false_positives.FALSE_POSITIVE_RULE) + "."
    counts = table(rows, {"look": "looks", "lesions": "false lesions", "ml": "ml"}, 2, ("look",))
    parts = [counts, picture(figures("false_by_look"))]
    if len(false):
        parts.append(table(false.sort_values("volume_ml", ascending=False), columns, 2, ("case", "false_positive_type"), limit=15))
    return Section("What false tumour looks like", words, parts)


def _oracles(values, cases, figures):
    rows = attribution.oracle_table(cases)
    rows["between"] = [f"{number(a, 2)} to {number(b, 2)}" for a, b in zip(rows.low, rows.high, strict=True)]
    columns = {"what": "if perfect", "mean": "tumour Dice per case", "between": "95 % interval", "gain": "gain", "cases": "cases"}
    words = (
        "How far tumour Dice would rise if one step were perfect and the others stayed as they are. "
        f"{html.escape(attribution.ORACLES_RULE[0].upper() + attribution.ORACLES_RULE[1:])}."
    )
    if "oracle.gate.lost_slices" in values:
        lost, ml = (number(values[f"oracle.gate.{name}"], 1) for name in ("lost_slices", "lost_tumour_ml"))
        words += f" The gate dropped {lost} slices that show liver, with {ml} ml of tumour."
    return Section("What a perfect step would give", words, [table(rows, columns, 3, ("what",)), picture(figures("oracles"))])


def _trust(values, figures):
    """Calibration and uncertainty, where probabilities and their spread were kept."""
    if "calibration_error.rule" not in values:
        return []
    wrong = {organ: between(values, f"{organ}.calibration_error_per_case") for organ in ("liver", "tumour")}
    words = f"Expected calibration error per case: liver {wrong['liver']}, tumour {wrong['tumour']}; 0 is perfect."
    if "uncertainty.auc" in values:
        auc, doubt, rho = (number(values[f"uncertainty.{key}"], 2) for key in ("auc", "auc_of_doubt", "spearman"))
        words += (
            f" The spread over mirrored views finds wrong voxels with a ROC area of {auc}; the nearness of the probability to a "
            f"half does so with {doubt}. Rank correlation of a case's mean spread with 1 − tumour Dice: {rho}; below 0 it is the "
            "confident cases that are bad, as with a network that sees nothing and is sure of it."
        )
    names = ("calibration", "uncertainty", "uncertainty_map")
    return [Section("How far probabilities can be trusted", words, [picture(figures(name)) for name in names])]


def drawings(tables, values):
    """Every figure that tables alone can give, a dict of name to a function without arguments."""
    cases, lesions, slices, levels, spreads = (tables[name] for name in case_scores.TABLES)
    out = {
        "dice_by_case": lambda: dice_by_case(cases, values),
        "dice_distribution": lambda: dice_distribution(cases, slices),
        "lesions_by_size": lambda: lesions_by_size(lesions, values),
        "missed_by_kind": lambda: missed_by_kind(lesions),
        "false_by_look": lambda: false_by_look(cases, lesions),
        "dice_by_volume": lambda: dice_by_volume(cases),
        "oracles": lambda: oracles_beside(cases),
        "volumes": lambda: volumes(cases),
    }
    if "lost.gate" in values:
        out["lost_by_stage"] = lambda: lost_by_stage(values)
    if len(levels):
        out["roc_curves"] = lambda: roc_curves(slices, levels)
        out["calibration"] = lambda: calibration_curves(levels, values)
    if len(spreads):
        out["uncertainty"] = lambda: uncertainty_and_errors(cases, spreads, values)
    return out


def write_outputs(folder, tables, title, unusable=()):
    """Write cases.csv, lesions.csv, slices.csv, summary.json, figures/ and report.html, each whole or not at all.

    unusable  sentences about references that couldn't be scored; they stand in the summary and in the report.
    returns   the summary.
    """
    values = summary.summarise(*(tables[name] for name in case_scores.TABLES)) | {"cases.not_scored": list(unusable)}
    for name in case_scores.TABLES:
        if len(tables[name]) or name not in ("probabilities", "uncertainty"):
            files.write_csv(folder / f"{name}.csv", tables[name])
    files.write_json(folder / "summary.json", values)

    def figure_of(name):
        return folder / "figures" / f"{name}.png"

    for name, draw in drawings(tables, values).items():
        plots.save_figure(draw(), figure_of(name))
    write_report(folder / "report.html", title, "", values, tables, figure_of)
    return values


def write_report(path, title, meta, values, tables, figure_of, compared=None):
    """Write the report of a scoring.

    meta       what stands in front of the number of cases, such as the split.
    figure_of  function of a figure's name that gives its PNG file; a figure that isn't there is left out.
    compared   (rows of `comparison.side_by_side`, names of the two runs) or None.
    """
    n, with_tumour, failed = (values[f"cases.{name}"] for name in ("count", "with_tumour", "failed"))
    meta += f"{n} cases, {with_tumour} with tumour, {failed} failed"
    if values.get("cases.not_scored"):
        meta += f", {len(values['cases.not_scored'])} not scored because their reference can't be used"
    sections = of_scores(values, tables, figure_of)
    if compared:
        sections.insert(1, of_comparison(*compared, figure_of))
    write(path, title, meta, values, tables, sections)


def of_scores(values, tables, figures):
    """The sections that every scoring has.

    figures  function of a figure's name, such as "dice_by_case", that gives its PNG file.
    """
    return [
        _worst(tables["cases"], figures), _tumour_free(values, tables["cases"]), _lesions(values, tables, figures),
        *_attribution(values, tables, figures), *of_errors(values, tables, figures),
        _measures(values, figures), _slices(values, figures), _published(values), _rules(values),
    ]  # fmt: skip


def _worst(cases, figures):
    rows = case_scores.worst_first(cases)
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
    slices = [false_slices(values, cases)] if values["tumour_free_slices"] else []
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
    for size, name in {"": "all", **SIZE_NAMES}.items():
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
        "rvd_lits_official": "RVD, (R − P) / P", "assd_mm": "ASSD, mm", "rmsd_mm": "RMSD, mm", "msd_mm": "MSD (largest), mm",
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
    precision, recall = (number(values[f"lits_official.detection_{name}"]) for name in ("precision", "recall"))
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
        if key.endswith("rule") and not key.startswith(tuple(f"tumour.{size}." for size in SIZES)):
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
