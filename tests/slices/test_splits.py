"""Sides by patient: none on two, none moved by a newcomer, each as large as asked for."""

import collections
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import runs
from helpers.slices import patients, splits

QUICK = settings(max_examples=60, deadline=None)
SETTINGS = {"seed": 1, "val_share": 0.2, "test_share": 0.2, "folds": 0, "test": []}


def cohort(n, tumour_free=0):
    return pd.DataFrame({"case": [f"c{k}" for k in range(n)], "tumour_ml": [0.0 if k < tumour_free else 5.0 for k in range(n)]})


def alone(cases):
    return {case: case for case in cases.case}


@st.composite
def cohorts(draw, least=6, most=40):
    """(cases, groups): patients with one to three scans, of any tumour burden."""
    scans = draw(st.lists(st.integers(1, 3), min_size=least, max_size=most))
    rows = [(f"p{k}-{i}", f"p{k}") for k, n in enumerate(scans) for i in range(n)]
    burden = st.sampled_from([0.0, 3.0, 10.0, 50.0, 800.0, float("nan")])
    ml = draw(st.lists(burden, min_size=len(rows), max_size=len(rows)))
    return pd.DataFrame({"case": [c for c, _ in rows], "tumour_ml": ml}), dict(rows)


@QUICK
@given(cohorts(), st.integers(0, 99), st.sampled_from([0, 2, 5]))
def test_no_patient_is_on_two_sides_and_none_is_empty(cohort, seed, folds):
    cases, groups = cohort
    table = splits.split(cases, groups, seed, 0.15, 0.25, folds)
    assert table.case.tolist() == cases.case.tolist()
    assert (table.groupby("group").split.nunique() == 1).all()
    assert set(table.split) == {"train", "val", "test"}


@QUICK
@given(cohorts(), st.integers(0, 99), st.sampled_from([(0.15, 0.25), (0.2, 0.0), (0.4, 0.4)]))
def test_shares_are_kept_in_every_stratum_to_within_one(cohort, seed, shares):
    cases, groups = cohort
    table = splits.split(cases, groups, seed, *shares)
    strata = cases.tumour_ml.fillna(0).groupby(table.group).max().map(splits.stratum)
    sides = table.groupby("group").split.first()
    for stratum, members in strata.groupby(strata):
        for side, share in (("val", shares[0]), ("test", shares[1]), ("train", 1 - sum(shares))):
            assert abs((sides[members.index] == side).sum() - share * len(members)) <= 1 + 1e-9, (stratum, side)


@QUICK
@given(cohorts(), st.integers(0, 99), st.sampled_from([0, 3]), st.data())
def test_a_case_more_moves_no_other(cohort, seed, folds, data):
    cases, groups = cohort
    before = {}
    order = data.draw(st.permutations(sorted(set(groups.values()))))
    for group in (order[:-2], order[:-1], order):  # the cohort grows by a patient at a time
        now = cases[cases.case.map(groups).isin(group)].reset_index(drop=True)
        table = splits.split(now, groups, seed, 0.2, 0.2, folds, before=before)
        sides = splits.sides_of(table)
        assert all(sides[case] == side for case, side in before.items())
        before = sides
    assert splits.remarks(table, before) == []


def test_a_growing_cohort_keeps_its_shares():
    before, cases = {}, cohort(60)
    for n in range(5, 61):
        table = splits.split(cases[:n], alone(cases), 3, 0.15, 0.25, before=before)
        before = splits.sides_of(table)
        counts = table.split.value_counts()
        assert all(abs(counts[side] - share * n) <= 1 for side, share in (("val", 0.15), ("test", 0.25), ("train", 0.6))), n


@QUICK
@given(cohorts(least=8), st.integers(0, 99), st.sampled_from([2, 3, 5]), st.sampled_from([0.0, 0.25]))
def test_folds_partition_what_is_not_test(cohort, seed, folds, test_share):
    cases, groups = cohort
    tables = [splits.split(cases, groups, seed, 0.15, test_share, folds, fold) for fold in range(folds)]
    held = collections.Counter(case for table in tables for case in table.case[table.split == "val"])
    tested = set(tables[0].case[tables[0].split == "test"])
    assert set(held.values()) == {1} and set(held) == set(cases.case) - tested
    assert all(set(table.case[table.split == "test"]) == tested for table in tables)
    assert all(table.fold.equals(tables[0].fold) for table in tables)


