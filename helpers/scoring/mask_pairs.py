"""Reference and predicted masks of two folders: which belong together, and how each pair scores."""

import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers import files
from helpers.intake import phantom
from helpers.origins import voxel_hash
from helpers.scans import affines, labels, names, nifti, volume
from helpers.scans.findings import in_words
from helpers.scoring import case_scores, run_scores

PREFIX = re.compile(
    r"^(segmentation|volume|prediction|label|labels|liver|test-segmentation)[-_]?(?=\d)",
    re.IGNORECASE,
)
NO_MASK = re.compile(r"volume|(liver|tumour)-(probability|tta-std)", re.IGNORECASE)


def names_in(folder):
    """The NIfTI files below a folder, dict of file name without ending to the paths that have it.

    What can't be listed is printed. Raises FileNotFoundError for a missing folder.
    """
    def print_closed(error):
        name = files.as_text(error.filename)
        print(f"helpers.score: left out, {name}: {error.strerror}", file=sys.stderr)

    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    paths = defaultdict(list)
    for path in sorted(files.files_below(folder, print_closed)):
        if path.name.lower().endswith(names.NIFTI):
            paths[names.stem(path)].append(path)
    return paths


def masks_in(folder):
    """`names_in` a folder of masks: where one is called "segmentation-…", scans and maps of
    probability beside it are none.
    """
    paths = names_in(folder)
    lits = any(name.lower().startswith("segmentation") for name in paths)
    return {name: path for name, path in paths.items() if not (lits and NO_MASK.match(name))}


def partner(name, paths_of, what=""):
    """The file that belongs to a reference's name: the same name, or else the same number
    ("segmentation-3", "volume-3", "3"), or the same but for words that mean scan or mask ("a_seg",
    "segmentation-a"); None without one.

    paths_of   as `names_in` gives them.
    Raises ValueError when several files have that number or name.
    """
    if name in paths_of:
        return _only(paths_of[name], name)
    for without in (lambda text: PREFIX.sub("", text), names.place):
        same = [path for other, paths in paths_of.items() if without(other) == without(name)
                for path in paths]
        if len(same) > 1:
            both = " and ".join(path.name for path in same)
            raise ValueError(f"{name}: {both} could both be its {what}; name one {name}")
        if same:
            return same[0]
    return None


def _only(paths, name):
    if len(paths) > 1:
        raise ValueError(f"{name}: is there twice, {paths[0]} and {paths[1]}; keep one")
    return paths[0]


def jobs_of(reference_dir, prediction_dir, scans_dir=None):
    """What there is to score: a list of (case, reference, prediction or None, scan or None).

    Where several files could be one of the three, a sentence stands in the prediction's place.
    Raises FileNotFoundError or ValueError with one sentence when there is nothing to score.
    """
    references, predictions = masks_in(reference_dir), masks_in(prediction_dir)
    if not references:
        raise ValueError(f"{reference_dir}: holds no .nii or .nii.gz file to score against")
    scans = {name: path for name, path in (names_in(scans_dir) if scans_dir else {}).items()
             if not name.lower().startswith("segmentation")}
    jobs = []
    for name, paths in references.items():
        try:
            jobs.append((name, _only(paths, name), partner(name, predictions, "prediction"),
                         partner(name, scans, "scan")))
        except ValueError as error:
            jobs.append((name, paths[0], str(error), None))
    used = {prediction for _, _, prediction, _ in jobs if isinstance(prediction, Path)}
    if not used:
        raise ValueError(
            next((unclear for _, _, unclear, _ in jobs if unclear), "")
            or f"{prediction_dir}: holds no prediction for any of the {len(jobs)} references, "
            f"{jobs[0][1].name} for one"
        )
    if spare := sorted(path.name for paths in predictions.values() for path in paths
                       if path not in used):
        shown = ", ".join(spare[:5]) + (" …" if len(spare) > 5 else "")
        print(f"helpers.score: left out, no reference: {shown}", file=sys.stderr)
    return jobs


def score_files(job, tolerances_mm=case_scores.TOLERANCES_MM, failed=""):
    """The Scored of one job of `jobs_of`, or a sentence when the reference itself can't be used.

    Geometry comes from the scan where there is one, else from the reference mask.
    failed  why the prediction isn't to be read at all: the case counts as failed.
    """
    case, reference_path, prediction_path, scan_path = job
    if isinstance(prediction_path, str):
        return prediction_path
    try:
        scan = volume.read_volume(scan_path) if scan_path else None
        grid, reference = read_reference(reference_path, scan)
    except Exception as error:  # whatever a bad file makes a reader do, it costs its case only
        return in_words(error, reference_path)
    prediction, refused, note = None, bool(failed), ""
    if not failed and prediction_path:
        try:
            prediction = run_scores.read_prediction(prediction_path, grid)
            note = _note(prediction_path, grid)
        except Exception as error:
            failed = in_words(error, prediction_path)
            refused = "the mask has shape" not in failed
    elif not failed:
        failed = "there is no prediction"
    hu = scan.hu if scan else None
    scored, _ = case_scores.score(case, reference, prediction, grid.spacing_mm, grid.affine, hu,
                                  tolerances_mm, failed)
    paths = {"scan_file": scan_path, "reference_file": reference_path,
             "prediction_file": None if failed else prediction_path}
    scored.row |= {name: str(Path(path).absolute()) if path else "" for name, path in paths.items()}
    synthetic = any(phantom.is_synthetic(path) for path in (reference_path, scan_path) if path)
    scored.row |= {"note": note, "refused": refused, "synthetic": synthetic}
    scored.row["voxels"] = voxel_hash(scan.hu) if scan else ""
    return scored


def opened(row):
    """(Volume, reference, prediction) of a row of cases.csv that `score_files` made; a prediction
    that can't be used is empty.
    """
    scan = volume.read_volume(row.scan_file) if row.scan_file else None
    grid, reference = read_reference(Path(row.reference_file), scan)
    if not row.prediction_file:
        return grid, reference, np.zeros_like(reference)
    return grid, reference, run_scores.read_prediction(Path(row.prediction_file), grid)


def read_reference(path, scan=None):
    """(grid, labels uint8 (z, y, x)) of a reference mask; the grid is the scan, or a Volume without
    HU made from the mask.

    Raises ValueError, naming the file and what is wrong with it.
    """
    if scan:
        return scan, run_scores.read_prediction(path, scan)
    array, affine, _ = nifti.load(path)
    if not affines.usable(affine):
        raise ValueError(
            f"{path}: its affine is singular or absurd; give the scans with --scans, geometry is "
            "taken from them"
        )
    nothing = np.broadcast_to(np.int16(0), array.shape)
    grid = replace(volume.volume_from_array(np.zeros((1, 1, 1), np.int16), affine, path),
                   file_shape=array.shape)
    grid.hu = volume.to_canonical(nothing, affine)
    return grid, run_scores.labels_of(labels.place_mask(array, affine, grid, path), path)


def _note(path, grid):
    """A warning when a prediction lies elsewhere in the room than the voxels it was scored with."""
    header, _ = nifti.read_header(path)
    mask_grid = affines.in_force(header)[0], header.get_data_shape()[:3]
    boxes = [affines.extent_mm(*where) for where in (mask_grid, (grid.affine, grid.file_shape))]
    apart = float(np.abs(boxes[0] - boxes[1]).max())
    if apart <= 0.5 * min(grid.spacing_mm):
        return ""
    return f"its affine differs by up to {apart:.3g} mm; voxels were taken as aligned"
