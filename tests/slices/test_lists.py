"""Chunks that are balanced, and an audit that sees what is wrong with the lists as written."""

import numpy as np
import pandas as pd
import pytest

from helpers.slices import lists


def slices_of(**kinds_by_case):
    rows = []
    for case, kinds in kinds_by_case.items():
        z = 0
        for kind, count in kinds.items():
            for _ in range(count):
                rows.append((case, z, int(kind != "empty") * 50, int(kind == "tumour") * 5, kind))
                z += 1
    return pd.DataFrame(rows, columns=["case", "z", "liver_px", "tumour_px", "kind"])


def test_selection_keeps_all_liver_and_the_stated_share_of_empty():
    slices = slices_of(a={"tumour": 10, "liver": 50, "empty": 100}, b={"liver": 60, "empty": 100})
    kept = lists.select(slices, 0.25, 1)
    assert (kept.kind != "empty").sum() == 120 and (kept.kind == "empty").sum() == 40


def test_chunks_are_balanced_cover_everything_and_mix_patients():
    slices = slices_of(a={"tumour": 30, "liver": 90}, b={"tumour": 10, "liver": 30}, c={"liver": 60})
    dealt = lists.chunks(slices, 40, 1)
    for chunk in dealt:
        assert len(chunk) == 40 and (chunk.kind == "tumour").sum() == 20
        healthy = chunk[chunk.kind == "liver"].case.value_counts()
        assert abs(healthy["a"] - 10) <= 1 and abs(healthy["b"] - 3.3) <= 1.4 and abs(healthy["c"] - 6.7) <= 1.4
    drawn = pd.concat(dealt).drop_duplicates(["case", "z"])
    assert len(drawn) == len(slices)


def test_chunks_without_any_tumour():
    dealt = lists.chunks(slices_of(a={"liver": 30}), 10, 1)
    assert len(dealt) == 3 and all(len(chunk) == 10 for chunk in dealt)


def test_balanced_validation():
    slices = slices_of(a={"tumour": 8, "liver": 80}, b={"tumour": 4, "liver": 40})
    for most, counted in ((10, (5, 5)), (40, (12, 28)), (400, (12, 120))):
        assert lists.balanced(slices, 1, most).kind.value_counts().reindex(["tumour", "liver"]).to_list() == list(counted)
    few_healthy = slices_of(a={"tumour": 80, "liver": 5})
    assert lists.balanced(few_healthy, 1, 40).kind.value_counts().to_dict() == {"tumour": 35, "liver": 5}


def test_patients_without_tumour_validate_too():
    slices = slices_of(a={"tumour": 2, "liver": 60}, b={"liver": 60}, c={"liver": 60})
    assert lists.balanced(slices, 1, 100).case.value_counts().min() > 25


class Shelf:
    """Stands for a store of cases with so many slices each, the first being the scan's slice `first`."""

    def __init__(self, lengths, first=0):
        self.lengths, self.first = lengths, first

    def mask(self, case):
        if case not in self.lengths:
            raise FileNotFoundError(case)
        return np.zeros((self.lengths[case], 1, 1), np.uint8)

    def first_z(self, case):
        return len(self.mask(case)) and self.first


SPLIT = "case,group,split,fold\n001,p,train,\nb,q,val,\nc,r,test,\n"


@pytest.fixture
def written(tmp_path):
    """Lists of three cases as 02 writes them; case 001 trains, b validates, c tests."""
    slices = slices_of(**{"001": {"tumour": 2, "empty": 2}, "b": {"liver": 3}, "c": {"tumour": 1, "liver": 4}})
    (tmp_path / "split.csv").write_text(SPLIT)
    for name, case in (("train_chunk_01", "001"), ("val", "b"), ("test", "c")):
        slices[slices.case == case].to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


CASES = pd.DataFrame({"case": ["001", "b", "c"], "slices": [4, 3, 5], "tumour_slices": [2, 0, 1], "lesions": [1, 0, 3],
                      "tumour_ml": [7.04, 0.0, 2.0]})  # fmt: skip
PAIR = pd.DataFrame([("c", "001", "near-duplicate")], columns=["case", "other", "kind"])


def audited(folder, duplicate_pairs=None, liver=None, tumour=None):
    shelves = {"liver": liver or Shelf({"001": 4, "b": 3, "c": 5}), "tumour": tumour or Shelf({"001": 2, "b": 3, "c": 5})}
    return lists.audit(folder, CASES, shelves, duplicate_pairs)


def test_sound_lists_pass_and_each_side_is_counted(written):
    table, wrong, known = audited(written)
    assert wrong == [] and known == ["no val case shows tumour"]
    columns = ["split", "patients", "cases", "tumour_free", "slices", "tumour_slices", "tumour_ml", "lesions"]
    assert table[columns].to_numpy().tolist() == [
        ["train", 1, 1, 0, 4, 2, 7.0, 1], ["val", 1, 1, 1, 3, 0, 0.0, 0], ["test", 1, 1, 0, 5, 1, 2.0, 3],
    ]  # fmt: skip


@pytest.mark.parametrize("split, sentence", [
    (SPLIT.replace("c,r", "c,p"), "patient p is on 2 sides of the split (train, test)"),
    (SPLIT + "b,q,val,\n", "case b is listed twice in split.csv"),
    (SPLIT + "d,s,val,\n", "split.csv names d, which is no case of this run"),
    (SPLIT.replace("b,q,val,\n", ""), "split.csv lacks b"),
    (SPLIT.replace("b,q,val", "b,q,test"), "val.csv lists b, which split.csv has on the side test"),
])  # fmt: skip
def test_a_split_that_does_not_match_is_wrong(written, split, sentence):
    (written / "split.csv").write_text(split)
    assert sentence in audited(written)[1]


def test_duplicates_on_two_sides_are_wrong(written):
    assert audited(written, PAIR)[1] == ["c (test) and 001 (train) show the same scan"]


def test_empty_chunks_and_missing_slices_are_wrong(written):
    (written / "train_chunk_02.csv").write_text("case,z,liver_px,tumour_px,kind\n")
    assert audited(written)[1] == ["train_chunk_02.csv is empty: a network can't be trained on it"]
    (written / "train_chunk_02.csv").write_text("case,z,liver_px,tumour_px,kind\n001,7,0,0,empty\n")
    assert audited(written)[1] == ["train_chunk_02.csv lists slice 7 of 001, which the liver store lacks; run 02_filtering again"]
    (written / "train_chunk_02.csv").unlink()
    assert audited(written, liver=Shelf({"001": 4, "c": 5}))[1][0].startswith("val.csv lists slice 0 of b, which the liver")
    late = audited(written, tumour=Shelf({"001": 2, "b": 3, "c": 5}, first=1))[1]
    assert [fault.split(";")[0] for fault in late] == [
        f"{name} lists slice 0 of {case}, which the tumour store lacks"
        for name, case in (("train_chunk_01.csv", "001"), ("val.csv", "b"), ("test.csv", "c"))
    ]


def test_no_tumour_to_train_on_is_wrong(written):
    slices_of(**{"001": {"liver": 2}}).to_csv(written / "train_chunk_01.csv", index=False)
    assert audited(written)[1] == ["no training slice shows tumour: the tumour network can't learn"]


def test_draw_is_even_and_the_same_everywhere():
    assert lists.draw(7, "volume-3") == pytest.approx(0.5758082173460393, abs=1e-12)
    values = [lists.draw(1, k) for k in range(4000)]
    assert abs(np.mean(values) - 0.5) < 0.02 and min(values) >= 0 and max(values) < 1
