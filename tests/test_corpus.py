"""Over a hundred kinds of bad input beside good ones: each is named with what to do, and costs no other its result."""

import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import command
from corpus import KINDS, folder_of, made
from known_networks import loaded
from situations import SITUATIONS, can_mount, half_files, refused

from helpers import predict, runs
from helpers.cascade import weights
from helpers.files import sha256
from helpers.intake import case_table
from helpers.scans.findings import FINDINGS


def hashes(folder):
    """dict of every file, links not followed, -> its bytes' digest, or where it leads."""
    digests = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            link = os.path.islink(path)
            digests[path] = os.readlink(path) if link else sha256(path) if os.path.isfile(path) else "no file"
    return digests


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(folder of scans, dict kind -> path for predict)."""
    root = tmp_path_factory.mktemp("corpus")
    return root / "scans", made(root / "scans")


@pytest.fixture(scope="module")
def taken_in(corpus, tmp_path_factory):
    """01 and 02 over all of it: (finished process, cases.csv, root of the run)."""
    root, before = tmp_path_factory.mktemp("taken_in"), hashes(corpus[0])
    settings = ["val_share=0.2", "test_share=0.2", "chunk_slices=64"]
    words = ["--run", "all", "--data", corpus[0], "--only", "01,02", "--set", *settings]
    done = command(root, "helpers.run", *words, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert hashes(corpus[0]) == before  # the originals are never touched
    return done, case_table.read_table(root / "data_lists" / "all" / "cases.csv"), root


def rows_of(table, scans, kind):
    return table[table.image.str.startswith(f"{folder_of(scans, kind)}/")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_intake_says_what_it_is(corpus, taken_in, kind):
    done, table, _ = taken_in
    rows = rows_of(table, corpus[0], kind)
    assert len(rows) == kind.cases, rows.image.tolist()
    if not kind.cases:
        assert kind.code in done.stdout
    for row in rows.itertuples():
        assert row.verdict == kind.verdict, row.reason
        if kind.code:
            assert kind.code in row.findings.split() and FINDINGS[kind.code][1] in row.reason, row.reason
            assert FINDINGS[kind.code][2] in row.to_do
    if kind.verdict == "quarantined":  # the terminal names the file, and says what to do
        line = next(line for line in done.stdout.splitlines() if f"/{kind.name}/" in line)
        assert FINDINGS[kind.code][2] in line


def test_good_cases_finish_and_bad_ones_stay_out(corpus, taken_in):
    _, table, root = taken_in
    lists, stores = root / "data_lists" / "all", root / "data" / "stores" / "all"
    listed = pd.concat([pd.read_csv(path, dtype=str) for path in lists.glob("*.csv") if path.name[:3] in ("tra", "val", "tes")])
    listed, stored = set(listed.case), {path.stem for path in (stores / "liver").glob("*.json")}
    good = table[table.image.str.contains("/sound/")]
    assert good.verdict.tolist() == ["ok"] * 6 and set(good.case) <= listed <= stored
    assert not (set(table.case[table.verdict == "quarantined"]) & (listed | stored))
    assert not half_files(root)


@pytest.fixture
def known(monkeypatch, tmp_path):
    """A run "known" whose networks answer by grey values, and an empty working folder."""
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    (tmp_path / "checkpoints" / "known").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    monkeypatch.chdir(tmp_path / "beside")
    monkeypatch.setattr(weights, "load_networks", lambda *_: loaded(gate=lambda g: g > 90))
    return tmp_path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_predict_names_the_file_or_writes_it_whole(corpus, taken_in, known, kind):
    path = corpus[1][kind.name]
    row = next(rows_of(taken_in[1], corpus[0], kind).itertuples(), None)
    code, message = refused(predict.main, [path, "--run", "known"])
    assert code == kind.predicts, message
    written = list((known / "beside").iterdir())
    if code:
        assert not written and path.name in message and "Traceback" not in message
        assert code == 2 or kind.code not in FINDINGS or FINDINGS[kind.code][2] in message, message
        if code == 1 and row:  # 01 says the same, and what it thinks of the mask
            reason, to_do = message.splitlines()[-1].removeprefix(f"helpers.predict: {path}: ").split("; what to do: ")
            assert row.verdict == "quarantined" and f"{row.reason}; ".startswith(f"{reason}; ")
            assert f"{row.to_do}; ".startswith(f"{to_do}; ")
    else:
        (mask,) = written
        assert ".part." not in mask.name
        if mask.name.endswith(".nii.gz") and path.is_file():
            assert np.asarray(nib.load(mask).dataobj).max() <= 2


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda function: function.__name__)
def test_situation(known, situation):
    if situation.needs_mount and not can_mount(known):
        pytest.skip("this user may not mount a disk")
    codes, text, held = situation(known)
    assert held, f"{codes}: {text}"
