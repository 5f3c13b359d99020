"""However a header or a tag is changed: no traceback, no hang, and never other voxels than nibabel and pydicom read."""

import pytest
from header_fuzz import fuzz

from helpers.scans import dicom, nifti


@pytest.mark.parametrize("seed", range(2))
def test_changed_headers_are_read_as_others_read_them_or_refused(tmp_path, seed):
    verdicts, faults = fuzz(500, seed, tmp_path)
    assert faults == []
    for kind in ("NIfTI", "DICOM"):
        assert verdicts[kind, "quarantined"] > 10 and verdicts[kind, "ok"] > 50


def test_readers_that_are_wrong_are_found_out(tmp_path, monkeypatch):
    to_hu = dicom.to_hu
    monkeypatch.setattr(nifti, "_scaled", lambda array, header: array[::-1])
    monkeypatch.setattr(dicom, "to_hu", lambda *given: to_hu(*given) + 1)
    _, faults = fuzz(20, 0, tmp_path)
    assert {fault.split()[0] for fault in faults if "other voxels" in fault} == {"NIfTI", "DICOM"}
