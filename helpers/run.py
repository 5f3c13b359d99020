"""The whole sequence of notebooks without a person: python -m helpers.run."""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from helpers import files, processes, runs, together
from helpers.parameters import Usage, listed, of_type, parameters_of, unknown, values_given
from helpers.processes import DONE, FAILED, PAUSED, USAGE
from helpers.running import inline, run_parameters, side_by_side
from helpers.running.jobs import Job, carried_out
from helpers.scans.folder import cases_in

SEQUENCE = ("01", "02", "03", "04", "05", "06")
TRAINED = ("gate", "liver", "tumour")
EXPLAINED = """
exit codes: 0 done, 1 failed (the message says what and where), 2 wrong usage,
75 paused with work left: run again to resume.
Ctrl-C (or SIGTERM) saves a training and pauses; a second one ends at once. Nothing is lost.
examples:
  python -m helpers.run                                 the synthetic data set, start to report
  python -m helpers.run --run lits --data /data/lits    your scans
  python -m helpers.run --run lits                      again, or on; with the parameters of before
  python -m helpers.run --run lits --set                which these are, and all others
  python -m helpers.run --run lits --only 04 --set stage=liver chunk_minutes=50
  torchrun --nproc-per-node 4 -m -- helpers.run --run lits --only 04 --inline
                                                        four processes train as one
  python -m helpers.run --run cv --data /data/lits --folds 5 --set test_share=0.0 split=val
                                                        the runs cv-fold0 … cv-fold4
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    ask = asked(words)
    try:
        if ask.folds:
            first = asked(words_of_fold(ask, 0))
            planned(first, runs.Run(first.run))  # what it refuses it refuses once
            folds = {f"fold {k}": words_of_fold(ask, k) for k in range(ask.folds)}
            return side_by_side.all_done(folds)[0]
        run = runs.Run(ask.run)
        jobs = planned(ask, run)
        if ask.set == []:
            print(run_parameters.table(jobs))
            return DONE
    except (ValueError, FileNotFoundError) as error:
        print(f"helpers.run: {error}", file=sys.stderr)
        return USAGE
    if not ask.inline:
        return carried_out_all(jobs, run)
    with inline.joined():
        code = carried_out_all(jobs, run, inline.executed)
    # torchrun takes any other code for a failure
    return DONE if code == PAUSED and together.is_launched() else code


def carried_out_all(jobs, run, execute=None):
    """Execute notebooks one after the other; returns the exit code."""
    try:
        for folder in (run.lists, run.checkpoints, run.reports):
            files.check_writable(folder / "any")
    except OSError as error:
        print(f"helpers.run: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    run_parameters.remember(run, jobs)
    for number, job in enumerate(jobs):
        pair = jobs[number : number + 2]
        if execute is None and side_by_side.pays(pair, run):
            code, asked_to_end = side_by_side.all_done(
                {job.part: side_by_side.words_of_training(job) for job in pair})
        else:
            code, asked_to_end = carried_out(job, run, execute)
        if code != DONE:
            return code
        if asked_to_end and job is not jobs[-1]:
            print(f"stopped by {asked_to_end} before {jobs[number + 1].name}; run again to resume",
                  file=sys.stderr)
            return PAUSED
    print("\n" + "\n".join(closing(run)))
    return DONE


def closing(run):
    """What a person reads at the end: whose scans did what, and where to look."""
    split = run.lists / "split.csv"
    pages = [page for page in (run.reports / "predictions.html", run.reports / "report.html")
             if page.is_file()]
    if split.is_file():
        with split.open(encoding="utf8", newline="") as lines:
            groups = {(row["split"], row["group"]) for row in csv.DictReader(lines)}
        counts = Counter(side for side, _ in groups)
        sides = (("train", "train"), ("val", "validate"), ("test", "test"))
        yield "patients: " + ", ".join(f"{counts[side]} {word}" for side, word in sides)
    for name, folder in (("figures", run.figures), ("notebooks", run.reports / "notebooks")):
        if folder.is_dir():
            yield f"{name}: {runs.relative(folder)}"
    yield f"report: {', '.join(map(runs.relative, pages))}" if pages else "done"


def asked(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    ask = argparse.ArgumentParser("python -m helpers.run", description=__doc__, epilog=EXPLAINED,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", default="demo",
                     help="name of this attempt in data_lists, checkpoints and reports")
    ask.add_argument("--data",
                     help="folder of scans; without it the run's own from before, or the synthetic "
                          "data set")
    ask.add_argument("--only",
                     help="notebooks by number with commas between, such as 04,05; default "
                     + ",".join(SEQUENCE))
    ask.add_argument("--inline", action="store_true",
                     help="04 in this process, without a kernel; started by torchrun, in all of "
                          "its processes, which train as one")
    ask.add_argument("--set", nargs="*", action="extend", metavar="NAME=VALUE",
                     help="notebook parameters; the run keeps them for its next call. Without a "
                          "value all are shown, with their defaults")
    ask.add_argument("--folds", type=int, default=0, metavar="K",
                     help="a cross-validation: K runs named RUN-fold0 and so on, as many at once "
                          "as there are cores")
    return ask.parse_args(words)


def words_of_fold(ask, fold):
    """The command line of one fold of those that were asked for."""
    words = ["--run", f"{ask.run}-fold{fold}"]
    words += ["--data", ask.data] if ask.data else []
    words += ["--only", ask.only] if ask.only else []
    deals = any(name.startswith("02") for name in chosen_notebooks(ask))
    given = [*(ask.set or []), *([f"folds={ask.folds}", f"fold={fold}"] if deals else [])]
    return [*words, "--set", *given] if given else words


def planned(ask, run):
    """The jobs in order, after everything on the command line has been checked.

    Raises Usage, ValueError or FileNotFoundError with one sentence.
    """
    chosen = chosen_notebooks(ask)
    if together.is_launched() and not ask.inline:
        raise Usage("torchrun starts processes that train together: --only 04 --inline")
    if ask.inline and not all(name.startswith("04") for name in chosen):
        raise Usage("--inline runs notebook 04: --only 04")
    declared = {name: parameters_of(runs.NOTEBOOKS / f"{name}.ipynb") for name in chosen}
    given = values_given(ask.set or [])
    for name, text in given.items():
        having = [d[name] for d in declared.values() if name in d]
        if not having:
            known = sorted({p for d in declared.values() for p in d} - {"run", "interactive"})
            raise Usage(unknown(name, known, "no selected notebook has a parameter"))
        given[name] = of_type(name, text, having[0])
    first = any(name.startswith("01") for name in chosen)
    if ask.data is not None:
        if not first:
            raise Usage("--data is read by notebook 01, which --only leaves out")
        given["data"] = checked_data(ask.data)
    if given.get("trial"):
        run.training(given["trial"])  # raises ValueError for a name that could leave its folder
    if not first and not run.known():
        known = sorted({p.name for p in (runs.ROOT / "data_lists").glob("*") if p.is_dir()})
        raise Usage(f"there is no run {run.name!r} yet; begin with notebook 01, or choose one of: "
                    f"{', '.join(known) or 'none'}")
    jobs = []
    for name in chosen:
        parameters = {k: v for k, v in given.items() if k in declared[name]} | {"run": run.name}
        if "interactive" in declared[name]:
            parameters["interactive"] = False
        for part in parts_of(name, given):
            before = run_parameters.of_before(run, name, part, parameters.get("trial", ""))
            more = {"stage": part} if part else {}
            values = declared[name] | (before[0] if before else {}) | parameters | more
            jobs.append(Job(name, values, part))
    return jobs


def parts_of(notebook, given):
    if not notebook.startswith("04"):
        return [""]
    if "stage" not in given:
        return TRAINED
    if given["stage"] not in TRAINED:
        raise Usage(f"stage {given['stage']!r}: choose one of {', '.join(TRAINED)}")
    return [given["stage"]]


def chosen_notebooks(ask):
    return [found_notebook(word) for word in (listed(ask.only) if ask.only else SEQUENCE)]


def found_notebook(word):
    names = sorted(p.stem for p in runs.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    matches = [name for name in names if name == word or name.split("_")[0] == word.zfill(2)]
    if not matches:
        raise Usage(f"there is no notebook {word!r}; there are {', '.join(names)}")
    return matches[0]


def checked_data(folder):
    """The path of a folder that holds scans, as `runs.relative` writes it: the run may be moved
    with it.
    """
    try:
        cases_in(folder)
    except (FileNotFoundError, ValueError) as error:
        raise Usage(str(error)) from error
    folder = Path(folder).expanduser().absolute()
    # what is after a link and ".." only the system knows
    return runs.relative(folder.resolve() if ".." in folder.parts else folder)


if __name__ == "__main__":
    sys.exit(main())
