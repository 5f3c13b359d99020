"""The race: the clock counts learning only, nobody is judged twice, the page comes from the numbers."""

import importlib.util
import io
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import command

from helpers import files, jobs, runs
from helpers.comparing import (
    race,
    race_curve,
    race_entrants,
    race_ours,
    race_rules,
)
from helpers.processes import DONE, FAILED, PAUSED, USAGE
from helpers.scans import reading
from helpers.scans.volume import Volume
from helpers.scoring import run_scores


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def two_patients(own_root, monkeypatch):
    """A race of 15 seconds with 3 moments over two patients, whose references are 4 voxels of liver, 2 of them tumour."""
    labels = np.zeros((1, 4, 4), np.uint8)
    labels[0, 1:3, 1:3] = [[1, 1], [2, 2]]
    rows = pd.DataFrame({"case": ["volume-1", "volume-2"], "group": ["", "one"]})
    monkeypatch.setattr(run_scores, "cases_of", lambda run, side: rows)
    monkeypatch.setattr(reading, "read_row", lambda row: (labels, labels))  # the scan is its own reference
    return race_rules.Race(runs.Run("r"), 0.25, 3)


class Learner:
    """Takes a second a step; knows the liver, and the tumour's first voxel, from its sixth step on; predicting takes 100 s."""

    start = "random weights"

    def __init__(self, clock):
        self.clock, self.steps, self.shares = clock, 0, []

    def step(self, share):
        self.clock[0] += 1
        self.steps += 1
        self.shares.append(share)

    def predict(self, volume):
        self.clock[0] += 100
        if self.steps < 6:
            return np.zeros_like(volume)
        labels = np.minimum(volume, 1)
        labels[0, 2, 1] = 2
        return labels

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_only_learning_counts_and_every_moment_has_its_rows(two_patients, clock):
    learner = Learner(clock)
    assert race.learn(two_patients, "smp", learner, lambda: False) == DONE
    assert learner.steps == 15 and learner.shares == [k / 15 for k in range(15)]  # 6 × 100 s of predicting left out
    table = two_patients.rows()
    assert table.step.tolist() == [5, 5, 10, 10, 15, 15] and table.moment.tolist() == [1, 1, 2, 2, 3, 3]
    assert np.allclose(table.minutes, np.repeat([5, 10, 15], 2) / 60, atol=0.001)
    assert table.liver_dice.tolist() == [0, 0, 1, 1, 1, 1]
    assert np.allclose(table.tumour_dice, [0, 0, 2 / 3, 2 / 3, 2 / 3, 2 / 3], atol=1e-5)  # 2 · 1 / (2 + 1)
    assert two_patients.next_moment("smp") is None and two_patients.next_moment("ours") == 1


def test_one_that_pauses_resumes_with_its_clock_and_its_weights(two_patients, clock):
    first = Learner(clock)
    assert race.learn(two_patients, "smp", first, lambda: first.steps == 7) == PAUSED
    assert two_patients.rows().step.tolist() == [5, 5]
    second = Learner(clock)
    assert race.learn(two_patients, "smp", second, lambda: False) == DONE
    assert second.steps == 15 and len(second.shares) == 8
    assert two_patients.rows().step.tolist() == [5, 5, 10, 10, 15, 15]


