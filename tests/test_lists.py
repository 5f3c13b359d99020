"""Splits by patient, chunks that are balanced, and an audit that sees what is wrong with them."""

import numpy as np
import pandas as pd
import pytest

from helpers import lists


def cohort(n, tumour_free=0):
    return pd.DataFrame({"case": [f"c{k}" for k in range(n)], "tumour_ml": [0.0 if k < tumour_free else 5.0 for k in range(n)]})


def slices_of(**kinds_by_case):
    rows = []
    for case, kinds in kinds_by_case.items():
        z = 0
        for kind, count in kinds.items():
            for _ in range(count):
                rows.append((case, z, int(kind != "empty") * 50, int(kind == "tumour") * 5, kind))
                z += 1
    return pd.DataFrame(rows, columns=["case", "z", "liver_px", "tumour_px", "kind"])


def test_groups_stay_together_for_every_seed():
    cases = cohort(18)
    groups = lists.patient_groups(cases.case) | {"c7": "p", "c8": "p", "c9": "p", "c10": "p"}
    for seed in range(30):
        sides = lists.split(cases, groups, seed, 0.2, 0.2)
        assert sides[sides.group == "p"].split.nunique() == 1
        assert set(sides.split) == {"train", "val", "test"}


def test_folds_cover_every_case_once_and_shares_are_kept():
    cases = cohort(20, tumour_free=5)
    groups = lists.patient_groups(cases.case)
    held = [set(s.case[s.split == "val"]) for s in (lists.split(cases, groups, 1, 0, 0, 5, f) for f in range(5))]
    assert sorted(c for fold in held for c in fold) == sorted(cases.case)
    assert all(len(fold) == 4 and len(fold & {f"c{k}" for k in range(5)}) == 1 for fold in held)  # one tumour-free in each
    counts = lists.split(cases, groups, 1, 0.2, 0.3).split.value_counts()
    assert counts.to_dict() == {"train": 10, "test": 6, "val": 4}


def test_split_depends_on_seed_and_names_only():
    cases, groups = cohort(12), lists.patient_groups(cohort(12).case)
    one, again = (lists.split(c, groups, 3) for c in (cases, cases.sample(frac=1, random_state=0)))
    assert one.sort_values("case").equals(again.sort_values("case").set_axis(one.sort_values("case").index))
    assert not one.equals(lists.split(cases, groups, 4))


def test_too_few_patients_is_an_error():
    with pytest.raises(ValueError, match="too few"):
        lists.split(cohort(2), {"c0": "p", "c1": "p"}, 1, 0.3, 0.3)


def test_groups_from_pattern_and_csv(tmp_path):
    assert lists.patient_groups(["p1-a", "p1-b", "x"], pattern=r"(p\d+)-") == {"p1-a": "p1", "p1-b": "p1", "x": "x"}
    (tmp_path / "g.csv").write_text("case,group\nc0,p\n")
    assert lists.patient_groups(["c0", "c1"], tmp_path / "g.csv") == {"c0": "p", "c1": "c1"}
    (tmp_path / "g.csv").write_text("name,group\nc0,p\n")
    with pytest.raises(ValueError, match="columns case and group"):
        lists.patient_groups(["c0"], tmp_path / "g.csv")
    with pytest.raises(ValueError, match="group in parentheses"):
        lists.patient_groups(["c0"], pattern="c")


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
    val = lists.balanced(slices_of(a={"tumour": 8, "liver": 80}, b={"tumour": 4, "liver": 40}), 1)
    assert val.kind.value_counts().to_dict() == {"tumour": 12, "liver": 12}


def test_audit_sees_a_patient_on_two_sides():
    slices = slices_of(a={"tumour": 2}, b={"liver": 3})
    sides = pd.DataFrame({"case": ["a", "b"], "group": ["p", "p"], "split": ["train", "test"]})
    table, wrong = lists.audit(sides, slices)
    assert wrong == ["patient p is on 2 sides of the split"]
    assert table.set_index("split").tumour_slices.to_dict() == {"train": 2, "test": 0}
    _, wrong = lists.audit(sides.assign(group=["p", "q"], split=["test", "train"]), slices)
    assert wrong == ["no training slice shows tumour: the tumour network can't learn"]


def test_draw_is_even_and_the_same_everywhere():
    assert lists.draw(7, "volume-3") == pytest.approx(0.5758082173460393, abs=1e-12)
    values = [lists.draw(1, k) for k in range(4000)]
    assert abs(np.mean(values) - 0.5) < 0.02 and min(values) >= 0 and max(values) < 1
