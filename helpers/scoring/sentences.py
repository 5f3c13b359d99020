"""What the report says in plain words, each sentence true of the numbers it is made from."""

import html

import numpy as np
import pandas as pd

from helpers.scans.findings import counted
from helpers.scoring import attribution, case_scores
from helpers.scoring.lesions import SIZES

SIDES = {"reference": "Of the reference's lesions", "prediction": "of the predicted ones"}
SIZE_NAMES = dict(zip(SIZES, ("under 10 mm", "10 to 20 mm", "over 20 mm"), strict=True))


def number(value, digits=3):
    """A number as a person writes it; an en dash where there is none; text as it is."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return f"{value:,.{digits}f}".replace("-", "−")


def with_interval(mean, low, high, digits=3):
    """ "0.950 (0.930 to 0.968)"; no interval where there is none."""
    mean, low, high = (number(value, digits) for value in (mean, low, high))
    return mean if low == "–" else f"{mean} ({low} to {high})"


def between(values, key, digits=3):
    """`with_interval` for a key of the summary."""
    ends = (values.get(f"{key}.{end}") for end in ("low", "high"))
    return with_interval(values.get(f"{key}.mean", values.get(key)), *ends, digits)


def markdown(frame):
    """A DataFrame as a Markdown table, numbers with three digits, nothing for nan."""
    def text(value):
        if isinstance(value, float):
            return "" if value != value else f"{value:.3f}"
        return "" if value is None or value is pd.NA else str(value)

    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[text(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scored_cases(values):
    """ "10 cases, 8 with tumour, 1 failed", and how many references can't be used."""
    unusable = len(values.get("cases.not_scored", ()))
    more = f", {unusable} not scored because their reference can't be used" if unusable else ""
    return (f"{counted(values['cases.count'], 'case')}, {values['cases.with_tumour']} with tumour, "
            f"{values['cases.failed']} failed{more}{stand_in(values)}")


def stand_in(values):
    """What there is to say of millimetres that the files only seem to give; "" for nothing."""
    count = len(values.get("cases.stand_in_mm", ()))
    return (f"; the spacing of {count} is a stand-in (1 × 1 × 1 mm, or none in pictures): their "
            "millimetres, millilitres and surface Dice aren't true" if count else "")


def in_plain_words(values, cases):
    """What a clinician asks first, as a list of sentences in HTML; names of cases are escaped.

    values  the summary; cases: the table of cases.
    """
    v, human = values, " A second human reader reaches about 0.72 on lesions that both found."
    sentences = [
        "<b>Liver.</b> The outline agrees with the reference with a Dice of "
        f"{between(v, 'liver.dice_per_case', 2)} on average; the median is "
        f"{number(v['liver.dice_per_case.median'], 2)}. Its surface lies "
        f"{number(v['liver.assd_mm.median'], 1)} mm off, in the median of cases.",
        f"<b>Tumour.</b> Dice per case is {between(v, 'tumour.dice_per_case', 2)} over "
        f"{counted(v['cases.count'], 'case')}, and "
        f"{between(v, 'tumour.dice_per_case_with_tumour', 2)} over the "
        f"{v['cases.with_tumour']} with tumour.{'' if v['cases.synthetic'] else human}",
        f"<b>Volume.</b> The liver's is off by {between(v, 'liver.volume_error_ml', 1)} ml on "
        f"average, the tumour's by {between(v, 'tumour.volume_error_ml', 1)} ml, whichever way.",
        _lesions(v, cases), _false_alarms(v), _where_to_improve(v), _failed(v), _how_sure(v),
    ]
    return [sentence for sentence in sentences if sentence]


def _lesions(v, cases):
    if not v["tumour.lesions"]:
        return ""
    sizes = ", ".join(
        f"{SIZE_NAMES[size]} {number(v[f'tumour.{size}.lesion_recall_any'] * count, 0)} of {count}"
        for size in SIZES if (count := v[f"tumour.{size}.lesions"])
    )
    judged = case_scores.predicted_only(cases)
    touched, found = judged[["lesions_found_any", "lesions_found_iou50"]].sum().astype(int)
    return (
        f"<b>Lesions.</b> Of {counted(v['tumour.lesions'], 'lesion')}, {touched} "
        f"{'was' if touched == 1 else 'were'} touched by a finding, and {found} outlined well "
        f"enough to count as found (IoU over 0.5). Touched, by size: {sizes}."
    )


