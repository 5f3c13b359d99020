"""nnU-Net beside ours: only where nnunetv2 is installed."""

import numpy as np
import pytest

from helpers import ct, nnunet


def test_a_file_in_our_axes_holds_the_same_array_turned():
    nib = pytest.importorskip("nibabel")
    hu = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    own = ct.from_array(hu.transpose(2, 1, 0)[::-1], np.diag([0.5, -1.0, 2.0, 1.0]))  # a file whose x runs the other way
    plain = nnunet.in_our_axes(own)
    assert plain.spacing_mm == (2.0, 1.0, 0.5) and nib.aff2axcodes(plain.affine) == ("L", "P", "S")
    assert np.array_equal(ct.to_file_axes(plain.hu, plain.affine), own.hu.transpose(2, 1, 0))


def test_nnunets_predictor_writes_a_mask(tmp_path):
    pytest.importorskip("nnunetv2")
    nib = pytest.importorskip("nibabel")
    scan = nib.Nifti1Image(np.zeros((64, 64, 3), np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    nib.save(scan, tmp_path / "scan.nii.gz")
    nnunet.predict_untrained(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz", mirror=False)
    assert nib.load(tmp_path / "mask.nii.gz").shape == (64, 64, 3)
