"""What a thing was made of: the same, another, damaged, and in words what differs."""

import os

import pytest

from helpers import files, origins


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": (1, 2), "a": 1}, []),  # the order means nothing, a tuple is a list in JSON
        ({"a": 1}, {"a": 2}, ["a"]),
        ({}, {"a": None}, ["a"]),  # never noted is not the same as noted as nothing
        ({"gone": 1, "also": 1}, {"b": 2}, ["b", "also", "gone"]),
        ({"a": {"b": [1.0]}}, {"a": {"b": (1.5,)}}, ["a"]),
    ],
)
def test_names_that_differ(old, new, names):
    assert origins.differing(old, new) == names
    assert len(origins.differences(old, new)) == len(names)


def test_differences_in_words():
    assert origins.differences({"size": 1, "windows": [[0, 1]]}, {"size": 2, "windows": ((0, 3),)}) == [
        "size was 1, is 2", "windows was [[0, 1]], is [[0, 3]]"]  # fmt: skip


def test_a_record_is_current_while_its_values_and_files_are(tmp_path):
    record, mask = tmp_path / "log.json", tmp_path / "mask.nii"
    assert not origins.is_current(record, {})
    files.write_json(record, {"bytes": "ab", "rules": [1, 2], "more": "text"})
    assert origins.is_current(record, {"bytes": "ab", "rules": (1, 2)})
    assert not origins.is_current(record, {"bytes": "ab", "rules": (1, 2)}, [mask])
    mask.touch()
    assert origins.is_current(record, {"bytes": "ab", "rules": (1, 2)}, [mask])
    for other in ({"bytes": "cd"}, {"weights": "x"}, {"weights": None}):
        assert not origins.is_current(record, other)


@pytest.mark.parametrize("content", ["", "[]", '{"bytes": "a', "\0"])
def test_a_damaged_record_is_current_for_nothing(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    assert files.recorded(tmp_path / "r.json") == {}
    assert not origins.is_current(tmp_path / "r.json", {"bytes": "a"})


def test_what_is_remembered_is_made_once_for_the_same_things(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"score": len(calls)}

    for made_of, score in (({"w": "a"}, 1), ({"w": "a"}, 1), ({"w": "b"}, 2), ({"w": "b", "scans": ["c"]}, 3), ({"w": "a"}, 4)):
        assert origins.remembered(tmp_path / "s.json", made_of, make) == {"score": score}
    (tmp_path / "s.json").write_text("{")
    assert origins.remembered(tmp_path / "s.json", {"w": "a"}, make) == {"score": 5}


def test_signatures_of_small_files_are_of_their_bytes_and_of_large_ones_of_size_and_time(tmp_path):
    small, large = tmp_path / "a.csv", tmp_path / "b.nii"
    small.write_text("a")
    large.write_bytes(bytes(origins.HASHED_BYTES))
    before = origins.signature(small), origins.signature(large)
    for file in (small, large):
        os.utime(file, (1, 1))
    assert origins.signature(small) == before[0] and origins.signature(large) != before[1]
    assert origins.signature(tmp_path / "none") == "missing"


def test_changes_of_a_folder_name_its_files_and_end_after_four(tmp_path):
    for k in range(6):
        (tmp_path / f"{k}.nii").write_text("a")
    before = origins.signature(tmp_path)
    (tmp_path / "0.nii").unlink()
    (tmp_path / "1.nii").write_text("bb")
    (tmp_path / "6.nii").write_text("a")
    after = origins.signature(tmp_path)
    assert origins.changes("scans", before, after) == ["scans/0.nii is gone", "scans/1.nii has changed", "scans/6.nii is new"]
    assert origins.changes("scans", before, before) == []
    assert origins.changes("scans", "missing", after) == ["scans has changed"]
    assert origins.changes("scans", before, {})[-1] == "… and 2 more"