def test_folds_of_a_small_cohort():
    cases = cohort(20, tumour_free=5)
    held = [set(t.case[t.split == "val"]) for t in (splits.split(cases, alone(cases), 1, 0, 0, 5, f) for f in range(5))]
    assert all(len(fold) == 4 and len(fold & {f"c{k}" for k in range(5)}) == 1 for fold in held)  # one tumour-free in each
    eighteen = splits.split(cohort(18), alone(cohort(18)), 1, 0, 0, 5)
    assert sorted(eighteen.fold.value_counts()) == [3, 3, 4, 4, 4]


def test_shares_of_small_cohorts():
    counts = splits.split(cohort(20, 5), alone(cohort(20)), 1, 0.2, 0.3).split.value_counts()
    assert counts.to_dict() == {"train": 10, "test": 6, "val": 4}
    counts = splits.split(cohort(12, 2), alone(cohort(12)), 7, 0.15, 0.25).split.value_counts()
    assert counts.to_dict() == {"train": 7, "test": 3, "val": 2}
    assert set(splits.split(cohort(3), alone(cohort(3)), 1).split) == {"train", "val", "test"}


def test_sizes_of_tumours_are_spread_over_the_sides():
    ml = [0.0] * 10 + [5.0] * 10 + [50.0] * 10 + [500.0] * 10
    cases = pd.DataFrame({"case": [f"c{k}" for k in range(40)], "tumour_ml": ml})
    table = splits.split(cases, alone(cases), 4, 0.2, 0.2)
    assert table.groupby([table.split, pd.Series(ml)]).size().unstack().to_numpy().tolist() == [[2] * 4, [6] * 4, [2] * 4]


@pytest.mark.parametrize("ml, stratum", [(0, 0), (0.01, 1), (10, 1), (10.01, 2), (100, 2), (101, 3)])
def test_borders_of_the_strata_are_fixed(ml, stratum):
    assert splits.stratum(ml) == stratum


def test_split_depends_on_seed_and_names_only():
    cases = cohort(12)
    one, again = (splits.split(c, alone(cases), 3) for c in (cases, cases.sample(frac=1, random_state=0)))
    assert splits.sides_of(one) == splits.sides_of(again)
    assert not one.equals(splits.split(cases, alone(cases), 4))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="too few"):
        splits.split(cohort(2), {"c0": "p", "c1": "p"}, 1, 0.3, 0.3)
    with pytest.raises(ValueError, match="too few"):
        splits.split(cohort(4), alone(cohort(4)), 1, 0, 0, 5)
    with pytest.raises(ValueError, match="something is left to train on"):
        splits.split(cohort(9), alone(cohort(9)), 1, 0.5, 0.5)
    with pytest.raises(ValueError, match="fold 5 of 5"):
        splits.split(cohort(9), alone(cohort(9)), 1, folds=5, fold=5)
    with pytest.raises(ValueError, match="none of the 2 cases of the given test set"):
        splits.split(cohort(9), alone(cohort(9)), 1, test=["x", "y"])


def test_a_given_test_set_is_the_whole_of_it_with_all_scans_of_its_patients():
    cases = cohort(11)
    groups = alone(cases) | {"c1": "p", "c2": "p"}
    table = splits.split(cases, groups, 1, 0.2, 0.5, test=["c1", "c5", "unknown"])
    assert set(table.case[table.split == "test"]) == {"c1", "c2", "c5"}
    assert (table.split == "val").sum() == round(0.2 * 8)
    folded = splits.split(cases, groups, 1, 0.2, 0.5, 4, 0, test=["c1", "c5"])
    assert (folded.split == "val").sum() == 2 and set(folded.case[folded.fold == ""]) == {"c1", "c2", "c5"}


def test_cases_that_only_train_are_in_no_fold_and_no_other_side():
    cases, block = cohort(20), [f"c{k}" for k in range(8)]
    for fold in range(3):
        table = splits.split(cases, alone(cases), 1, 0.2, 0.2, 3, fold, train=block)
        assert set(table.split[table.case.isin(block)]) == {"train"} and set(table.fold[table.case.isin(block)]) == {""}
    table = splits.split(cases, alone(cases), 1, 0.2, 0.2, train=block)
    assert table.split.value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}  # shares of all, the block included


def test_two_patients_that_turn_out_to_be_one_come_together_where_they_taught_most():
    cases, before = cohort(8), dict.fromkeys(cohort(8).case, "train") | {"c1": "test", "c2": "val", "c3": "test", "c7": "test"}
    table = splits.split(cases, alone(cases) | {"c0": "p", "c1": "p", "c2": "q", "c3": "q"}, 1, before=before)
    assert table.split[:4].tolist() == ["train", "train", "val", "val"]
    assert splits.remarks(table, before) == [
        "c1 moves from test to train, because it is the same patient as c0 (patient p).",
        "c3 moves from test to val, because it is the same patient as c2 (patient q).",
    ]


