"""Saved states: whole or not at all, the newest sound one is used, damage and a disk that takes no
more are named.
"""

import errno
import os

import pytest
import torch

from helpers import runs
from helpers.learning import checkpoints


def steps_in(folder):
    return [checkpoints.step_of(path) for path in checkpoints.newest_first(folder)]


def test_what_was_written_is_read(tmp_path):
    content = {"a": torch.arange(3), "b": [1, (2.5, "three")], "c": {"d": None, "e": True}}
    checkpoints.write(tmp_path, 7, content)
    got, notes = checkpoints.read_newest(tmp_path)
    assert torch.equal(got.pop("a"), content.pop("a")) and got == content and not notes


def test_only_three_generations_are_kept(tmp_path):
    for step in range(6):
        checkpoints.write(tmp_path, step, {"step": step})
    assert [checkpoints.read(p)["step"] for p in checkpoints.newest_first(tmp_path)] == [5, 4, 3]


def test_nothing_written_is_a_start():
    assert checkpoints.read_newest("no/such/folder") == (None, [])


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
def test_damaged_newest_is_named_and_the_one_before_used(tmp_path, harm):
    for step in (1, 2, 3):
        checkpoints.write(tmp_path, step, {"step": step})
    newest = checkpoints.newest_first(tmp_path)[0]
    data = newest.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    newest.write_bytes({"cut": data[:-1], "flipped": bytes(flipped), "empty": b"", "foreign": b"x" * 5000}[harm])
    content, notes = checkpoints.read_newest(tmp_path)
    assert content == {"step": 2}
    assert len(notes) == 1 and newest.name in notes[0] and "is damaged" in notes[0] and "the generation before" in notes[0]


def test_damaged_newer_ones_do_not_push_sound_ones_out(tmp_path):
    for step in (10, 20, 30):
        checkpoints.write(tmp_path, step, {"step": step})
    for path in checkpoints.newest_first(tmp_path)[:2]:
        path.write_bytes(b"")
    assert checkpoints.read_newest(tmp_path)[0] == {"step": 10}
    checkpoints.write(tmp_path, 15, {"step": 15})
    assert steps_in(tmp_path) == [15, 10]


def test_all_damaged_is_an_error_that_names_every_file(tmp_path):
    for step in (1, 2):
        checkpoints.write(tmp_path, step, {"step": step})
    for path in checkpoints.newest_first(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match="all generations are damaged") as error:
        checkpoints.read_newest(tmp_path)
    assert "generation-00000001.pt" in str(error.value) and "generation-00000002.pt" in str(error.value)
    assert steps_in(tmp_path) == [2, 1]


def test_code_in_a_generation_is_not_run(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "proof of evil"),)

    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda _: [])
        checkpoints.write(tmp_path, 1, {"evil": Evil()})
    with pytest.raises(RuntimeError, match="can't read it"):
        checkpoints.read_newest(tmp_path)
    assert not (tmp_path / "proof of evil").exists()


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="not torch.torch_version.TorchVersion"):
        checkpoints.write(tmp_path, 1, {"torch": torch.__version__})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_earlier_ones(tmp_path, monkeypatch, call):
    checkpoints.write(tmp_path, 1, {"step": 1})

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs.os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(tmp_path, 2, {"step": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["generation-00000001.pt"]
    assert checkpoints.read_newest(tmp_path)[0] == {"step": 1}
