"""Scans that networks learnt from, known by their voxels: scores of these masks flatter."""

from pathlib import Path

from helpers import files, runs
from helpers.scans import names


def cases(rows):
    """Names of the rows of `run_scores.cases_of` whose log says that 05's networks learnt from
    them.
    """
    return [row.case for row in rows.itertuples() if _says_so(runs.Run(row.run).log(row.case))]


def masks(jobs, voxels_of):
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
    flattered = {case: learnt[voxels] for case, voxels in voxels_of.items() if voxels in learnt}
    for case, _, mask, _ in (job for job in jobs if isinstance(job[2], Path)):
        number = names.stem(mask).removeprefix("segmentation-")
        if any(_says_so(mask.with_name(f"{name}.json")) for name in (number, f"volume-{number}")):
            flattered[case] = "those that made its mask"
    return flattered


def _says_so(log):
    return bool(files.recorded(log).get("learnt_from"))
