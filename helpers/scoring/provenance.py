"""What a scoring was made from, in plain words, and the command that makes it again; and which of
its scans networks learnt from, so that their scores flatter.
"""

import shlex
import time
from pathlib import Path

import pandas as pd

from helpers import __version__, files, origins, runs
from helpers.runs import Run, relative, weights_folder
from helpers.scans import names
from helpers.scans.findings import counted

SHOWN = 20  # names in one line


def of_run(rows, cases, command, weights=""):
    """A dict of plain words for a scoring of rows of `run_scores.cases_of`; cases: its table;
    weights: whose networks made the masks, "" for each run's own.
    """
    folders = {str(Path(image).parent) for image in rows.image}
    spacing = [
        _range(rows[f"spacing_{axis}_mm"]) for axis in ("z", "y") if f"spacing_{axis}_mm" in rows
    ]
    words = {"data": f"{', '.join(sorted(folders))}: {_cases(cases)}"}
    if len(spacing) == 2:
        words["spacing"] = f"slices {spacing[0]} mm apart, pixels of {spacing[1]} mm"
    for name in rows.run.unique():
        folder = weights_folder(weights) if weights else Run(name).checkpoints
        words |= _weights(Run(name), rows.case[rows.run == name], folder)
    return words | _made_here(command)


def of_masks(cases, options):
    """A dict of plain words for a scoring by `helpers.score`; options: its command line."""
    words = {"references": str(options.references), "predictions": str(options.predictions)}
    if options.scans:
        words["scans"] = str(options.scans)
    words |= {"data": _cases(cases), "weights": "not known: masks from a folder"}
    command = ["python", "-m", "helpers.score", options.references, options.predictions]
    command += ["--scans", options.scans] * bool(options.scans) + ["-o", options.output]
    command += ["--report"] * options.report
    if list(options.tolerance) != [2.0, 5.0]:
        command += ["--tolerance", *(f"{mm:g}" for mm in options.tolerance)]
    return words | _made_here(shlex.join(map(str, command)))


def learnt_cases(rows):
    """Names of the rows of `run_scores.cases_of` whose log says that 05's networks learnt from
    them.
    """
    return [row.case for row in rows.itertuples() if _says_so(Run(row.run).log(row.case))]


def learnt_masks(jobs, voxels_of):
    """Of masks whoever made them: dict of case -> whose networks learnt from its scan.

    That is known where the log beside the mask says so, and of networks in this project's
    checkpoints by the scan's voxels.
    jobs        as `helpers.score` has them: (case, reference, mask, scan).
    voxels_of   dict of case -> `origins.voxel_hash`, "" where there is no scan.
    """
    learnt = {}
    for card in sorted((runs.ROOT / "checkpoints").glob("*/*/final.json")):
        hashes = files.recorded(card).get("data", {}).get("voxels", [])
        learnt |= dict.fromkeys(hashes, f"those of run {card.parent.parent.name}")
    whose = {case: learnt[voxels] for case, voxels in voxels_of.items() if voxels in learnt}
    for case, _, mask, _ in (job for job in jobs if isinstance(job[2], Path)):
        number = names.stem(mask).removeprefix("segmentation-")
        if any(_says_so(mask.with_name(f"{name}.json")) for name in (number, f"volume-{number}")):
            whose[case] = "those that made its mask"
    return whose


def _says_so(log):
    return bool(files.recorded(log).get("learnt_from"))


def _cases(cases):
    synthetic = int(cases.get("synthetic", pd.Series(False, cases.index)).sum())
    kinds = {len(cases): ", synthetic", 0: ""}.get(synthetic, f", {synthetic} of them synthetic")
    return counted(len(cases), "scan") + kinds


def _range(values):
    low, high = float(values.min()), float(values.max())
    return f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"


def _weights(run, cases, folder):
    """Which weights of a folder predicted the cases of a run, and what patients they learnt from.
    """
    from helpers.cascade import weights  # torch, which helpers.score can do without

    logs = [files.recorded(run.log(case)) for case in cases]
    hashes = {h for log in logs for h in log.get("origin", {}).get("weights", ())}
    name = f"weights of {run.name}"
    if not hashes:
        return {name: "not known: notebook 05 left no log"}
    try:
        paths = weights.paths_of(folder, unfinished=True)
    except FileNotFoundError:
        paths = {}
    hash_of = {stage: files.short_hash(path) for stage, path in paths.items()}
    used = {stage: path for stage, path in paths.items() if hash_of[stage] in hashes}
    if len(used) < len(hashes):
        return {name: f"no longer in {relative(folder)}: {', '.join(sorted(hashes))}"}
    stages = ", ".join(f"{stage} {hash_of[stage][:8]}" for stage in used)
    words = {name: f"{relative(folder)}: {stages}"}
    cards = {stage: weights.card_of(path) for stage, path in used.items()}
    learnt = {stage: card.get("data", {}).get("training", []) for stage, card in cards.items()}
    for scans in dict.fromkeys(map(tuple, learnt.values())):
        stages = ", ".join(stage for stage in learnt if tuple(learnt[stage]) == scans)
        words[f"{stages} learnt from"] = _patients(run, scans)
    return words


def _patients(run, scans):
    """ "8 patients: volume-0, …" by the run's split, or scans where it doesn't know them all."""
    split, noun, listed = run.lists / "split.csv", "scan", list(scans)
    if split.is_file():
        groups = pd.read_csv(split, dtype=str, keep_default_na=False).set_index("case").group
        if set(scans) <= set(groups.index):
            noun, listed = "patient", list(dict.fromkeys(groups[list(scans)]))
    more = f" … and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{counted(len(listed), noun)}: {', '.join(listed[:SHOWN])}{more}"


def _made_here(command):
    commit = origins.commit()
    return {
        "made on": time.strftime("%Y-%m-%d %H:%M"),
        "by": f"helpers {__version__}" + (f", commit {commit}" if commit else ""),
        "machine": origins.processor(),
        "again": command,
    }
