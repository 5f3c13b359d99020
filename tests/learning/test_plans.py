"""What a training is: which parameters count, which slices it learns from, what its state is
compared by.
"""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from helpers import files
from helpers.cascade.weights import build, load_network
from helpers.intake import case_table
from helpers.learning import augmentation, fine_tuning, machine, plans
from helpers.learning.batches import Batches
from helpers.running.steps import Step


def test_given_values_come_before_defaults_and_options_before_both():
    defaults = {"width": 8, "loss": "bce", "levels": 4}
    assert plans.in_force(defaults, {"width": 16, "loss": ""}, {"levels": 0}) == {"width": 16, "loss": "bce", "levels": 0}


def test_a_misspelt_option_is_named_and_a_renamed_one_gets_its_new_name():
    with pytest.raises(ValueError, match="there is no option 'level'; there are levels, patient_balance"):
        plans.in_force({"patient_balance": 0.5, "levels": 4}, {}, {"level": 3})
    with pytest.raises(ValueError, match="'evenness' is now called 'patient_balance'"):
        plans.in_force({"patient_balance": 0.5}, {}, {"evenness": 1.0})


def test_an_augmentation_is_the_stages_own_but_for_the_changes():
    changed = augmentation.augmentation_of("liver", {"noise": 0.5})
    assert changed == dataclasses.replace(augmentation.OF_STAGE["liver"], noise=0.5)
    with pytest.raises(ValueError, match="'implants' is now called 'synthetic_lesions'"):
        augmentation.augmentation_of("liver", {"implants": 0.5})
    with pytest.raises(ValueError, match="augment has no 'nose'; there are rotation_degrees"):
        augmentation.augmentation_of("liver", {"nose": 0.5})


@pytest.fixture
def planned(tiny_run):
    """A function that plans a training of the small run, with changes to the notebook's parameters.
    """

    def make(stage="liver", **changes):
        data = plans.read_stage_data(tiny_run, stage)
        parameters = {"stage": stage, "seed": 7, "trial": "", "epochs": 0, "schedule": "cosine", "validations": 2, "patience": 3,
                      "save_seconds": 9.0, "precision": "auto", "accumulate": 2, "options": {}} | changes  # fmt: skip
        batches = Batches(data.train_chunks, data.store, stage, seed=7, batch_size=4, patch=0, neighbours=1,
                          augmentation=augmentation.NONE)  # fmt: skip
        fabric = SimpleNamespace(
            device=torch.device("cpu"), strategy=SimpleNamespace(precision=SimpleNamespace(precision="32-true"))
        )
        chosen = {"epochs": 3, "width": 4}
        return data, batches, plans.plan_training(Step("04", tiny_run, parameters), data, batches, {"model": "unet"}, chosen, fabric)

    return make


def test_a_plan_holds_what_decides_the_result(planned):
    data, batches, plan = planned()
    assert plan.total_steps == 3 * batches.steps_per_epoch and plan.validate_every == plan.total_steps // 2
    assert (plan.patience, plan.save_seconds) == (3, 9.0)
    assert plan.settings["epochs"] == 3 and plan.settings["width"] == 4  # in full, not the parameter's 0
    assert not {"trial", "precision", "accumulate", "options"} & plan.settings.keys()
    assert plan.settings["lists"]["val.csv"] == files.sha256(data.run.lists / "val.csv")[:16]
    assert plan.made_with == machine.described() | {"device": "cpu", "precision": "32-true", "accumulate": 2}
    assert plan.card["stage"] == "liver" and plan.card["network"] == {"model": "unet"} and plan.card["neighbours"] == 1
    sides = plan.card["data"]
    assert sides["training"] and not set(sides["training"]) & set(sides["validation"])


def test_the_tumours_plan_names_the_liver_that_makes_its_regions(planned):
    data, _, plan = planned("tumour")
    assert plan.made_with["liver"] == files.sha256(data.run.checkpoints / "liver" / "final.safetensors")[:16]


def test_other_slices_are_another_training(planned):
    data, _, _ = planned()
    fewer = dataclasses.replace(data, val=data.val.head(0))
    assert fewer.hashes()["scans"] != data.hashes()["scans"] and fewer.hashes()["lists"] == data.hashes()["lists"]


def test_what_could_never_be_validated_is_refused(planned):
    with pytest.raises(ValueError, match="validations=0: at least one is needed"):
        planned(validations=0)
    data, batches, _ = planned()
    nobody = dataclasses.replace(data, val=data.val.head(0))
    step = Step("04", data.run, {"schedule": "plateau", "validations": 1})
    with pytest.raises(ValueError, match="names no slice, so schedule='plateau' has no score to wait for"):
        plans.plan_training(step, nobody, batches, {}, {}, None)


def test_a_card_keeps_the_voxels_of_what_was_learnt_from(planned):
    data, _, plan = planned()
    table = case_table.read_table(data.run.lists / "cases.csv").set_index("case")
    assert plan.card["data"]["voxels"] == sorted(table.voxels[plan.card["data"]["training"]])
    assert "start_from" not in plan.settings  # states of before know nothing of it


def test_a_training_that_begins_with_weights_says_so_and_knows_what_they_learnt_from(planned, tiny_run):
    before = files.read_json(tiny_run.checkpoints / "liver" / "final.json")
    _, _, plan = planned(start_from="tiny")
    digest = files.short_hash(tiny_run.checkpoints / "liver" / "final.safetensors")
    assert plan.settings["start_from"] == {"weights": "tiny", "hash": digest}
    assert set(before["data"]["voxels"]) <= set(plan.card["data"]["voxels"])


def test_weights_are_begun_with_only_where_network_and_pixels_are_the_same(tiny_run):
    data = plans.read_stage_data(tiny_run, "liver")
    final = load_network(tiny_run.checkpoints / "liver" / "final.safetensors")
    usual = fine_tuning.defaults("tiny", "liver", {"learning_rate": 0.002})
    assert usual["learning_rate"] == pytest.approx(0.0002) and usual["width"] == 4  # of the weights
    architecture = final.card["network"]
    network = build(**architecture)
    assert fine_tuning.begin("tiny", network, architecture, data, 1) == []
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), final.network.state_dict().values(), strict=True))
    others = dataclasses.replace(data, recipe=dataclasses.replace(data.recipe, size=992))
    with pytest.raises(ValueError, match="size was .*, is 992. Set them back"):
        fine_tuning.begin("tiny", network, architecture, others, 1)
    with pytest.raises(ValueError, match="width was 4, is 8"):
        fine_tuning.begin("tiny", network, architecture | {"width": 8}, data, 1)
    with pytest.raises(ValueError, match="run 'never' has no checkpoints; there are tiny"):
        fine_tuning.begin("never", network, architecture, data, 1)
    validating = dataclasses.replace(data, val=data.train_chunks[0])  # whom they learnt from
    assert fine_tuning.begin("tiny", network, architecture, validating, 1)