DELETE = "Delete split.csv to draw another."


def drawn(folder, cases, made_with=SETTINGS, **more):
    """One run of what notebook 02 does: read, split, write; returns (table, sentences)."""
    before, sentences = splits.read_before(folder, made_with)
    shares = [made_with[name] for name in ("seed", "val_share", "test_share", "folds")]
    table = splits.split(cases, alone(cases), *shares, before=before, **more)
    splits.write(folder, table, made_with, before)
    return table, sentences + splits.remarks(table, before)


def test_a_split_on_disk_is_kept_until_its_settings_change(tmp_path):
    first, sentences = drawn(tmp_path, cohort(15))
    assert sentences == ["There is no split yet: it is drawn."]
    second, sentences = drawn(tmp_path, cohort(17))
    assert splits.sides_of(first).items() <= splits.sides_of(second).items()
    assert sentences[1] == "2 of the cases are new since the last split: c15, c16."
    assert drawn(tmp_path, cohort(17))[0].equals(second)
    third, sentences = drawn(tmp_path, cohort(17), SETTINGS | {"seed": 2})
    assert sentences == ["A new split is drawn, and cases change sides: seed was 1, is 2."]
    assert third.equals(splits.split(cohort(17), alone(cohort(17)), 2, 0.2, 0.2))


def test_a_case_that_left_comes_back_to_its_side(tmp_path):
    first, _ = drawn(tmp_path, cohort(15))
    tested = first.case[first.split == "test"].tolist()
    _, sentences = drawn(tmp_path, cohort(15)[lambda t: ~t.case.isin(tested[:1])])
    assert sentences[1].startswith(f"1 of the cases are no longer there; a case that comes back gets its old side: {tested[0]}")
    again, _ = drawn(tmp_path, cohort(15))
    assert splits.sides_of(again) == splits.sides_of(first)


def test_another_fold_of_the_same_partition(tmp_path):
    five = SETTINGS | {"folds": 5}
    first, _ = drawn(tmp_path, cohort(15), five, fold=0)
    second, sentences = drawn(tmp_path, cohort(15), five, fold=3)
    assert second.fold.equals(first.fold) and sentences == ["The split so far is kept; new patients join it. " + DELETE]
    assert set(second.case[second.split == "val"]) == set(first.case[first.fold == "3"])


def test_a_kept_split_that_leaves_a_side_empty_says_what_to_do():
    before = {"c0": "test", "c1": "val", "c2": "train", "c3": "train"}
    with pytest.raises(ValueError, match="none is left for test; .* delete split.csv to draw a new split"):
        splits.split(cohort(4)[1:], alone(cohort(4)), 1, before=before)


def test_a_split_made_by_hand_counts(tmp_path):
    (tmp_path / "split.csv").write_text("case,split\nc0,test\nc1,val\nc2,train\ngone,train\n")
    table, sentences = drawn(tmp_path, cohort(6))
    assert table.split[:3].tolist() == ["test", "val", "train"] and "no longer there" in sentences[2]


@pytest.mark.parametrize("text, match", [
    ("case,side\nc0,test\n", "needs the columns case and split"),
    ("case,split\nc0,training\n", "not 'training'"),
    ("case,split\nc0,test\nc0,train\n", "lists c0 twice"),
])  # fmt: skip
def test_a_split_file_that_makes_no_sense_is_named(tmp_path, text, match):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        splits.read_before(tmp_path, SETTINGS)


def test_the_folds_of_the_cross_validation_are_drawn_again():
    """Its patients, by the groups that came along and the tumours that its own table tells."""
    page = (runs.HERE / "reports" / "cross-validation.md").read_text(encoding="utf8")
    rows = re.findall(r"^\| (\d) \| (volume-\d+) \|(?:[^|]*\|){2} ([\d.,]+) \|", page, re.MULTILINE)
    table = pd.DataFrame(rows, columns=["fold", "case", "tumour_ml"])
    cases = table.assign(tumour_ml=table.tumour_ml.str.replace(",", "").astype(float))
    groups = patients.patient_groups(cases.case, runs.HERE / "checkpoints" / "lits102" / "groups.csv")
    drawn = splits.split(cases, groups, 7, test_share=0.0, folds=5)
    assert len(table) == 18 and drawn.fold.astype(str).tolist() == table.fold.tolist()
