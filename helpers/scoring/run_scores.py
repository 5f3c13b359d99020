"""Scores of a run: what notebook 05 predicted for the cases of a split, against references."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import crews, files, runs
from helpers.intake import phantom
from helpers.intake.case_table import cases_of_split
from helpers.parameters import listed
from helpers.processes import WorkerDied, parallel_map, progress
from helpers.running import steps
from helpers.runs import Run, absolute, relative
from helpers.scans import reading
from helpers.scans.findings import in_words
from helpers.scans.labels import read_mask
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import attribution, case_scores, metrics, probabilities


def runs_named(text):
    """The runs of a text with their names, commas between; none for an empty one."""
    return [Run(name) for name in listed(text)]


def cases_of(run, splits, weights=""):
    """Rows of `cases_of_split` that have a usable reference, one that knows where tumour is, with
    the column run.

    Raises what it raises, steps.NothingToDo where no scan at all has a reference, and ValueError
    where none of the split has.
    """
    chosen = cases_of_split(run, splits, weights)
    usable = (chosen["mask"] != "") & (chosen["verdict"] != "quarantined")
    usable &= ~chosen.apply(reading.tumour_unknown, axis=1).astype(bool)
    if weights and not (chosen["mask"] != "").any():
        raise steps.NothingToDo(f"none of the {len(chosen)} scans has a reference mask, so there "
                                "is nothing to score: notebook 05 shows what was predicted, "
                                f"helpers.run as {relative(run.reports / 'predictions.html')}, too")
    if not usable.any():
        raise ValueError(f"split {splits!r}: none of its cases has a reference mask to score "
                         "against")
    return chosen[usable].reset_index(drop=True).assign(run=run.name)


def cases_of_all(runs, splits, weights=""):
    """`cases_of` several Runs together, such as the folds of a cross-validation. Raises what it
    raises, and ValueError for a case that two runs have.
    """
    pooled = pd.concat([cases_of(run, splits, weights) for run in runs], ignore_index=True)
    twice = pooled[pooled.duplicated("case", keep=False)].sort_values("case", kind="stable")
    if len(twice):
        case, names = twice.case.iloc[0], twice.run[twice.case == twice.case.iloc[0]].tolist()
        raise ValueError(
            f"{case} is in the split {splits!r} of {' and '.join(names)}, so it would count "
            f"{len(names)} times ({twice.case.nunique()} such cases); pool only runs whose cases "
            "differ, such as the folds of one cross-validation"
        )
    return pooled


def agree(rows):
    """Raise ValueError when masks of one run are of different weights or rules: that is two
    results, and no mean of them."""
    for name, of_run in rows.groupby("run"):
        first = {}
        for file in filter(Path.is_file, map(Run(name).log, of_run.case)):
            if origin := files.read_json(file).get("origin"):
                first.setdefault((origin["rules"], *origin["weights"]), file.stem)
        if len(first) > 1:
            one, other = list(first.values())[:2]
            splits = ",".join(sorted(set(of_run.split)))
            raise ValueError(
                f"run '{name}': {one} and {other} tell of different weights or rules, and can't be "
                f"scored as one result; run 05_cascade_inference again with split='{splits}'"
            )


def found_elsewhere(rows, runs):
    """Rows of `cases_of` with other runs' predictions: each of the first run that has one for the
    case, or of the first at all.
    """

    def run_for(case):
        return next((run.name for run in runs if run.prediction(case).is_file()), runs[0].name)

    return rows.assign(run=[run_for(case) for case in rows.case])


def score_one(row, tolerances_mm=case_scores.TOLERANCES_MM, failed=""):
    """The Scored of one row of `cases_of`, a dict, and where the cascade left a log, with why each
    missed lesion was lost.

    A prediction that is missing, damaged or of another shape is a failed case, with its reason in
    the column `failed`; so is one that isn't even read, because `failed` has a reason already.
    """
    run, case = Run(row["run"]), row["case"]
    volume, reference = reading.read_row(row)
    prediction, evidence, note = None, None, ""
    if not failed:
        try:
            prediction = read_prediction(run.prediction(case), volume)
        except ValueError as error:
            failed = str(error)
        try:
            evidence = attribution.read(run, case, volume)
        except ValueError as error:  # a damaged map costs what it would have explained, no more
            note = str(error)
    if failed and evidence and evidence.log.get("sentence"):
        failed += f"; the cascade says: {evidence.log['sentence']}"
    scored, lesions = case_scores.score(
        case, reference, prediction, volume.spacing_mm, volume.affine, volume.hu, tolerances_mm,
        failed
    )
    scored.row |= {name: row[name] for name in ("split", "group", "run")} | {"note": note}
    scored.row["stand_in_mm"] |= row["layout"] == "2-D slices"
    scored.row["synthetic"] = phantom.is_synthetic(absolute(row["image"]))
    if evidence and not failed and evidence.log.get("outcome") != "failed":
        _explain(scored, lesions, reference, prediction, evidence, volume)
    return scored


def _or_say(score, row, **more):
    """`score_one`, or a sentence for a case whose scan or reference can't be read any more."""
    try:
        return score(row, **more)
    except Exception as error:
        return f"{row['case']}: {in_words(error, row['image'])}"


