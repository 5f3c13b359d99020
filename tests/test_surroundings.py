"""The world around the files: terminals, disks, processors, other Pythons. It works, or says what it is in time."""

import errno
import json
import os
import signal
import subprocess
import sys

import nbformat
import nibabel as nib
import numpy as np
import pytest

from helpers import files, jobs, predict, processes, run, runs, score
from helpers.scans.volume import is_own_mask


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_any_letter_is_printed_whatever_the_encoding(tmp_path, encoding):
    code = "from helpers import processes; processes.print_any_letter(); print('── 肝 Größe'); import sys; print('→', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0 and b"\\u2500\\u2500" in done.stdout and b"\\u2192" in done.stderr, done


@pytest.mark.parametrize("module", ["run", "predict", "score"])
def test_every_command_can_print_its_errors_in_ascii(tmp_path, module):
    words = ["--data", "Größe肝"] if module == "run" else ["Größe肝", "Größe肝"][: 2 if module == "score" else 1]
    env = os.environ | {"PYTHONIOENCODING": "ascii", "CASCADE_LIVER_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", f"helpers.{module}", *words], env=env, cwd=tmp_path, capture_output=True)
    assert done.returncode in (1, 2) and b"no such f" in done.stderr and b"Traceback" not in done.stderr, done.stderr


def deny(*numbers, error=PermissionError, code=errno.EACCES):
    """os.replace or os.fsync that is denied the first so many times."""
    left = list(numbers)

    def denied(real):
        def call(*words):
            if left and left.pop():
                raise error(code, os.strerror(code))
            return real(*words)

        return call

    return denied


@pytest.mark.parametrize("times", [1, 3])
def test_a_rename_that_is_denied_for_a_moment_is_done_then(tmp_path, monkeypatch, times):
    monkeypatch.setattr(os, "replace", deny(*[1] * times)(os.replace))
    files.write_text(tmp_path / "mask.txt", "whole")
    assert (tmp_path / "mask.txt").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_a_rename_that_stays_denied_is_named_and_leaves_nothing_half(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    monkeypatch.setattr(os, "replace", deny(*[1] * 99)(os.replace))
    with pytest.raises(PermissionError, match=r"mask\.txt"):
        files.write_text(tmp_path / "mask.txt", "whole")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_cannot_flush_gets_its_file(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", deny(1, 1, 1, error=OSError, code=code)(os.fsync))
    files.write_text(tmp_path / "mask.txt", "whole")
    assert (tmp_path / "mask.txt").read_text() == "whole"


def test_a_folder_that_cannot_be_opened_or_flushed_is_no_fault_of_the_file(tmp_path, monkeypatch):
    flush = files._flush

    def denied(path, mode):
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        flush(path, mode)

    monkeypatch.setattr(files, "_flush", denied)
    files.write_text(tmp_path / "mask.txt", "whole")
    assert (tmp_path / "mask.txt").read_text() == "whole"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_is_full_or_broken_is_still_named(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", deny(1, error=OSError, code=code)(os.fsync))
    with pytest.raises(OSError, match=r"mask\.txt"):
        files.write_text(tmp_path / "mask.txt", "whole")
    assert not list(tmp_path.iterdir())


def test_cores_are_those_that_may_be_used(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(processes, "CGROUP", (tmp_path / "none",))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert processes.cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert processes.cores() == 64
    for text, expected in (("150000 100000\n", 2), ("max 100000\n", 64), ("50000 100000", 1), ("", 64)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(processes, "CGROUP", (tmp_path / "cpu.max",))
        assert processes.cores() == expected
    (tmp_path / "cpu.cfs_quota_us").write_text("400000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(processes, "CGROUP", (tmp_path / "none", tmp_path / "cpu.cfs_quota_us"))
    assert processes.cores() == 4
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert processes.cores() == 64
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processes.cores() == 64


def scan_at(folder):
    hu = np.full((20, 20, 8), -1000, np.int16)
    hu[4:16, 4:16] = 100 + np.arange(8)
    nib.save(nib.Nifti1Image(hu, np.diag([-2.0, -2.0, 5.0, 1.0])), folder / "volume-1.nii.gz")
    return folder / "volume-1.nii.gz"


@pytest.mark.parametrize("where", ["/proc/mask.nii.gz", "{}/volume-1.nii.gz/mask.nii.gz", "{}/volume-1.nii.gz/a/b/mask.nii.gz"])
def test_predict_learns_first_whether_it_may_write(own_root, capsys, monkeypatch, where):
    (own_root / "checkpoints" / "known").mkdir(parents=True)
    monkeypatch.setattr(predict, "loaded", lambda *_: pytest.fail("the work began"))
    out = where.format(own_root)
    assert predict.main([str(scan_at(own_root)), "--run", "known", "-o", out]) == predict.FAILED
    message = capsys.readouterr().err
    assert "mask.nii.gz" in message and "choose another folder" in message and message.count("\n") == 1


def test_score_learns_first_whether_it_may_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(score.run_scores, "score_all", lambda *_: pytest.fail("the work began"))
    scan_at(tmp_path)
    assert score.main([str(tmp_path), str(tmp_path), "-o", "/proc/scores"]) == score.FAILED
    assert "/proc/scores" in capsys.readouterr().err


def test_run_learns_first_whether_it_may_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", runs.Path("/proc"))
    monkeypatch.setattr(run, "carried_out", lambda *_: pytest.fail("the work began"))
    scan_at(tmp_path)
    assert run.main(["--data", str(tmp_path), "--only", "01"]) == run.FAILED
    assert "/proc" in (message := capsys.readouterr().err) and "choose another folder" in message


def test_to_ask_whether_one_may_write_leaves_nothing(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "mask.nii.gz")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs a notebook of one cell: function (code) -> what is printed of its end, "" for a good one."""
    monkeypatch.setattr(runs, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(runs, "ROOT", tmp_path / "root")
    # a kernel of another Python, in which nothing of ours is installed
    spec = {"argv": ["/usr/bin/false", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def execute(code):
        parameters = nbformat.v4.new_code_cell("seed = 1", metadata={"tags": ["parameters"]})
        page = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
        page.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        nbformat.write(page, tmp_path / "01_one.ipynb")
        error, _ = jobs.executed(jobs.Job("01_one", {"seed": 2}), runs.Run("r"), tmp_path / "out.ipynb")
        return jobs.told(error) if error else ""

    return execute


def test_notebooks_run_on_the_python_that_asks_for_them(notebook, tmp_path):
    assert notebook(f"import sys; assert sys.executable == {sys.executable!r}; import helpers") == ""


@pytest.mark.parametrize(("code", "message"), [
    (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "most often for want of memory"),
    (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", r"crashed within a library \(SIGSEGV\)"),
    ("import os; os._exit(3)", "exit code 3"),
])
def test_how_a_kernel_ended_is_said(notebook, code, message):
    import re

    assert re.search(message, notebook(code))


def test_a_foreign_mask_is_told_by_the_same_reader(tmp_path):
    header = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).header
    header["descrip"], header["magic"], header["vox_offset"], header["pixdim"][0] = b"Cascade Liver CT", b"n+1", 352, 0
    (tmp_path / "own.nii").write_bytes(header.binaryblock + bytes(4 + 8))
    header["descrip"] = b"another"
    (tmp_path / "other.nii").write_bytes(header.binaryblock + bytes(4 + 8))
    (tmp_path / "none.nii").write_bytes(b"")
    assert [is_own_mask(tmp_path / f"{name}.nii") for name in ("own", "other", "none", "gone")] == [True, False, False, False]
