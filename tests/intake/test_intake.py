"""An intake that is killed goes on where it was; one that is run again reads only what changed."""

import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from helpers import runs
from helpers.intake import case_records, quality_control
from helpers.scans.folder import cases_in

AFFINE = np.diag([-2.0, -1.0, 5.0, 1.0])
SCRIPT = """
import sys
from pathlib import Path
from helpers import case_table, files, folder, quality_control

if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:])
    rows, _, _ = quality_control.examine_all(folder.cases_in(data), workers=2, folder=out / "intake")
    files.write_csv(out / "cases.csv", case_table.table(rows))
"""


def make_case(folder, number, size=30):
    rng = np.random.default_rng(number)
    hu, labels = np.full((size, 24, 10), -1000, np.int16), np.zeros((size, 24, 10), np.uint8)
    hu[4:26, 4:20] = 100 + rng.integers(-9, 10, (22, 16, 10))
    labels[6:16, 6 : 12 + number % 4, 2:8] = 1
    labels[8:10, 8:10, 3:5] = 2
    nib.save(nib.Nifti1Image(hu, AFFINE), folder / f"volume-{number}.nii.gz")
    nib.save(nib.Nifti1Image(labels, AFFINE), folder / f"segmentation-{number}.nii.gz")


@pytest.fixture
def scans(own_root):
    folder = own_root / "scans"
    folder.mkdir()
    for number in range(3):
        make_case(folder, number)
    return folder


@pytest.fixture
def examined(monkeypatch):
    """The names of the cases that were really examined since."""
    names, examine = [], quality_control.examine
    monkeypatch.setattr(quality_control, "examine", lambda case, **how: names.append(case.name) or examine(case, **how))
    return names


def look(scans, **how):
    return quality_control.examine_all(cases_in(scans), workers=1, folder=scans.parent / "intake", **how)


def test_nothing_is_examined_twice_and_the_answer_is_the_same(scans, examined):
    first = look(scans)
    assert examined == ["volume-0", "volume-1", "volume-2"]
    assert look(scans) == first and len(examined) == 3
    assert quality_control.examine_all(cases_in(scans), workers=1) == first  # nor does keeping change anything


