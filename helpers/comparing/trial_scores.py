"""What trials scored: livers on whole scans, patients, paired tests, and what these say."""

import pandas as pd

from helpers.cascade import inference
from helpers.cascade.liver import largest_component
from helpers.cascade.precision import device_named
from helpers.cascade.weights import load_network
from helpers.scans import reading
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import metrics, statistics
from helpers.slices import recipe
from helpers.slices.pixels import level

LEAST = 6  # patients: of fewer, Wilcoxon's test says nothing below 0.05 whatever they score
BEYOND_NOISE = 0.05  # p after Holm's correction
COLUMNS = [
    "trial", "patients", "score", "low", "high",
    "difference", "difference_low", "difference_high", "better", "worse", "p",
]


def liver_dice(weights, rows, device):
    """Dice of the liver over all slices of the scan's own grid, so that input sizes compare.

    weights  file of a liver network; rows: rows of cases.csv; device: "cpu", "cuda" or "auto".
    returns  {"all": {case: of all that was found}, "largest": {case: of the largest component}}.
    """
    network = load_network(weights, device_named(device))
    scores = {"all": {}, "largest": {}}
    for _, row in rows.iterrows():
        volume, labels = reading.read_row(row)
        volume = with_likely_spacing(volume)
        slices = recipe.whole_slices(volume, network.recipe)
        liver = inference.probability(network, slices) >= level(0.5)
        reference = labels >= 1
        for name, mask in (("all", liver), ("largest", largest_component(liver)[0])):
            sizes = reference.sum(), mask.sum(), (reference & mask).sum()
            scores[name][row.case] = float(metrics.dice(*sizes))
    return scores


def of_patients(scores, split):
    """One score a patient, the mean over its scans: DataFrame trial, patient, score.

    scores  DataFrame trial, case, score; split: split.csv, which says whose scan each case is.
    """
    patient = dict(zip(split.case, split.group, strict=True))
    scores = scores.assign(patient=scores.case.map(patient))
    return scores.groupby(["trial", "patient"], sort=False, as_index=False).score.mean()


def compared(scores, default_of):
    """Means with 95 % intervals, and each trial against its default on the same patients.

    scores      DataFrame trial, patient, score.
    default_of  dict of trial -> the trial it is compared with, itself for a default.
    returns     DataFrame, a row a trial: COLUMNS and p_holm, corrected over all rows. p is
                Wilcoxon's signed-rank test, two-sided, 1 when no patient differs.
    """
    rows, cases = [], scores.rename(columns={"patient": "case"})
    for trial, scored in cases.groupby("trial", sort=False):
        row = [trial, len(scored), scored.score.mean(), *statistics.bootstrap_ci(scored.score)]
        default = cases[cases.trial == default_of[trial]]
        if trial != default_of[trial] and set(scored.case) & set(default.case):
            paired = statistics.paired_difference(default, scored, "score")
            row += [paired[name] for name in ("mean", "low", "high", "better", "worse")]
            row.append(1.0 if paired["p"] is None else paired["p"])
        rows.append(dict(zip(COLUMNS, row)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p_holm=statistics.holm(table.p))


def largest_component_gain(scores):
    """What the largest component changes for livers, a sentence a row; see `Trial.scores`."""
    sentences = []
    for trial, largest in scores.dropna(subset="all_components").groupby("trial", sort=False):
        everything = largest.assign(score=largest.all_components)
        gain = statistics.paired_difference(everything, largest, "score")
        scans = f"{gain['better']} scans better, {gain['worse']} worse"
        sentences.append(f"{trial}: {gain['mean']:+.4f} by the largest component; {scans}")
    return "\n".join(sentences)


def better_than_default(rows):
    """Which rows of one stage, as `compared` gives them, are better than noise explains."""
    patients = rows.patients.max()
    if patients < LEAST:
        return f"too few patients ({patients:.0f}) for a difference beyond noise"
    ranked = rows[rows.patients == patients]
    sure = ranked[(ranked.p_holm < BEYOND_NOISE) & (ranked.difference > 0)].trial
    return f"better than the default: {', '.join(sure)}" if len(sure) else (
        "none is better than the default beyond noise")


def conclusion(table):
    """What the numbers say, a paragraph a stage; rows that lack patients are not ranked.

    table  DataFrame of `compared` with the columns stage, default and slices_per_second.
    """
    stages = table.groupby("stage", sort=False)
    return "\n".join(_of_stage(stage, rows) for stage, rows in stages)


def _of_stage(stage, rows):
    scored = rows[rows.score.notna()]
    if len(scored) < 2:
        have = f"{len(scored)} of {len(rows)} rows have a score"
        return f"{stage}: {have}, so there is nothing to compare."
    ranked = scored[scored.patients == scored.patients.max()]
    best, beyond_noise = ranked.loc[ranked.score.idxmax()], ranked.p_holm < BEYOND_NOISE
    score = f"{best.score:.3f}{_from_to(best.low, best.high)}"
    patients = f"{best.patients:.0f} patient{'' if best.patients == 1 else 's'}"
    lines = [f"{stage}, {patients}: {best.trial} has the highest mean, {score}."]
    if best.trial != best.default and best.difference == best.difference:
        verdict = ("beyond noise" if best.p_holm < BEYOND_NOISE else "within noise"
                   if best.patients >= LEAST else "too few patients to tell from noise")
        change = f"{best.difference:+.3f}{_from_to(best.difference_low, best.difference_high)}"
        p = f"p {best.p_holm:.2g} after Holm"
        lines.append(f"It is {change} from {best.default}, {p}: {verdict}.")
    sure = [f"{row.trial} ({row.difference:+.3f})" for row in ranked[beyond_noise].itertuples()]
    if best.patients >= LEAST:
        lines.append(f"Beyond noise against {best.default}: {', '.join(sure) or 'none'}.")
    timed = ranked[~beyond_noise & ranked.slices_per_second.notna()]
    if len(timed):
        fast = timed.loc[timed.slices_per_second.idxmax()]
        rate = f"{fast.slices_per_second:.1f} slices a second of one core"
        lines.append(f"Of the others {fast.trial} learns fastest, {rate}.")
    if unranked := sorted(set(rows.trial) - set(ranked.trial)):
        lines.append(f"Not ranked, for want of scores: {', '.join(unranked)}.")
    return " ".join(lines)


def _from_to(low, high):
    return f" ({low:.3f} to {high:.3f})" if low is not None and low == low else ""
