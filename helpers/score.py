"""LiTS scores of any segmentations: `python -m helpers.score REFERENCE_DIR PREDICTION_DIR`."""

import argparse
import sys
from functools import partial
from pathlib import Path

from helpers import files, processes
from helpers.processes import DONE, FAILED
from helpers.running import jobs
from helpers.scans.findings import counted
from helpers.scoring import case_scores, mask_pairs, provenance, run_scores, sentences, summary


def main(arguments=None):
    """Run the command; returns its exit code."""
    processes.print_any_letter()
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.workers < 0 or any(mm <= 0 for mm in options.tolerance):
        parser.error("workers must not be negative, tolerances must be above 0")
    try:
        to_score = mask_pairs.jobs_of(options.references, options.predictions, options.scans)
        files.check_writable(Path(options.output) / "summary.json")
    except (OSError, ValueError) as error:
        print(f"helpers.score: {error}", file=sys.stderr)
        return FAILED
    work = partial(mask_pairs.score_files, tolerances_mm=tuple(options.tolerance))
    results = run_scores.score_all([(job[0], job) for job in to_score], work,
                                   options.workers or None)
    unusable = [result for result in results if isinstance(result, str)]
    scored = [result for result in results if not isinstance(result, str)]
    for sentence in unusable:
        print(f"helpers.score: not scored: {sentence}", file=sys.stderr)
    if not scored:
        return FAILED
    for row in (s.row for s in scored):
        if row["failed"] or row["note"]:
            print(f"helpers.score: {row['case']}: {row['failed'] or row['note']}", file=sys.stderr)
    refused = [s.row.pop("refused") for s in scored]
    voxels_of = {s.row["case"]: s.row.pop("voxels") for s in scored}
    for case, whose in provenance.learnt_masks(to_score, voxels_of).items():
        print(f"helpers.score: {case}: networks learnt from its scan, {whose}: a score of their "
              "masks flatters", file=sys.stderr)
    try:
        _write(options, scored, unusable)
    except (OSError, RuntimeError) as error:  # the latter of the report
        where = f"{options.output}: the results can't be written there ({error})"
        print(f"helpers.score: {where if isinstance(error, OSError) else error}", file=sys.stderr)
        return FAILED
    return FAILED if unusable or any(refused) else DONE


def _write(options, scored, unusable):
    """All files of the output folder, and the few lines that a person reads at once."""
    folder = Path(options.output).absolute()
    tables = case_scores.tables(scored)
    source = {"cases.source": f"{options.predictions} against {options.references}",
              "cases.not_scored": unusable,
              "made_from": provenance.of_masks(tables["cases"], options)}
    values = summary.write(folder, tables, source)
    for organ in ("liver", "tumour"):
        key = f"{organ}.dice_per_case"
        mean, low, high = (values[f"{key}.{end}"] for end in ("mean", "low", "high"))
        interval = "" if low is None else f", 95 % interval {low:.3f} to {high:.3f}"
        print(f"{organ} Dice per case {mean:.3f}{interval}, global "
              f"{values[f'{organ}.dice_global']:.3f}")
    if options.report:
        jobs.write_report(folder / "report.html", {"scores_dir": str(folder)})
    if message := sentences.stand_in(values):
        print(f"helpers.score: {message.removeprefix('; ')}"
              + ("" if options.scans else "; --scans takes geometry from the scans"),
              file=sys.stderr)
    where = Path(options.output) / ("report.html" if options.report else "summary.json")
    with_report = "" if options.report else " (with --report figures and a page to read, too)"
    count = counted(values["cases.count"], "case")
    print(f"{count}, {values['cases.failed']} failed: {where}{with_report}")


def _parser():
    parser = argparse.ArgumentParser(
        "python -m helpers.score", description="LiTS scores of predicted against reference masks."
    )
    parser.add_argument("references", metavar="REFERENCE_DIR",
                        help="folder of reference masks, .nii or .nii.gz, labels 0/1/2")
    parser.add_argument("predictions", metavar="PREDICTION_DIR",
                        help="folder of predicted masks, named alike")
    parser.add_argument("-o", "--output", metavar="DIR", default="scores",
                        help="where the results go (default: ./scores)")
    parser.add_argument("--scans", metavar="DIR",
                        help="folder of the CT scans, for geometry and the lesions' contrast")
    parser.add_argument("--report", action="store_true", help="write figures and report.html, too")
    parser.add_argument("--tolerance", type=float, nargs="+", metavar="MM",
                        default=list(case_scores.TOLERANCES_MM),
                        help="tolerances of surface Dice in mm (default: 2 5)")
    parser.add_argument("--workers", type=int, default=0,
                        help="processes (default: one for each core)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