def test_one_killed_while_it_is_judged_is_judged_again_without_learning_more(two_patients, clock, monkeypatch):
    first = Learner(clock)
    monkeypatch.setattr(first, "predict", lambda volume: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        race.learn(two_patients, "smp", first, lambda: False)
    assert two_patients.rows().empty
    second = Learner(clock)
    race.learn(two_patients, "smp", second, lambda: False)
    assert two_patients.rows().step.tolist() == [5, 5, 10, 10, 15, 15]


def test_nnunet_is_judged_half_way_and_at_the_end_only(two_patients, clock):
    race_of_four = race_rules.Race(two_patients.run, 0.25, 4)
    race.learn(race_of_four, "nnunet", Learner(clock), lambda: False)
    assert race_of_four.rows().moment.tolist() == [2, 2, 4, 4] and race_of_four.next_moment("nnunet") is None
    assert race_of_four.rows().step.tolist() == [8, 8, 15, 15]  # 7.5 s of 1 s a step
    assert race_rules.Race(two_patients.run, 0.25, 1).next_moment("nnunet") == 1


def test_entrants_share_the_table(two_patients, clock):
    for name in ("smp", "monai"):
        race.learn(two_patients, name, Learner(clock), lambda: False)
    assert two_patients.rows().groupby("entrant").size().to_dict() == {"smp": 6, "monai": 6}


def test_a_run_without_validation_patients_is_refused(own_root, capsys):
    assert race.main(["smp", "--run", "nothing"]) == USAGE
    assert "run notebook 01" in capsys.readouterr().err


def test_rounds_fill_the_minutes_of_a_stage():
    state = {"step": 40, "minutes": 2.0, "total_steps": 300, "settings": {"epochs": 3}}  # 20 steps a minute, 100 an epoch
    epochs_in = race_ours.epochs_in
    assert epochs_in(state, 36.0) == 7  # 40 + 34 · 20 = 720 steps
    assert epochs_in(state, 36.0, from_the_start=True) == 7  # 36 · 20 = 720
    assert epochs_in(state, 32.6, from_the_start=True) == 7 and epochs_in(state, 32.4, from_the_start=True) == 6
    assert epochs_in(state | {"step": 250, "minutes": 12.5}, 12.6) == 3  # never less than it has begun
    assert epochs_in(state | {"step": 300, "minutes": 15.0}, 15.1) == 4  # an epoch ends, a few minutes are left


@pytest.mark.parametrize(("step", "epochs"), [(0, 28), (39, 28), (40, 7)])
def test_a_stage_stopped_in_its_first_steps_keeps_the_epochs_that_its_trial_told(own_root, monkeypatch, step, epochs):
    """Of a training's own speed, 20 steps a minute and 100 an epoch, 7 epochs follow; before 40 steps it isn't known."""
    run, planned = runs.Run("r"), []
    state = {"step": step, "minutes": step / 20, "total_steps": 2800, "settings": {"epochs": 28}}
    files.write_json(run.checkpoints / "liver-epochs.json", 28)
    monkeypatch.setattr(race_ours, "newest_state", lambda *_: state)
    monkeypatch.setattr(race_ours, "train", lambda run, stage, epochs, minutes: planned.append(epochs) or DONE)
    assert race_ours.take_turn(run, "liver", 36.0, 4.5, lambda: float("inf"), []) == DONE and planned == [epochs]


@pytest.mark.parametrize(("learnt", "signals", "code"), [(20.0, [], DONE), (3.0, [], PAUSED), (20.0, ["SIGINT"], PAUSED)])
def test_a_turn_that_a_file_stop_ends_before_its_time_is_not_judged(own_root, monkeypatch, learnt, signals, code):
    minutes = iter([1.0, 1.0 + learnt])
    monkeypatch.setattr(race_ours, "newest_state", lambda *_: {"minutes": next(minutes)})
    monkeypatch.setattr(jobs, "carried_out", lambda *_: (PAUSED, signals))
    assert race_ours.train(runs.Run("r"), "liver", 7, minutes=20.0) == code


def test_an_entrant_races_in_one_process_at_a_time(two_patients, capsys, monkeypatch):
    import filelock

    monkeypatch.setattr(race_rules.Race, "agree", lambda self: None)
    monkeypatch.setattr(race, "entered", lambda *_: None)
    monkeypatch.setattr(race, "learn", lambda *_: DONE)
    lock = two_patients.folder("smp").with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    words = ["smp", "--run", two_patients.run.name, "--minutes", str(two_patients.minutes)]
    with filelock.FileLock(lock):
        assert race.main(words) == FAILED and "racing in another process" in capsys.readouterr().err
    assert race.main(words) == DONE


def test_entrants_learn_one_after_another_until_one_pauses(two_patients, capsys, monkeypatch, clock):
    """And the page tells what was judged so far."""
    words = ["--run", two_patients.run.name, "--minutes", str(two_patients.minutes), "--moments", "3"]
    assert race.main(words) == USAGE and "nobody was judged yet" in capsys.readouterr().err
    monkeypatch.setattr(race_rules.Race, "agree", lambda self: None)
    monkeypatch.setattr(race, "entered", lambda name, race: Learner(clock))
    assert race.main(["smp", "monai", "nnunet", *words, "--sitting", "3"]) == PAUSED  # smp: 5 s to learn, 200 to predict
    assert two_patients.rows().entrant.tolist() == ["smp"] * 2
    assert race.main(["smp", "monai", *words]) == DONE
    assert two_patients.rows().entrant.tolist() == ["smp"] * 6 + ["monai"] * 6
    assert "nothing to compare" in two_patients.table.with_suffix(".md").read_text(encoding="utf8")
    with pytest.raises(SystemExit):
        race.main(["smpp", *words])
    assert "smpp is no entrant; choose of ours, monai, smp, nnunet" in capsys.readouterr().err


def test_the_race_in_small(tiny, tmp_path):
    """Ours and MONAI's tutorial for two seconds each, as a user lets them race; called again, nobody learns more."""
    shutil.copytree(tiny[0], tmp_path / "copy")
    words = ["ours", "monai", "--run", "tiny", "--minutes", 0.03, "--moments", 1]
    done = command(tmp_path / "copy", "helpers.comparing.race", *words)
    assert done.returncode == DONE, done.stdout[-2000:] + done.stderr[-4000:]
    reports = tmp_path / "copy" / "reports" / "tiny"
    table = pd.read_csv(reports / "race-0.03.csv")
    assert table.entrant.tolist() == ["ours", "monai"] and table.liver_dice.between(0, 1).all()
    assert (reports / "race-0.03.png").is_file() and "minutes of learning ours is" in (reports / "race-0.03.md").read_text()
    again = command(tmp_path / "copy", "helpers.comparing.race", *words)
    assert "ours: is through" in again.stdout and len(pd.read_csv(reports / "race-0.03.csv")) == 2


def test_a_race_does_not_go_on_under_other_lists_or_moments(own_root, monkeypatch):
    scans = pd.DataFrame({"case": ["volume-1"], "bytes": ["a"]})
    monkeypatch.setattr(race_rules.Race, "cases", lambda self, side: scans)
    run = runs.Run("r")
    run.lists.mkdir(parents=True)
    for name in ("split.csv", "recipe.json", "train_chunk_01.csv"):
        (run.lists / name).write_text(name)
    race_rules.Race(run, 60.0).agree()
    race_rules.Race(run, 60.0).agree()
    race_rules.Race(run, 30.0, 4).agree()  # another race
    with pytest.raises(ValueError, match="began with other moments: put them back, or delete"):
        race_rules.Race(run, 60.0, 4).agree()
    (run.lists / "split.csv").write_text("another fold")
    with pytest.raises(ValueError, match="began with other split.csv"):
        race_rules.Race(run, 60.0).agree()
    (run.lists / "split.csv").write_text("split.csv")
    scans["bytes"] = ["b"]
    with pytest.raises(ValueError, match="began with other scans"):
        race_rules.Race(run, 60.0).agree()


def test_an_entrant_does_not_go_on_from_another_start(two_patients, clock):
    first, second = Learner(clock), Learner(clock)
    race.learn(two_patients, "smp", first, lambda: first.steps == 7)
    second.start = "ImageNet's weights"
    with pytest.raises(ValueError, match="it began from random weights and finds ImageNet's weights now"):
        race.learn(two_patients, "smp", second, lambda: False)


def test_our_own_run_learns_the_same_slices_and_sees_no_validation_patient(own_root):
    run = runs.Run("r")
    (run.lists).mkdir(parents=True)
    for name in ("train_chunk_01.csv", "cases.csv", "recipe.json", "val.csv", "split.csv"):
        (run.lists / name).write_text(f"case,z\n{name},1\n")
    for stage in ("liver", "tumour"):
        (run.stores / stage).mkdir(parents=True)
        (run.stores / stage / "volume-1.json").write_text("{}")
    beside = race_ours.run_beside(race_rules.Race(run, 60.0))
    assert beside.name == "r-race60" and (beside.lists / "train_chunk_01.csv").read_text() == "case,z\ntrain_chunk_01.csv,1\n"
    assert (beside.lists / "val.csv").read_text() == "case,z\n"
    assert (beside.stores / "tumour" / "volume-1.json").samefile(run.stores / "tumour" / "volume-1.json")
    assert sum(race_ours.SHARES.values()) == pytest.approx(1)


def test_what_is_not_part_of_the_largest_liver_goes():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, 1:4, 1:4] = 1
    labels[0, 2, 2] = 2
    kept = labels.copy()
    labels[0, 1:3, 6:8] = [[1, 2], [2, 2]]
    assert np.array_equal(race_entrants.with_one_liver(labels), kept)


