"""The error analysis in the report: what false tumour looks like, what oracles give, how far probabilities can be trusted."""

import html

from helpers import error_kinds, oracles
from helpers.report import Section, between, number, picture, table


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
    rows = error_kinds.counted(cases, all_lesions)
    rows["look"] = rows.look.map(error_kinds.LOOKS | {"outline": "around real lesions"})
    false = all_lesions[(all_lesions.side == "prediction") & (all_lesions.kind == "false")]
    columns = {
        "case": "case", "looks_like": "looks like", "volume_ml": "ml", "hu": "HU", "contrast_hu": "to the liver, HU",
        "edge_mm": "to the liver's surface, mm", "outside": "share outside the liver", "elongation": "length / width",
        "index_z": "slice",
    }  # fmt: skip
    words = "Sorted by rules of place, shape and HU; not a diagnosis: " + html.escape(error_kinds.RULE) + "."
    counts = table(rows, {"look": "looks", "lesions": "false lesions", "ml": "ml"}, 2, ("look",))
    parts = [counts, picture(figures("false_by_look"))]
    if len(false):
        parts.append(table(false.sort_values("volume_ml", ascending=False), columns, 2, ("case", "looks_like"), limit=15))
    return Section("What false tumour looks like", words, parts)


def _oracles(values, cases, figures):
    rows = oracles.table(cases)
    rows["between"] = [f"{number(a, 2)} to {number(b, 2)}" for a, b in zip(rows.low, rows.high, strict=True)]
    columns = {"what": "if perfect", "mean": "tumour Dice per case", "between": "95 % interval", "gain": "gain", "cases": "cases"}
    words = (
        "How far tumour Dice would rise if one step were perfect and the others stayed as they are. "
        f"{html.escape(oracles.RULE[0].upper() + oracles.RULE[1:])}."
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