def test_a_scan_replaced_under_its_name_is_read_again(scans, examined):
    """The other scan has the same size, and its time of modification is set back to that of the first: only ctime tells."""
    look(scans)
    del examined[:]
    victim = scans / "segmentation-1.nii.gz"
    was, data = victim.stat(), bytearray(victim.read_bytes())
    data[-12] ^= 255  # of the same length
    victim.write_bytes(bytes(data))
    os.utime(victim, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (victim.stat().st_size, victim.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    rows, *_ = look(scans)
    assert examined == ["volume-1"] and rows[1]["verdict"] == "quarantined"


def test_a_scan_that_was_only_copied_is_hashed_not_examined(scans, examined):
    first = look(scans)
    shutil.copy(scans / "volume-2.nii.gz", scans / "beside")
    os.replace(scans / "beside", scans / "volume-2.nii.gz")
    del examined[:]
    assert look(scans) == first and examined == []
    how = {"window": (-40, 160), "channel": 1, "tumour_unknown": False, "flip": "", "mask_flip": ""}
    settings = quality_control._settings(cases_in(scans)[1], how)
    noted = case_records.recall(scans.parent / "intake", cases_in(scans)[2], settings)
    assert noted  # the new signature, so that it isn't hashed the next time


def test_settings_and_files_that_come_and_go_count(scans, examined):
    look(scans)
    del examined[:]
    look(scans, flips={"volume-0": "x"})
    assert examined == ["volume-0"]
    (scans / "segmentation-2.nii.gz").unlink()
    rows, *_ = look(scans)
    assert examined == ["volume-0", "volume-0", "volume-2"] and "no-labels" in rows[2]["findings"]
    look(scans, window=(-100, 200))
    assert len(examined) == 6


def test_a_damaged_record_is_made_again(scans, examined):
    first = look(scans)
    record = scans.parent / "intake" / "volume-0.json"
    for wrong in ("", "[]", record.read_text()[:-40]):
        record.write_text(wrong)
        assert look(scans) == first
    assert examined[3:] == ["volume-0"] * 3


def test_fingerprint_changes_with_the_bytes_of_either_file_and_with_how_they_are_read(scans):
    case = cases_in(scans)[0]
    fingerprints = {case_records.fingerprint(case, []), case_records.fingerprint(case, ["x"])}
    make_case(scans, 0, size=31)
    fingerprints.add(case_records.fingerprint(case, []))
    case.mask.unlink()
    assert len({*fingerprints, case_records.fingerprint(case, [])}) == 4


def test_killed_and_resumed_writes_the_same_table_byte_for_byte(scans, tmp_path):
    """SIGKILL after the first case is kept; then the same command again, beside one that nobody touched."""
    for number in range(3, 10):
        make_case(scans, number)
    (scans / "volume-4.nii.gz").write_bytes(b"")
    (scans / "segmentation-5.nii.gz").unlink()
    script = tmp_path / "look.py"
    script.write_text(SCRIPT)

    def start(out):
        env = os.environ | {"CASCADE_LIVER_ROOT": str(runs.ROOT)}
        return subprocess.Popen([sys.executable, script, scans, out], env=env, stderr=subprocess.DEVNULL)

    killed = start(tmp_path / "a")
    while not (kept := list((tmp_path / "a" / "intake").glob("volume-*.json"))) and killed.poll() is None:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert 0 < len(kept) < 10 and not (tmp_path / "a" / "cases.csv").exists()
    again, whole = start(tmp_path / "a"), start(tmp_path / "b")
    assert (again.wait(), whole.wait()) == (0, 0)
    assert (tmp_path / "a" / "cases.csv").read_bytes() == (tmp_path / "b" / "cases.csv").read_bytes()
    assert b"killed" not in (tmp_path / "b" / "cases.csv").read_bytes()


def killing(item, folder):
    """Stands in for `quality_control._looked_at` in a worker: one case is too much for the machine."""
    case, how = item
    if case.name == "volume-1":
        os.kill(os.getpid(), signal.SIGKILL)
    return quality_control.examine(case, **how)


def test_a_worker_that_dies_costs_its_case_only(scans, monkeypatch):
    monkeypatch.setattr(quality_control, "_looked_at", killing)
    rows, *_ = quality_control.examine_all(cases_in(scans), workers=2)
    assert [row["verdict"] for row in rows] == ["ok", "quarantined", "ok"]
    assert rows[1]["findings"] == "killed" and "killed the worker: it ended its process (SIGKILL)" in rows[1]["reason"]
    assert "memory" in rows[1]["to_do"]


def test_a_cluster_finds_what_this_process_finds(scans):
    distributed = pytest.importorskip("distributed")
    (scans / "volume-1.nii.gz").write_bytes(b"no scan")
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with distributed.LocalCluster(**one, dashboard_address=None) as cluster:
        found = quality_control.examine_all(cases_in(scans), scheduler=cluster.scheduler_address)
    assert found == quality_control.examine_all(cases_in(scans), workers=1)
    assert [row["verdict"] for row in found[0]] == ["ok", "quarantined", "ok"]


def test_cases_that_are_not_asked_for_are_neither_read_nor_judged(scans, examined):
    (scans / "volume-2.nii.gz").write_bytes(b"no scan")
    rows, histograms, lesions = look(scans, only="volume-0, VOLUME-1*", flips={"volume-2": "y"})  # a flip of one left aside
    assert [row["case"] for row in rows] == ["volume-0", "volume-1"] == examined and {row["verdict"] for row in rows} == {"ok"}
    assert {row["case"] for row in (*histograms, *lesions)} == {"volume-0", "volume-1"}
    assert [row["case"] for row in look(scans, only=["volume-[12]"])[0]] == ["volume-1", "volume-2"]
    assert examined == ["volume-0", "volume-1", "volume-2"]  # what was found out before is kept
    with pytest.raises(ValueError, match=r"none is called 'volume-02' \(perhaps 'volume-2'\), 'p\*'; there are volume-0, volume-1, "):
        look(scans, only="volume-02,volume-1,p*")
