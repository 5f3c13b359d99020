"""Many scans: what is current stays, what can't be read costs itself, and the log says all of it."""

import gzip
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from known_networks import RULES, loaded

from helpers import runs
from helpers.cascade.cohort import Cohort
from helpers.cascade.decisions import CascadeLog
from helpers.cascade.rules import Rules


@pytest.fixture
def cohort(own_root, scan):
    """A Cohort, and rows of two sound scans, the second with more tumour, and of one cut in half."""
    file = own_root / "weights"
    file.write_bytes(b"w")
    image = nib.Nifti1Image(scan.hu.transpose(2, 1, 0)[:, ::-1], np.diag([1.0, 1.0, 2.0, 1.0]))
    rows = []
    for number, case in enumerate(("a", "b", "cut")):
        path = own_root / f"{case}.nii.gz"
        nib.save(image, path)
        row = {"case": case, "image": str(path), "mask": "", "window_low": 0, "window_high": 0}
        rows.append(row | {"channel": 1, "bytes": "1", "tumour_ml": float(number)})
    path.write_bytes(path.read_bytes()[:200])
    networks = loaded(gate=lambda grey: grey > 90)
    networks["liver"].path = file
    return Cohort(runs.Run("r"), networks, RULES, True), pd.DataFrame(rows)


def test_a_case_is_done_when_all_its_files_are_there_and_of_the_same_things(cohort):
    cohort, rows = cohort
    row = next(rows.itertuples())
    assert not cohort.is_done(row)
    assert cohort.segment(row) == "" and cohort.is_done(row)
    assert [file.is_file() for file in cohort.files_of(row)] == [True] * 4
    log = cohort.log("a")
    assert log["outcome"] == "ok" and log["gate_kept"] == 14 and log["sentence"].startswith("gate")
    cohort.files_of(row)[0].unlink()
    assert not cohort.is_done(row)
    cohort.segment(row)
    cohort.origin |= {"rules": "others"}
    assert not cohort.is_done(row)


def test_a_mask_that_was_changed_is_neither_done_nor_tried_again(cohort):
    """A watched folder would name it at every look."""
    cohort, rows = cohort
    row = next(rows.itertuples())
    cohort.segment(row)
    cohort.mask(row).write_bytes(b"corrected")
    assert not cohort.is_done(row) and cohort.is_tried(row) and "was changed" in cohort.segment(row)
    cohort.mask(row).unlink()
    assert not cohort.is_tried(row)


def test_a_scan_that_cannot_be_read_has_a_log_and_no_mask(cohort):
    cohort, rows = cohort
    row = list(rows.itertuples())[2]
    cohort.run_paths.predictions.mkdir(parents=True)
    cohort.run_paths.prediction("cut").write_bytes(gzip.compress(b"of other rules"))
    message = cohort.segment(row)
    assert "cut.nii.gz" in message and not cohort.is_done(row)
    log = cohort.log("cut")
    assert (log["case"], log["outcome"], log["sentence"]) == ("cut", "failed", message)
    assert cohort.is_tried(row) and not cohort.is_tried(row._replace(bytes="2"))
    assert not cohort.run_paths.prediction("cut").exists()


def test_the_example_is_the_readable_scan_with_most_tumour(cohort):
    cohort, rows = cohort
    row, volume = cohort.example(rows)
    assert row.case == "b" and volume.hu.shape == (20, 64, 64)
    with pytest.raises(ValueError, match="none of the 1 scans can be read; cut: .*cut.nii.gz"):
        cohort.example(rows[rows.case == "cut"])


def test_rules_are_taken_by_their_names():
    parameters = vars(Rules(min_lesion_ml=0.2)) | {"neck_widths_mm": [9.0], "run": "x"}
    rules = Rules.from_parameters(parameters)
    assert rules == Rules(min_lesion_ml=0.2, neck_widths_mm=(9.0,))
    del parameters["smooth_mm"]
    with pytest.raises(KeyError, match="smooth_mm"):
        Rules.from_parameters(parameters)


def test_the_log_keeps_only_decisions_that_it_knows_and_goes_into_json():
    log = CascadeLog(3, {"smooth_mm": 2.0}, [1.0] * 3, [1.0] * 3)
    with log:
        log.note("gate", gate_slices=[1, 3])
        with pytest.raises(TypeError, match="the log has no gate_slice$"):
            log.note("gate", gate_slice=[1, 3])
        raise FloatingPointError("whose")
    kept = json.loads(json.dumps(log.as_dict()))
    assert kept["gate_kept"] == 2 and kept["outcome"] == "not a number"
    assert kept["sentence"] == "gate kept 2 of 3 slices; not a number (whose)"
    assert kept["seconds"].keys() == {"gate", "all"} and kept["liver_slice_score"] == [0.0] * 3
