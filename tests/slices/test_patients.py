"""Scans of one patient are put together, whoever says so."""

import pandas as pd
import pytest

from helpers.slices import patients


def pairs(*rows):
    return pd.DataFrame(rows, columns=["case", "other", "kind"])


def test_groups_from_pattern_and_csv(tmp_path):
    assert patients.patient_groups(["p1-a", "p1-b", "x"], pattern=r"(p\d+)-") == {"p1-a": "p1", "p1-b": "p1", "x": "x"}
    file = tmp_path / "g.csv"
    file.write_text("case,group\nc0,p\n 007 , p\n")
    assert patients.patient_groups(["c0", "c1", "007"], file) == {"c0": "p", "c1": "c1", "007": "p"}
    file.write_text("name,group\nc0,p\n")
    with pytest.raises(ValueError, match="columns case and group"):
        patients.patient_groups(["c0"], file)
    file.write_text("case,group\nc0,p\nc0,q\n")
    with pytest.raises(ValueError, match="c0 into two groups"):
        patients.patient_groups(["c0"], file)
    with pytest.raises(ValueError, match="group in parentheses"):
        patients.patient_groups(["c0"], pattern="c")


def test_the_file_wins_over_the_pattern(tmp_path):
    (tmp_path / "g.csv").write_text("case,group\np1-b,other\n")
    groups = patients.patient_groups(["p1-a", "p1-b", "p2-a"], tmp_path / "g.csv", r"(p\d+)-")
    assert groups == {"p1-a": "p1", "p1-b": "other", "p2-a": "p2"}


def test_duplicates_join_patients_and_chains_of_them():
    names = ["a1", "a2", "b1", "c", "d", "e"]
    twice = pairs(("a2", "b1", "near-duplicate"), ("c", "b1", "duplicate-image"), ("d", "left", "duplicate-image"))
    groups = patients.patient_groups(names, pattern=r"([ab])\d", duplicate_pairs=twice)
    assert len({groups[name] for name in ("a1", "a2", "b1", "c")}) == 1
    assert groups["d"] == "d" and groups["e"] == "e"


def test_the_file_tells_near_duplicates_apart_but_not_the_same_voxels(tmp_path):
    (tmp_path / "g.csv").write_text("case,group\na,1\nb,2\nc,3\n")
    twice = pairs(("a", "b", "near-duplicate"), ("a", "c", "duplicate-image"), ("b", "d", "near-duplicate"))
    kept = patients.same_patient(twice, tmp_path / "g.csv")
    assert kept[["case", "other"]].to_numpy().tolist() == [["a", "c"], ["b", "d"]]
    assert len(patients.same_patient(twice)) == 3


def lits(names, spacing, layout="LiTS pairs"):
    columns = dict.fromkeys(("spacing_z_mm", "spacing_y_mm", "spacing_x_mm"), spacing)
    return pd.DataFrame({"case": names, "layout": layout} | columns)


@pytest.mark.parametrize("cases, block", [
    (lits(["volume-27", "volume-28", "volume-48", "volume-49"], 1.0), ["volume-28", "volume-48"]),
    (lits(["liver_30", "liver_31"], 1.0), ["liver_30", "liver_31"]),
    (lits(["volume-30", "volume-31"], float("nan"), "2-D slices"), ["volume-30", "volume-31"]),
    (lits(["volume-30", "volume-31"], 0.7), []),  # somebody else's scans, numbered like this
    (lits(["volume-0", "volume-48"], 1.0), []),  # one scan can't be on two sides
    (lits(["volume-30a", "scan_31"], 1.0), []),
])  # fmt: skip
def test_the_block_from_3d_ircadb(cases, block):
    assert patients.ircadb_block(cases) == block


@pytest.mark.parametrize(("listed", "cases", "meant"), [
    (["7", "8"], ["007", "008", "101"], {"7": "007", "8": "008"}),  # a spreadsheet took the zeros
    (["7.0", "101"], ["007", "101"], {"7.0": "007"}),
    (["volume-3.nii.gz"], ["volume-3", "volume-33"], {"volume-3.nii.gz": "volume-3"}),
    (["segmentation-3", "volume-4"], ["volume-3", "volume-4"], {"segmentation-3": "volume-3"}),
    (["scans/P_12", "p_13"], ["P_12", "P_13"], {"scans/P_12": "P_12", "p_13": "P_13"}),
    (["Müller 2", "x"], ["Müller_2", "x"], {"Müller 2": "Müller_2"}),
    (["livre_2", "liver_3"], ["liver_2", "liver_3"], {"livre_2": "liver_2"}),  # a slip
])
def test_a_list_that_means_cases_by_other_names_is_refused(tmp_path, listed, cases, meant):
    file = tmp_path / "g.csv"
    file.write_text("case,group\n" + "".join(f"{name},p\n" for name in listed), encoding="utf8")
    for read in (lambda: patients.patient_groups(cases, file), lambda: patients.read_test(file, cases)):
        with pytest.raises(ValueError, match="write them as cases.csv does") as raised:
            read()
        assert all(f"{name!r} (perhaps {case!r})" in str(raised.value) for name, case in meant.items()), raised.value
        assert f"{len(meant)} of its {len(listed)} names fit no case" in str(raised.value)


def test_a_list_of_more_cases_than_there_are_is_taken(tmp_path, capsys):
    file = tmp_path / "g.csv"
    file.write_text("case,group\n" + "".join(f"volume-{n},p{n // 2}\n" for n in range(131)))
    groups = patients.patient_groups(["volume-4", "volume-5", "mine"], file)
    assert groups == {"volume-4": "p2", "volume-5": "p2", "mine": "mine"}
    assert "129 of its cases aren't there" in capsys.readouterr().out
    with pytest.raises(ValueError, match="none of its 131 names is a case, 'volume-0' for one; a case here is 'mine'"):
        patients.patient_groups(["mine"], file)


@pytest.mark.parametrize("encoding", ["utf8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_lists_are_read_as_spreadsheets_save_them(tmp_path, encoding, between):
    file, text = tmp_path / "g.csv", f"case{between}group\r\nMüller{between}p\r\n007{between} p\r\n"
    file.write_bytes((b"\xff\xfe" if encoding == "utf-16-le" else b"") + text.encode(encoding))
    assert patients.patient_groups(["Müller", "007"], file) == {"Müller": "p", "007": "p"}


def test_a_list_that_is_no_table_is_named(tmp_path):
    for data in (b"", b"case,group\n\"a,b\n"):
        (tmp_path / "g.csv").write_bytes(data)
        with pytest.raises(ValueError, match=r"g\.csv"):
            patients.patient_groups(["a"], tmp_path / "g.csv")
