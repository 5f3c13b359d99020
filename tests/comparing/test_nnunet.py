"""nnU-Net beside ours: only where nnunetv2 is installed."""

import numpy as np
import pytest

from helpers.comparing import nnunet


def test_nnunets_predictor_writes_a_mask(tmp_path):
    pytest.importorskip("nnunetv2")
    nib = pytest.importorskip("nibabel")
    scan = nib.Nifti1Image(np.zeros((64, 64, 3), np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    nib.save(scan, tmp_path / "scan.nii.gz")
    nnunet.predict_untrained(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz", mirror=False)
    assert nib.load(tmp_path / "mask.nii.gz").shape == (64, 64, 3)
