"""The report's plain words are true of the tables they are made from."""

import re

import numpy as np
import pandas as pd
import pytest
import scored_masks

from helpers.scoring import case_scores, sentences, summary


@pytest.fixture(scope="module")
def tables():
    return scored_masks.tables()


@pytest.fixture(scope="module")
def values(tables):
    return summary.summarise(tables)


def test_numbers_as_people_write_them():
    numbers = [sentences.number(x, 2) for x in (None, np.nan, 0.12345, 1234567, np.int64(3), "a")]
    assert numbers == ["–", "–", "0.12", "1,234,567", "3", "a"]
    values = {"a.mean": 0.5, "a.low": 0.25, "a.high": 0.75, "b": 0.5, "c.mean": 0.5, "c.low": None, "c.high": None}
    assert [sentences.between(values, key, 2) for key in "abc"] == ["0.50 (0.25 to 0.75)", "0.50", "0.50"]


def test_a_table_of_a_page_leaves_out_what_is_missing():
    frame = pd.DataFrame({"a": [0.5, np.nan], "b": [1, None], "c": ["x", None]}).astype({"b": "Int64"})
    assert sentences.markdown(frame) == "| a | b | c |\n| --- | --- | --- |\n| 0.500 | 1 | x |\n|  |  |  |"


def test_half_a_page_of_plain_words(values, tables):
    words = sentences.in_plain_words(values, tables["cases"])
    text = " ".join(words)
    assert f"{values['tumour.dice_per_case.mean']:.2f} ({values['tumour.dice_per_case.low']:.2f} to" in text
    assert "Of 3 lesions, 2 were touched by a finding, and 1 outlined well enough" in text
    assert "Cases without tumour: 2, of which 1 stayed clean" in text
    assert (
        "1 of 6 cases has no usable prediction and counts as Dice 0: &lt;b&gt;failed&lt;/b&gt;. "
        "The 1 lesion and 8 slices there are in no rate of lesions or slices." in text
    )
    assert "human reader" in text
    synthetic = sentences.in_plain_words(values | {"cases.synthetic": 6}, tables["cases"])
    assert "human reader" not in " ".join(synthetic)
    assert "6 cases of 6 patients are few" in text and "rather too narrow" in text
    assert not any("Where to improve" in sentence for sentence in words)  # masks alone don't say which stage
    assert len(re.sub(r"<[^>]+>", " ", text).split()) < 300
    assert sentences.scored_cases(values) == "6 cases, 4 with tumour, 1 failed"


def test_the_stage_that_loses_most_is_named(values, tables):
    lost = {"lost.gate": 1, "lost.liver": 0, "lost.tumour": 3, "lost.clean-up": 0, "lost.outline": 2}
    text = " ".join(sentences.in_plain_words(values | lost, tables["cases"]))
    assert "Most lesions are lost by the stage “tumour”, 3 of them: the tumour network gives it no" in text


def test_references_that_cannot_be_used_are_counted(values):
    text = sentences.scored_cases(values | {"cases.not_scored": ["one", "two"]})
    assert text.endswith("1 failed, 2 not scored because their reference can't be used")


def test_sections_say_what_they_lack(values, tables):
    assert sentences.tumour_free(values) == "1 of 2 cases without tumour stayed free of predicted tumour."
    false = sentences.false_slices(values)  # 2 of the case "false", none of the failed one
    assert false.startswith("Of 24 slices with liver and without tumour, a share of 0.083")
    assert sentences.lesion_outcomes(tables["lesions"]) == (
        "Of the reference's lesions: 1 found, 2 missed, 1 poor; "
        "of the predicted ones: 1 false, 1 poor, 1 true."
    )
    for sentence in (sentences.lost_by_gate, sentences.calibration, sentences.uncertainty):
        assert sentence(values).startswith("Left out")
    only = summary.summarise(scored_masks.one_case())
    assert "Lesions." not in " ".join(sentences.in_plain_words(only, scored_masks.one_case()["cases"]))
    assert "no lesion" in sentences.lesion_outcomes(case_scores.tables([])["lesions"])
