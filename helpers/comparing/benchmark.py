"""Work that notebooks 07 and 08 measure in processes of their own: python -m helpers.comparing.benchmark plain | nnunet | learn | rehearse.

Each does one thing from start to end and leaves; the notebook notes its seconds and its memory.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from helpers import files, runs
from helpers.cascade import inference, pipeline, precision
from helpers.cascade.weights import build, load_weights
from helpers.comparing import baselines, nnunet
from helpers.learning import augmentation, batches
from helpers.scans.volume import HU_RANGE, in_our_axes, read_volume, write_mask, write_on_grid
from helpers.slices import lists, store


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    ask = argparse.ArgumentParser("python -m helpers.comparing.benchmark", description=__doc__)
    works = ask.add_subparsers(dest="work", required=True)
    for name in ("plain", "nnunet"):
        work = works.add_parser(name)
        work.add_argument("scan", type=Path)
        work.add_argument("out", type=Path)
        work.add_argument("--run", default="demo")
        work.add_argument("--mirror", action="store_true")
    work = works.add_parser("learn")
    work.add_argument("folder", type=Path, help="holds chunk_*.csv and a slice store")
    work.add_argument("--steps", type=int, default=8)
    work.add_argument("--width", type=int, default=32)
    work = works.add_parser("rehearse")
    work.add_argument("weights", type=Path, help="a network that notebook 04 trained")
    work.add_argument("--run", required=True, help="whose lists and stores it learns from")
    work.add_argument("--steps", type=int, default=8)
    asked = ask.parse_args(words)
    if asked.work == "plain":
        plain(asked.scan, asked.out, asked.run)
    elif asked.work == "nnunet":

        nnunet.predict_untrained(asked.scan, asked.out, asked.mirror)
    elif asked.work == "rehearse":
        rehearse(asked.weights, asked.run, asked.steps)
    else:
        learn(asked.folder, asked.steps, asked.width)
    return 0


def plain(scan, out, run):
    """The same networks the plain way: float32, slice by slice, no gate; writes the mask of a scan."""
    from dataclasses import replace


    volume = read_volume(scan)
    loaded = inference.load(runs.Run(run).checkpoints, "cpu", unfinished=True)
    loaded = {stage: replace(one, precision="32-true") for stage, one in loaded.items() if stage != "gate"}
    result = pipeline.segment(volume, loaded, pipeline.Rules(batch_size=1))
    write_mask(result.labels, volume, out)
    print(result.log["sentence"])


def learn(folder, steps, width):
    """A training of the liver stage on the lists and the store in a folder: some steps spread over a whole round."""
    import pandas as pd
    import torch


    chunks = [pd.read_csv(file) for file in sorted(folder.glob("chunk_*.csv"))]
    draw = batches.Batches(chunks, store.Store(folder), "liver", seed=7, batch_size=8, patch=0, neighbours=1,
                           bends=augmentation.OF_STAGE["liver"])  # fmt: skip
    half = precision.half_precision_supported(torch.device("cpu")) == "bf16-mixed"
    network = build("unet", 3, width=width, levels=3, unshuffle=2)
    step = baselines.learning(network, draw, half, torch.channels_last, averaged=True)
    for k in np.linspace(0, draw.steps_per_round - 1, steps).astype(int):
        step(int(k))


def rehearse(weights, run, steps):
    """Some steps more of a training with a binary head, on one core; prints what it costs as a line of JSON.

    weights  written by notebook 04: the card says what network learnt, and how. Seconds are the processor's, of this process.
    """
    import dataclasses
    import json
    import time

    import torch


    torch.set_num_threads(1)
    network, card = load_weights(weights)
    here, how = runs.Run(run), card["settings"]
    draw = batches.Batches(
        lists.read_lists(here.lists)[0], store.Store(here.stores / ("tumour" if how["stage"] == "tumour" else "liver")),
        how["stage"], seed=how["seed"], batch_size=how["batch_size"], patch=how["patch"], neighbours=how["neighbours"],
        bends=dataclasses.replace(augmentation.OF_STAGE[how["stage"]], **how["augment"]), norm=card["norm"],
        patient_balance=how["patient_balance"],
    )  # fmt: skip
    step = baselines.learning(network, draw, card["made_with"]["precision"] == "bf16-mixed", torch.channels_last, averaged=True)
    seconds = []
    for k in range(steps + 1):
        began = time.process_time()
        step(k)
        seconds.append(time.process_time() - began)
    sizes = [(p.numel() / 1e6, p.requires_grad) for p in network.parameters()]
    told = {"parameters_m": sum(n for n, _ in sizes), "learnt_m": sum(n for n, learns in sizes if learns)}
    print(json.dumps(told | {"slices_per_second": how["batch_size"] / float(np.median(seconds[1:]))}))  # the first one warms up


def many_cases(pixels, slices, folder, count, cases_a_chunk=20):
    """Make a training on `count` cases of a few real ones: links to their slices, and lists in chunks.

    pixels   store.Store of the liver stage; slices DataFrame of the cases' slices, as in the lists.
    """
    import pandas as pd


    folder.mkdir(parents=True, exist_ok=True)
    known, rows = sorted(slices.case.unique()), []
    for number in range(count):
        case, name = known[number % len(known)], f"case-{number:04d}"
        for part in ("image.npy", "mask.npy", "json"):
            files.link(pixels.folder / f"{case}.{part}", folder / f"{name}.{part}")
        rows.append(slices[slices.case == case].assign(case=name))
    for k in range(0, count, cases_a_chunk):
        pd.concat(rows[k : k + cases_a_chunk]).to_csv(folder / f"chunk_{k // cases_a_chunk:03d}.csv", index=False)


def write_long_scan(volume, size, slices, path, body_share=1.0, seed=7):
    """Write a scan of `slices` × size × size made from a smaller one: its own slices in the middle, its ends repeated beyond.

    body_share  share of the slices that the small scan is stretched over; the rest shows no liver.
    Noise is added, so that the file is about as hard to decompress as a real one.
    """
    import cv2


    rng, own = np.random.default_rng(seed), len(volume.hu)
    wanted = max(1, round(body_share * slices))
    rows = np.clip((np.arange(slices) - (slices - wanted) // 2) * own // wanted, 0, own - 1)
    noise = rng.normal(0, 8, (8, size, size)).astype(np.float32)
    hu = np.empty((slices, size, size), np.int16)
    for k, row in enumerate(rows):
        plane = cv2.resize(volume.hu[row].astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        hu[k] = np.clip(plane + noise[k % 8], *HU_RANGE)
    edge_mm = volume.spacing_mm[1] * volume.hu.shape[1] / size
    scan = in_our_axes(hu, (volume.spacing_mm[0] * own / wanted, edge_mm, edge_mm))
    write_on_grid(hu, scan, path)
    return scan


if __name__ == "__main__":
    sys.exit(main())
