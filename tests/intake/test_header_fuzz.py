"""However a header is changed: no traceback, and never other voxels than nibabel reads."""

import logging

import pytest
from header_fuzz import fuzz


@pytest.mark.parametrize("seed", range(2))
def test_changed_headers_are_read_as_nibabel_reads_them_or_refused(tmp_path, seed):
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    verdicts, faults = fuzz(150, seed, tmp_path)
    assert faults == [] and verdicts["quarantined"] > 10 and verdicts["ok"] > 50