def read_prediction(path, volume):
    """A predicted mask on its scan's grid, labels 0, 1, 2. Raises ValueError, naming the file."""
    if not path.is_file():
        raise ValueError(f"{path.name}: there is no prediction")
    return labels_of(read_mask(path, volume), path)


def labels_of(labels, path):
    """The labels, when they are 0, 1 and 2 only. Raises ValueError with the file and its values."""
    if labels.max(initial=0) > 2:
        values = np.unique(labels)
        shown = ", ".join(map(str, values[:8])) + (" …" if len(values) > 8 else "")
        raise ValueError(
            f"{path}: holds the values {shown}; labels are 0 background, 1 liver, 2 tumour"
        )
    return labels


def _explain(scored, lesions, reference, prediction, evidence, volume):
    """Add to a Scored what only the cascade's own files tell."""
    scored.row["outcome"] = evidence.log.get("outcome", "")
    scored.row |= attribution.of_gate(scored.slices, attribution.slices_kept(evidence.log))
    if evidence.tumour is not None:
        given = evidence.tumour, evidence.log, with_likely_spacing(volume).spacing_mm
        scored.row |= attribution.of_probabilities(reference, prediction >= 1, *given)
        if evidence.tta_std is not None:
            scored.uncertainty = probabilities.uncertainty_levels(
                reference, prediction, evidence.tta_std, evidence.tumour
            )
    scored.dropped = attribution.dropped(evidence.log)
    lost = attribution.attribute_misses(lesions, evidence)
    for lesion in scored.lesions:
        lesion["lost_by"] = lost[lesion["component"]] if lesion["side"] == "reference" else ""
    for organ in metrics.CLASSES:
        scores = evidence.log.get(f"{organ}_slice_score") or []
        if len(scores) == len(scored.slices):
            for row, value in zip(scored.slices, scores, strict=True):
                row[f"{organ}_score"] = value
    scored.probabilities = probabilities.levels(reference, evidence)


def score_all(jobs, work, workers=None, scheduler="", needs=None):
    """`work(job)` for every job on all cores, with a progress bar: a list of results in the jobs'
    order, a sentence for a case that ended its process twice.

    jobs     list of (case, what `work` takes).
    work     a function of a module, or a `partial` of one: processes are started afresh and import
             it. A job whose process dies is tried again without its prediction, with the keyword
             `failed`.
    scheduler, needs  as `crews.spread` takes them.
    """
    items = [item for _, item in jobs]
    done = crews.spread(work, items, workers, scheduler, needs)
    results = dict(progress(done, "scoring", total=len(items)))
    for k in [k for k, result in results.items() if isinstance(result, WorkerDied)]:
        failed, again = f"scoring it {results[k].sentence}", [items[k]]
        without = partial(work, failed=failed)
        ((_, results[k]),) = (crews.spread(without, again, 1, scheduler) if scheduler
                              else parallel_map(without, again, 1))
        if isinstance(results[k], WorkerDied):
            results[k] = f"{jobs[k][0]}: {failed}, without its prediction, too"
    return [results[k] for k in range(len(items))]


def needed_bytes(row):
    """Memory that a process takes to score a row of cases.csv."""
    return 0.3 * crews.GIB + 20 * row["slices"] * row["rows"] * row["columns"]


def score_rows(rows, tolerances_mm=case_scores.TOLERANCES_MM, workers=None, scheduler=""):
    """The tables (`case_scores.tables`) of rows of `cases_of`, predicted by the runs they name.

    Raises FileNotFoundError when one of the runs has no predictions at all; RuntimeError, when all
    others are scored, that names cases whose scan or reference can't be read, or ends the process.
    """
    for run in map(Run, rows.run.unique()):
        if not run.predictions.is_dir():
            raise FileNotFoundError(
                f"{run.predictions}: no such folder; run notebook 05 for the run {run.name!r} first"
            )
    work = partial(_or_say, score_one, tolerances_mm=tuple(tolerances_mm))
    if scheduler:
        work = partial(runs.from_root, runs.ROOT, work)
    jobs = [(row["case"], row) for row in rows.to_dict("records")]
    scored = score_all(jobs, work, workers, scheduler, needed_bytes)
    if lost := [sentence for sentence in scored if isinstance(sentence, str)]:
        raise RuntimeError(f"{len(lost)} of {len(scored)} cases can't be scored: {'; '.join(lost)}")
    return case_scores.tables(scored)
