"""What several test files need: runs in folders of their own, and a small run on phantoms that is made once."""

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from known_networks import scan  # noqa: F401 (a fixture)

from helpers import runs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = [
    "phantom_cases=6", "phantom_size=64", "val_share=0.2", "test_share=0.2", "chunk_slices=64",
    "epochs=1", "width=4", "validations=2", "min_liver_ml=0.0",
]  # fmt: skip


def command(root, module, *words, **more):
    """Call `python -m module words` as a user does, with runs below `root`; returns the finished process."""
    env = os.environ | {"CASCADE_LIVER_ROOT": str(root)}
    return subprocess.run([sys.executable, "-m", module, *map(str, words)], env=env, capture_output=True, text=True, **more)


@pytest.fixture
def own_root(tmp_path, monkeypatch):
    """Runs of this test are written below tmp_path."""
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, worker_id):
    """A folder in which `helpers.run` has taken the run "tiny" through all notebooks, and what it printed.

    Made once for all workers of pytest-xdist: the first to come makes it, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "tiny"
    printed = root / "printed.txt"
    with filelock.FileLock(root.with_suffix(".lock")):
        if not printed.is_file():
            done = command(root, "helpers.run", "--run", "tiny", "--set", *TINY)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
            printed.write_text(done.stdout, encoding="utf8")
    return root, printed.read_text(encoding="utf8")


@pytest.fixture
def tiny_run(tiny, monkeypatch):
    """Run of the tiny run, for tests that read what it wrote."""
    monkeypatch.setattr(runs, "ROOT", tiny[0])
    return runs.Run("tiny")
