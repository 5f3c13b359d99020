"""Trainings that begin with weights which learnt already: the shipped ones, or another run's."""

from helpers import files, origins, runs
from helpers.cascade.weights import load_network
from helpers.intake import case_table

RATE = 0.1  # share of the stage's own learning rate: what is good already mustn't be shaken
FROM_CARD = ("model", "width", "levels", "unshuffle")


def network_of(start_from, stage):
    """The TrainedNetwork of a stage that a run's name, or a folder of checkpoints, means.

    Raises ValueError where there is none.
    """
    path = runs.weights_folder(start_from) / stage / "final.safetensors"
    if not path.is_file():
        raise ValueError(f"start_from={start_from!r}: {path} is missing: a training begins with "
                         "final weights of its own stage")
    return load_network(path)


def defaults(start_from, stage, of_stage):
    """What the weights say in place of the stage's defaults: the network, and a lower rate."""
    network = network_of(start_from, stage).card["network"]
    return {"learning_rate": RATE * of_stage["learning_rate"]} | {
        name: network[name] for name in FROM_CARD if name in network}


def begin(start_from, network, architecture, data, neighbours):
    """Put the weights into the network of a training that hasn't begun.

    architecture  dict: what `weights.build` made the network of; data: plans.StageData.
    returns       names of validation scans that the weights learnt from: their scores flatter.
    Raises ValueError for weights of another network, or that learnt from other pixels, with what
    differs.
    """
    trained = network_of(start_from, data.stage)
    here = {"neighbours": neighbours} | architecture | data.recipe.as_dict()
    there = {"neighbours": trained.card["neighbours"]} | trained.card["network"]
    there |= trained.recipe.as_dict()
    here, there = ({name: value for name, value in card.items() if name != "frozen"}
                   for card in (here, there))
    if reasons := origins.differences(there, here):
        raise ValueError(f"start_from={start_from!r}: its {data.stage} network is another, or "
                         f"learnt from other pixels: {'; '.join(reasons)}. Set them back, those of "
                         "the recipe in notebook 02, or train without start_from")
    network.load_state_dict(trained.network.state_dict())
    return known_cases(start_from, data.stage, data.run, data.val.case)


def known_cases(start_from, stage, run, names):
    """Which of a run's named cases the weights learnt from, by their voxels."""
    learnt = network_of(start_from, stage).card.get("data", {}).get("voxels", [])
    cases = case_table.read_table(run.lists / "cases.csv")
    return cases.case[cases.case.isin(names) & cases.voxels.isin(learnt)].tolist()


def origin(start_from, stage):
    """(what a training's settings keep of it, voxel hashes of the scans it learnt from)."""
    if not start_from:
        return {}, []
    trained = network_of(start_from, stage)
    kept = {"weights": start_from, "hash": files.short_hash(trained.path)}
    return {"start_from": kept}, trained.card.get("data", {}).get("voxels", [])