@pytest.fixture
def slices():
    """Six slices of 64 × 64, liver bright in a square with dark tumour in it."""
    rng, items = np.random.default_rng(0), []
    for k in range(6):
        label = np.zeros((1, 64, 64), np.uint8)
        label[0, 16:48, 8:40] = 1
        label[0, 24:32, 16 + k : 26 + k] = 2
        hu = rng.normal(0, 5, (1, 64, 64)) + np.array([-100, 120, 40])[label]
        items.append({"image": hu.astype(np.int16), "label": label})
    return items


@pytest.mark.parametrize("name", ["monai", "smp"])
def test_other_recipes_learn_and_predict_on_the_scans_own_grid(slices, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # no waiting for weights that can't come
    one = race_entrants.monai(slices, 64) if name == "monai" else race_entrants.smp(slices, 64, (-40, 160))
    losses = [one.step(k / 8) for k in range(8)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    scan = Volume(np.full((3, 50, 40), -50, np.int16), (3.0, 1.0, 1.0), np.eye(4), (40, 50, 3), "LPS")
    labels = one.predict(scan)
    assert labels.shape == (3, 50, 40) and labels.dtype == np.uint8 and labels.max() <= 2
    before = {key: value.clone() for key, value in one.network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)  # as a race that resumes reads it
    again = race_entrants.monai(slices, 64) if name == "monai" else race_entrants.smp(slices, 64, (-40, 160))
    first, _ = again.batches.draw()
    again.load_state_dict(state)
    assert again.steps == 8 and not torch.equal(first, again.batches.draw()[0])  # not the first slices over again
    assert all(torch.equal(before[key], value) for key, value in again.network.state_dict().items())


def test_a_prediction_is_the_likeliest_class_put_back_on_the_scan():
    """A network that says what a slice's grey value is: 0 background, 1 liver, 2 tumour."""

    def logits(x):
        return torch.cat([20 - 40 * (x - k).abs() for k in range(3)], dim=1)

    nothing = torch.nn.Linear(1, 1)
    others = {"loss_of": None, "batches": None, "rate": None}
    optimiser = torch.optim.SGD(nothing.parameters())
    one = race_entrants.Entrant(nothing, optimiser=optimiser, logits=lambda hu: logits(hu / 50), size=8, **others)
    hu = np.zeros((2, 16, 16), np.int16)
    hu[:, 4:12, 4:12], hu[1, 6:8, 6:8] = 50, 100
    scan = Volume(hu, (3.0, 1.0, 1.0), np.eye(4), (16, 16, 2), "LPS")
    assert np.array_equal(one.predict(scan)[:, 5:11, 5:11], hu[:, 5:11, 5:11] // 50)


def table_of(**scores):
    rows = [(name, "", moment, 30.0 * moment, 10, f"volume-{k}", f"patient-{k}", liver, tumour)
            for name, both in scores.items() for moment in (1, 2) for k, (liver, tumour) in enumerate(both)]  # fmt: skip
    return pd.DataFrame(rows, columns=race_rules.COLUMNS)


def test_the_sentence_names_the_best_of_the_others_on_each_score():
    table = table_of(ours=[(0.9, 0.2), (0.8, 0.4)], monai=[(0.7, 0.5), (0.7, 0.5)], smp=[(0.8, 0.1), (0.7, 0.1)])
    sentence = race_curve.sentence(table)
    assert sentence.startswith("After 60.0 minutes of learning ours is ahead on liver and behind on tumour: ")
    assert "liver 0.850 beside 0.750 of smp Unet resnet34, the best of the others (+0.100, 95 % interval" in sentence
    tumour = "tumour 0.300 beside 0.500 of MONAI tutorial, 2-D, the best of the others (-0.200, 95 %"
    assert f"{tumour} interval -0.300 to " in sentence
    assert "ahead on liver and tumour" in race_curve.sentence(table[table.entrant != "monai"])
    assert "nothing to compare" in race_curve.sentence(table[table.entrant == "ours"])


def test_entrants_are_compared_at_the_last_moment_that_all_have_reached():
    table = table_of(ours=[(0.9, 0.2), (0.8, 0.4)], smp=[(0.7, 0.5), (0.7, 0.5)])
    table.loc[(table.entrant == "ours") & (table.moment == 1), "liver_dice"] = 0.6
    paused = table[(table.entrant == "ours") | (table.moment == 1)]
    assert race_curve.sentence(paused).startswith("After 30.0 minutes of learning ours is behind on liver and tumour")
    apart = table[(table.entrant == "ours") == (table.moment == 1)]  # ours judged at the first moment, smp at the second
    assert "nothing to compare" in race_curve.sentence(apart) and race_curve.means(apart).empty


def test_scans_of_one_patient_are_drawn_together():
    table = table_of(ours=[(0.9, 0.2), (0.8, 0.4), (0.7, 0.3)], smp=[(0.7, 0.5), (0.7, 0.5), (0.7, 0.5)])
    table.loc[table.case != "volume-0", "group"] = "one"
    means = race_curve.means(table)
    assert means.scans.tolist() == [3, 3] and means.patients.tolist() == [2, 2]
    assert (means.liver_low["ours"], means.liver_high["ours"]) == pytest.approx((0.75, 0.9))
    assert "3 scans of 2 patients" in race_curve.sentence(table)


def test_the_figure_draws_the_means_of_every_moment():
    table = table_of(ours=[(0.9, 0.2), (0.8, 0.4)], smp=[(0.5, 0.1), (0.7, 0.3)])
    table.loc[table.moment == 1, ["liver_dice", "tumour_dice"]] = [0.4, 0.1]
    liver, tumour = race_curve.drawn(table).axes
    curves = [line.get_xydata().tolist() for line in liver.lines if len(line.get_xydata())]
    assert curves == [[[0, 0], [30, 0.4], [60, pytest.approx(dice)]] for dice in (0.85, 0.6)]
    assert [text.get_text() for text in tumour.get_legend().texts] == ["ours 0.300", "smp Unet resnet34 0.200"]
    assert liver.get_title("left") == "liver: ours is highest, 0.850"


def test_the_page_holds_the_sentence_the_figure_and_every_scan(tmp_path):
    table = table_of(ours=[(0.9, 0.2), (0.8, 0.4)], smp=[(0.5, 0.1), (0.7, 0.3)])
    race_curve.write_page(table, tmp_path / "race-60.md")
    page = (tmp_path / "race-60.md").read_text(encoding="utf8")
    assert race_curve.sentence(table) in page and "(race-60.png)" in page and "volume-1" in page
    assert (tmp_path / "race-60.png").stat().st_size > 10_000
    race_curve.write_page(table[table.entrant == "ours"], tmp_path / "alone.md")  # nobody to compare with
    race_curve.write_page(table[(table.entrant == "ours") == (table.moment == 1)], tmp_path / "apart.md")


def test_means_and_patients_are_those_of_the_last_moment():
    table = table_of(smp=[(0.5, 0.1), (0.7, 0.3)], ours=[(0.9, 0.2), (0.8, 0.4)])
    table.loc[table.moment == 1, ["liver_dice", "tumour_dice"]] = 0.0
    means = race_curve.means(table)
    assert means.index.tolist() == ["ours", "smp Unet resnet34"] and means.minutes.tolist() == [60.0, 60.0]
    assert means.liver.tolist() == pytest.approx([0.85, 0.6]) and means.tumour_low.tolist() == pytest.approx([0.2, 0.1])
    assert race_curve.by_case(table, "tumour").loc["volume-1"].tolist() == [0.4, 0.3]


@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="nnunetv2 is not installed")
def test_nnunet_learns_and_pauses_in_its_own_environment(tiny, tmp_path):
    shutil.copytree(tiny[0], tmp_path / "copy")
    words = ["nnunet", "--run", "tiny", "--minutes", 0.01, "--moments", 1]
    paused = command(tmp_path / "copy", "helpers.comparing.race", *words, "--sitting", 0.0001)
    assert paused.returncode == PAUSED, paused.stderr
    done = command(tmp_path / "copy", "helpers.comparing.race", *words)
    assert done.returncode == DONE and "resumes after 0.0 minutes" in done.stdout, done.stdout + done.stderr
    table = pd.read_csv(Path(tmp_path / "copy" / "reports" / "tiny" / "race-0.01.csv"))
    assert table.liver_dice.between(0, 1).all() and len(table)