def _false_alarms(v):
    usable = " with a usable prediction" if v["cases.failed"] else ""
    free = f"No case without tumour is among them{usable}: nothing is known about healthy livers."
    if v["tumour_free.cases"]:
        n, clean = v["tumour_free.cases"], v["tumour_free.clean"]
        free = f"Cases without tumour: {n}, of which {clean} stayed clean."
    if v["tumour_free_slices"]:
        share = 100 * v["false_slices.any"]
        free += (
            f" Of {counted(v['tumour_free_slices'], 'liver slice')} without tumour, {share:.1f} % "
            "show some."
        )
    return (
        f"<b>False alarms.</b> {between(v, 'tumour.false_lesions_per_case', 2)} false lesions a "
        f"case, with {between(v, 'tumour.false_ml_per_case', 2)} ml. {free}"
    )


def _where_to_improve(v):
    lost = {stage: v.get(f"lost.{stage}") or 0 for stage in attribution.STAGES}
    most = max(lost, key=lost.get)
    if not lost[most]:
        return ""
    return (
        f"<b>Where to improve.</b> Most lesions are lost by the stage “{most}”, {lost[most]} of "
        f"them: {attribution.STAGES[most]}."
    )


def _failed(v):
    if not v["cases.failed"]:
        return ""
    n, names = v["cases.failed"], ", ".join(map(html.escape, v["cases.failed_names"]))
    lesions, slices = (counted(v[f"not_predicted.{k}s"], k) for k in ("lesion", "slice"))
    return (
        f"<b>Failed.</b> {n} of {counted(v['cases.count'], 'case')} {'has' if n == 1 else 'have'} "
        f"no usable prediction and {'counts' if n == 1 else 'count'} as Dice 0: {names}. The "
        f"{lesions} and {slices} there are in no rate of lesions or slices."
    )


def _how_sure(v):
    if v["cases.count"] >= 20:
        return ""
    verb = "is" if v["cases.count"] == 1 else "are"
    return (
        f"<b>How sure.</b> {counted(v['cases.count'], 'case')} of "
        f"{counted(v['cases.patients'], 'patient')} {verb} few: the 95 % intervals in brackets are "
        "rather too narrow for so small a sample."
    )


def tumour_free(values):
    """How many cases without tumour stayed clean."""
    if not values["tumour_free.cases"]:
        return "No case is without tumour."
    return (
        f"{values['tumour_free.clean']} of {counted(values['tumour_free.cases'], 'case')} without "
        "tumour stayed free of predicted tumour."
    )


def false_slices(values):
    """How many slices that show liver and no tumour show predicted tumour."""
    if not values["tumour_free_slices"]:
        return "No slice shows liver without tumour."
    touched, false = (between(values, f"false_slices.{kind}") for kind in ("any", "false"))
    return (
        f"Of {counted(values['tumour_free_slices'], 'slice')} with liver and without tumour, a "
        f"share of {touched} shows predicted tumour; {false} shows a lesion that is false "
        "altogether, not only too long."
    )


def lesion_outcomes(lesions):
    """How many lesions of each side had which outcome, from the table of lesions."""
    if not len(lesions):
        return "There is no lesion, neither in a reference nor predicted."
    counts = lesions.groupby("side").kind.value_counts().unstack(0)
    sides = []
    for side in (side for side in SIDES if side in counts):
        kinds = (f"{int(n)} {kind}" for kind, n in counts[side].dropna().items())
        sides.append(f"{SIDES[side]}: {', '.join(kinds)}")
    return "; ".join(sides) + "."


def lost_by_gate(values):
    """What the real gate lost; a perfect one can't bring it back."""
    if "oracle.gate.lost_slices" not in values:
        return "Left out: there is no log of the cascade."
    slices = counted(values["oracle.gate.lost_slices"], "slice")
    ml = number(values["oracle.gate.lost_tumour_ml"], 1)
    return f"The gate dropped {slices} with liver on, and {ml} ml of tumour with them."


def calibration(values):
    """How far the probabilities are off."""
    if "calibration_error.rule" not in values:
        return "Left out: no probabilities were kept."
    errors = ", ".join(f"{organ} {between(values, f'{organ}.calibration_error_per_case')}"
                       for organ in ("liver", "tumour"))
    return f"Expected calibration error per case: {errors}; 0 is perfect."


def uncertainty(values):
    """Whether the spread over mirrored views finds errors."""
    if "uncertainty.auc" not in values:
        return (
            "Left out: notebook 05 kept no spread; with flip_tta=True it does."
        )
    auc, doubt, rho = (
        number(values[f"uncertainty.{key}"], 2) for key in ("auc", "auc_of_doubt", "spearman")
    )
    return (
        f"The spread over mirrored views finds wrong voxels with a ROC area of {auc}; the "
        f"nearness of the probability to a half does so with {doubt}. Rank correlation of a "
        f"case's mean spread with 1 − tumour Dice: {rho}; below 0 it is the confident cases that "
        "are bad, as with a network that sees nothing and is sure of it."
    )
