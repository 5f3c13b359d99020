"""What a training learns from, and what it is: its lists and slices, the settings that decide its
result, its card.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers import files, origins
from helpers.learning import fine_tuning, machine
from helpers.learning.augmentation import augmentation_of
from helpers.parameters import unknown
from helpers.running import steps
from helpers.runs import Run
from helpers.slices import lists
from helpers.slices.recipe import Recipe
from helpers.slices.store import Store

# settings that may change between sittings
FREE = steps.WITHOUT_EFFECT | {"epochs", "patience", "accumulate"}


@dataclass(frozen=True)
class StageData:
    """What a stage learns from: lists, recipe and slices of a run, as 02 wrote them.

    train_chunks  a DataFrame of slices a chunk; val: the validation slices, none where every
                  patient trains.
    norm          (mean, deviation) of the slices' grey values.
    """

    run: Run
    stage: str
    train_chunks: list
    val: pd.DataFrame
    recipe: Recipe
    norm: list
    store: Store

    @property
    def list_files(self):
        folder = self.run.lists
        return [*lists.training_files(folder), folder / "val.csv", folder / "recipe.json"]

    @property
    def scan_files(self):
        """They say of which scans the slices are."""
        cases = pd.concat(self.train_chunks).case
        return self.store.metas([*cases, *self.val.case])

    @property
    def files(self):
        return [*self.list_files, *self.scan_files]

    def hashes(self):
        """What belongs to a training's settings: it never continues with other slices."""
        listed = {path.name: files.short_hash(path) for path in self.list_files}
        scans = hashlib.sha256("".join(map(files.sha256, self.scan_files)).encode()).hexdigest()
        return {"lists": listed, "scans": scans[:16]}

    def augmentation(self, changes):
        """What the stage is trained with, but for `changes`, a dict such as {"noise": 0.1}."""
        return augmentation_of(self.stage, changes)

    def channels(self, neighbours):
        """Channels of a picture: each window of each slice."""
        return len(self.recipe.windows) * (2 * neighbours + 1)

    def typical_patch(self):
        """Pixels along a patch that holds a typical region of interest, in steps of 32, at least 96
        and at most 160.
        """
        cases = self.train_chunks[0].case.unique()
        edges = [max(self.store.mask(case).shape[1:]) for case in cases if case in self.store]
        return int(np.clip(np.median(edges) // 32 * 32, 96, 160))


def read_stage_data(run, stage):
    """StageData of a run; FileNotFoundError where 02 hasn't run. The gate learns from the liver's
    slices.
    """
    name = "tumour" if stage == "tumour" else "liver"
    train_chunks, val = lists.read_lists(run.lists)
    made = files.read_json(run.lists / "recipe.json")
    recipe, norm = Recipe(**made["recipe"]), made["norm"][name]
    return StageData(run, stage, train_chunks, val, recipe, norm, Store(run.stores / name))


def in_force(defaults, given, options):
    """The defaults, changed by what was given, where 0 and empty are nothing, then by `options`.

    Raises ValueError for an option that the defaults don't have.
    """
    if strange := sorted(set(options) - set(defaults)):
        raise ValueError(unknown(strange[0], sorted(defaults), "there is no option"))
    return defaults | {name: value for name, value in given.items() if value} | options


@dataclass(frozen=True)
class Plan:
    """What a training is, and when it ends.

    settings        plain values that decide what is learnt, hashes of the lists included.
    card            of the weights: what the network is, which scans it learns from, how its pixels
                    are made.
    validate_every  steps; patience: validations without a better score after which it stops, 0
                    never.
    save_seconds    most work that a crash can cost.
    made_with       what may differ between sittings and is named when it does: versions, device,
                    threads.
    """

    settings: dict
    card: dict
    total_steps: int
    validate_every: int
    patience: int = 0
    save_seconds: float = 60.0
    made_with: dict = field(default_factory=dict)


def plan_training(work, data, batches, architecture, chosen, fabric):
    """The Plan of a training in notebook 04.

    work          steps.Step of the notebook: the parameters in force.
    data          StageData; batches: Batches.
    architecture  dict: what `weights.build` made the network of.
    chosen        dict: defaults, parameters and options as they apply to the stage.
    fabric        lightning_fabric.Fabric that it trains with.
    Raises ValueError for schedule "plateau" without validation slices, and for no validation.
    """
    given, run = work.settings, data.run
    if given["schedule"] == "plateau" and data.val.empty:
        raise ValueError(
            f"{run.lists / 'val.csv'} names no slice, so schedule='plateau' has no score "
            "to wait for: take 'cosine'"
        )
    if given["validations"] < 1:
        raise ValueError(
            f"validations={given['validations']}: at least one is needed, at the end, "
            "or no weights are kept"
        )
    # what may differ from sitting to sitting stays out; `chosen` says in full what was given in
    # short
    apart = {"trial", "precision", "accumulate", "options", "start_from", *chosen}
    settings = {name: value for name, value in given.items() if name not in apart}
    begun, learnt_before = fine_tuning.origin(given.get("start_from", ""), data.stage)
    settings |= chosen | data.hashes() | begun
    cases = {
        "training": sorted({case for chunk in batches.chunks for case in chunk.case}),
        "validation": sorted(data.val.case.unique()),
        "split": files.short_hash(run.lists / "split.csv"),
    }
    voxels = origins.hashes_of(run.lists / "cases.csv", cases["training"])
    cases["voxels"] = sorted({*voxels, *learnt_before})
    card = {"stage": data.stage, "network": architecture, "neighbours": batches.neighbours}
    card |= {"norm": data.norm, "recipe": data.recipe.as_dict(), "run": run.name, "data": cases}
    made_with = machine.described()
    made_with |= {"device": fabric.device.type, "precision": machine.precision_of(fabric)}
    made_with |= {"accumulate": given["accumulate"]}
    if data.stage == "tumour":
        liver = liver_weights(run)
        made_with["liver"] = files.short_hash(liver) if liver.is_file() else ""
    total_steps = chosen["epochs"] * batches.steps_per_epoch
    return Plan(
        settings,
        card,
        total_steps,
        validate_every=max(1, total_steps // given["validations"]),
        patience=given["patience"],
        save_seconds=given["save_seconds"],
        made_with=made_with,
    )


def liver_weights(run):
    """The file of the liver's network, which makes the regions that the tumour's is validated in.
    """
    return run.checkpoints / "liver" / "final.safetensors"


def refuse_other_settings(old, new, folder):
    """Raise ValueError, naming every value that differs, when a training would resume under other
    settings or lists.
    """
    reasons = sorted(origins.differences(_compared(old), _compared(new)))
    if reasons:
        raise ValueError(
            f"the training in {folder} has other settings: {'; '.join(reasons)}. "
            "Set them back to resume, choose another run name, or delete the folder to train afresh"
        )


def _compared(settings):
    """Settings that may not change, on one level, so that a list that changed is named and not all
    of them.
    """
    flat = {}
    for name, value in settings.items():
        nested = value if isinstance(value, dict) else {}
        flat |= {f"{name} {key}": inner for key, inner in nested.items()} or {name: value}
    return {name: value for name, value in flat.items() if name not in FREE}
