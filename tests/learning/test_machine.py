"""What a card says about where a result was made."""

import json

from helpers import runs
from helpers.learning import sittings


def test_description_is_plain_and_names_what_matters():
    told = sittings.described()
    assert json.loads(json.dumps(told)) == told and {type(value) for value in told.values()} <= {str, int}
    assert {"python", "torch", "numpy", "helpers", "commit", "processor", "threads"} <= told.keys()
    assert "cores" in told["processor"]


def test_no_git_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "HERE", tmp_path)
    assert sittings.commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sittings.commit() == ""
