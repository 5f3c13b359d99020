"""The state of a training: what is best, what is refused, what a full disk says."""

import errno
import json

import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision

from helpers import runs
from helpers.cascade import weights
from helpers.learning import checkpoints, plans, sittings, training

CARD = {"stage": "liver", "network": {"model": "unet", "in_channels": 1, "classes": 1, "width": 2, "levels": 1}}


def made(folder, settings=None, **more):
    network = weights.build(**CARD["network"])
    plan = plans.Plan(settings or {}, CARD, 100, validate_every=1, **more)
    state = training.Training(folder, {"network": network, "ema": weights.averaged(network)}, plan)
    return state, network


def test_best_is_kept_with_its_weights_and_stops_early(tmp_path):
    state, network = made(tmp_path, patience=2)
    for score in (0.5, 0.6, 0.6, 0.55):
        assert not state.finished
        torch.nn.init.constant_(network.head.bias, score)
        state.note_validation(network, score=score)
        state.step += 1
    assert state.finished and state.best == 0.6 and state.best_step == 2 and "stopped early" in state.sentence
    kept, card = weights.load_weights(tmp_path / "best.safetensors")
    assert kept.head.bias.item() == pytest.approx(0.6) and card["step"] == 2 and card["scores"][0]["score"] == 0.6
    assert "minutes" not in state.history[0]  # the clock is no part of what is compared


def test_final_weights_have_a_card_for_people(tmp_path):
    state, network = made(tmp_path, {"rate": 0.1, "lists": {"val.csv": "ab"}}, made_with={"torch": "2"})
    averaged = state.parts["ema"].module
    for score in (0.6, 0.5):
        torch.nn.init.constant_(averaged.head.bias, score)
        state.note_validation(averaged, score=score)
        state.step += 1
    state.finish({"007": 0.5})
    assert (tmp_path / "validation.csv").read_text() == "case,score\n007,0.5\n"
    card = json.loads((tmp_path / "final.json").read_text())
    assert card["settings"]["lists"] == {"val.csv": "ab"} and card["made_with"] == {"torch": "2"} and card["step"] == 2
    assert card["scores"][0]["score"] == 0.5
    kept = {name: weights.load_weights(tmp_path / f"{name}.safetensors")[0].head.bias.item() for name in ("best", "final")}
    assert kept == pytest.approx({"best": 0.6, "final": 0.5})  # the end's, not the best


def test_loss_that_is_no_number_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FloatingPointError, match="a loss of nan at step 1: run again with precision='32-true'"):
        made(tmp_path)[0].log(float("nan"))


def test_score_that_is_no_number_is_an_error(tmp_path):
    state, network = made(tmp_path)
    with pytest.raises(ValueError, match="after step 1 gives no score"):
        state.note_validation(network, score=float("nan"))


def test_scores_of_other_regions_are_no_measure_for_the_best(tmp_path):
    """Another liver makes other regions, in which the tumour's network may never reach its old
    score.
    """
    before, network = made(tmp_path, made_with={"liver": "ab"})
    before.note_validation(network, score=0.9)
    before.save()
    for liver, best in (("ab", 0.9), ("cd", -1.0)):
        after, network = made(tmp_path, made_with={"liver": liver})
        after.restore(checkpoints.read_newest(tmp_path)[0])
        assert after.best == best
    after.note_validation(network, score=0.5)
    assert after.best == 0.5


def test_the_scale_of_a_loss_in_16_bits_is_restored_where_there_is_one(tmp_path):
    scalers = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale)) for scale in (8.0, 65536.0)]
    first, network = made(tmp_path)
    first.parts["scaler"] = scalers[0]
    first.save()
    second, _ = made(tmp_path)
    second.parts["scaler"] = scalers[1]
    second.restore(checkpoints.read_newest(tmp_path)[0])
    assert scalers[1].scaler.get_scale() == 8.0
    # on a machine without 16-mixed nobody asks for it
    made(tmp_path)[0].restore(checkpoints.read_newest(tmp_path)[0])
    plain, _ = made(tmp_path / "plain")
    plain.save()
    second.folder = plain.folder
    second.restore(checkpoints.read_newest(plain.folder)[0])
    assert scalers[1].scaler.get_scale() == 8.0


def test_other_settings_are_refused_with_the_values_that_differ():
    old = {"rate": 0.1, "epochs": 3, "device": "cpu", "lists": {"a.csv": "1", "b.csv": "2"}}
    plans.refuse_other_settings(old, old | {"epochs": 9, "patience": 2, "device": "cuda", "chunk_minutes": 5}, "here")
    with pytest.raises(ValueError) as error:
        plans.refuse_other_settings(old, old | {"rate": 0.2, "lists": {"a.csv": "1", "b.csv": "3"}}, "here")
    assert "other settings: lists b.csv was '2', is '3'; rate was 0.1, is 0.2. Set them back" in str(error.value)


def test_what_differs_between_sittings_is_named(tmp_path, capsys):
    first, _ = made(tmp_path, made_with={"threads": 2, "torch": "2"})
    first.save()
    second, _ = made(tmp_path, made_with={"threads": 1, "torch": "2"})
    second.restore(checkpoints.read_newest(tmp_path)[0])
    assert capsys.readouterr().out == "threads was 2, is 1: not the same result to the last bit\n"


def test_state_of_another_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match="another version"):
        made(tmp_path)[0].restore({"format": training.FORMAT - 1, "settings": {}, "step": 3})


@pytest.mark.parametrize(
    "number, reason, remedy",
    [
        (errno.ENOSPC, "No space left on device", "make room"),
        (errno.EROFS, "Read-only file system", "make the folder writable"),
    ],
)
def test_full_or_read_only_disk_says_what_is_whole(tmp_path, monkeypatch, number, reason, remedy):
    state, _ = made(tmp_path)
    state.step = 12
    state.save()

    def refuse(*_):
        raise OSError(number, reason)

    monkeypatch.setattr(runs.os, "fsync", refuse)
    state.step = 15
    with pytest.raises(OSError) as error:
        state.save()
    message = f"the state of step 15 can't be written ({reason}); the state of step 12 is whole: {remedy} and run again"
    assert message in str(error.value)
    monkeypatch.undo()
    assert checkpoints.read_newest(tmp_path)[0]["step"] == 12


def test_weights_without_any_generation_are_no_fresh_start(tmp_path):

    state, network = made(tmp_path)
    state.note_validation(network, score=0.5)
    with pytest.raises(RuntimeError, match=r"holds best.safetensors, but no generation to resume from"):
        sittings.resume(tmp_path, {"network": network}, state.plan)
