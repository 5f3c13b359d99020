"""Trained networks as teachers: they say where tumour is in livers whose masks don't."""

from dataclasses import replace

import numpy as np

from helpers import files
from helpers.cascade import inference
from helpers.cascade.precision import device_named
from helpers.cascade.weights import load_network
from helpers.processes import progress
from helpers.scans.labels import UNKNOWN
from helpers.slices.pixels import level
from helpers.slices.store import Store, near

HEALTHY, TUMOUR = 0.1, 0.9  # teachers surer than that are believed


def taught(data, runs):
    """StageData of the tumour stage in whose masks teachers have answered what is UNKNOWN.

    data  plans.StageData; runs: whose tumour networks answer, with one voice: the mean of their
          probabilities.
    Raises FileNotFoundError for a teacher without final weights, ValueError for one that learnt
    from other pixels.
    """
    paths = [run.checkpoints / "tumour" / "final.safetensors" for run in runs]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(f"{missing[0]} is missing: a teacher has finished its training")
    networks = [load_network(path, device_named("auto")) for path in paths]
    for path, network in zip(paths, networks, strict=True):
        if network.recipe != data.recipe:
            raise ValueError(f"{path}: learnt from other pixels than run {data.run.name!r} has")
    by = "-".join(files.short_hash(path)[:8] for path in paths)
    cases = sorted({case for chunk in data.train_chunks
                    for case in chunk.case[chunk.kind == "unknown"]})
    for case in progress(cases, "asking the teachers"):
        file = data.store.folder / f"{case}.mask-{by}.npy"
        if not file.is_file():
            labels = answered(data.store, case, networks)
            with files.written_whole(file) as beside, open(beside, "wb") as handle:
                np.save(handle, labels)
    return replace(data, store=Store(data.store.folder, masks=f"mask-{by}"), teachers=by)


def answered(store, case, networks):
    """A case's mask uint8 (z, y, x) with teachers' answers where they are sure, else UNKNOWN."""
    mask, image = np.array(store.mask(case)), store.image(case)
    rows, how = range(len(image)), near(store, case)
    answers = [inference.probability_of_rows(network, image, rows, **how) for network in networks]
    probability, unknown = np.mean(answers, axis=0), mask == UNKNOWN
    mask[unknown & (probability <= level(HEALTHY))] = 1
    mask[unknown & (probability >= level(TUMOUR))] = 2
    return mask
