"""Work that notebooks 07 and 08 measure in processes of their own, and what it is measured on.

python -m helpers.comparing.benchmark baseline | nnunet | learn | rehearse: each does one thing
from start to end and leaves; the notebook notes its seconds and its memory.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from helpers import files, runs
from helpers.cascade import pipeline
from helpers.cascade.precision import half_precision_supported
from helpers.cascade.weights import load_networks, load_weights
from helpers.comparing import baselines, nnunet, timing
from helpers.intake import case_table
from helpers.learning.augmentation import OF_STAGE, augmentation_of
from helpers.learning.batches import Batches
from helpers.scans.reading import read_row
from helpers.scans.volume import HU_RANGE, in_our_axes, read_volume, write_mask, write_on_grid
from helpers.slices import lists, recipe, store


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    ask = argparse.ArgumentParser("python -m helpers.comparing.benchmark", description=__doc__)
    add = ask.add_argument
    add("work", choices=("baseline", "nnunet", "learn", "rehearse"))
    add("path", type=Path, help="the scan; a folder with chunk_*.csv and a slice store; for "
        "rehearse weights that notebook 04 wrote")
    add("-o", dest="out", type=Path, help="the mask of baseline and nnunet")
    add("--run", default="demo", help="whose weights, or whose lists and stores, are used")
    add("--mirror", action="store_true", help="nnunet predicts four views of a slice")
    add("--steps", type=int, default=8)
    add("--width", type=int, default=32)
    options = ask.parse_args(words)
    if options.work == "baseline":
        predict_baseline(options.path, options.out, options.run)
    elif options.work == "nnunet":
        nnunet.predict_untrained(options.path, options.out, options.mirror)
    elif options.work == "rehearse":
        rehearse(options.path, options.run, options.steps)
    else:
        learn(options.path, options.steps, options.width)
    return 0


def predict_baseline(scan, out, run):
    """Write a scan's mask by a baseline: float32, slice by slice, no gate."""
    volume = read_volume(scan)
    networks = load_networks(runs.Run(run).checkpoints, "cpu", unfinished=True)
    single = {stage: replace(networks[stage], precision="32-true") for stage in ("liver", "tumour")}
    result = pipeline.segment(volume, single, pipeline.Rules(batch_size=1))
    write_mask(result.labels, volume, out)
    print(result.log.sentence)


def learn(folder, steps, width):
    """Train the liver's network on a folder's lists and store: some steps spread over an epoch."""
    chunks = [pd.read_csv(file) for file in sorted(folder.glob("chunk_*.csv"))]
    batches = liver_batches(chunks, store.Store(folder))
    half = half_precision_supported(torch.device("cpu"))
    step = baselines.our_step(baselines.built("unet", width, levels=3, unshuffle=2), half)
    for k in np.linspace(0, batches.steps_per_epoch - 1, steps).astype(int):
        step(batches(int(k)))


def liver_batches(chunks, pixels, seed=7, batch_size=8):
    """Batches of whole slices, three together, as the liver's network learns from them."""
    whole = {"patch": 0, "neighbours": 1, "augmentation": OF_STAGE["liver"]}
    return Batches(chunks, pixels, "liver", seed=seed, batch_size=batch_size, **whole)


def rehearse(weights, run, steps):
    """Some steps more of a training with a binary head, on one core; prints its cost as JSON.

    weights  written by notebook 04: the card says what network learnt, and how.
    prints   parameters_m and learnt_m (millions), slices_per_second by the processor's time, so
             that other programs disturb it little.
    """
    torch.set_num_threads(1)
    network, card = load_weights(weights)
    run_paths, settings = runs.Run(run), card["settings"]
    stage = settings["stage"]
    names = ("seed", "batch_size", "patch", "neighbours", "patient_balance")
    batches = Batches(
        lists.read_lists(run_paths.lists)[0],
        store.Store(run_paths.stores / ("tumour" if stage == "tumour" else "liver")),
        stage,
        augmentation=augmentation_of(stage, settings["augment"]),
        norm=card["norm"],
        **{name: settings[name] for name in names},
    )
    trained = card["made_with"]["precision"]
    precision = trained if trained == "bf16-mixed" else "32-true"  # 16-mixed is for GPUs
    step = baselines.our_step(network, precision)
    seconds = []
    for k in range(steps + 1):
        began = time.process_time()
        step(batches(k))
        seconds.append(time.process_time() - began)
    sizes = [(p.numel() / 1e6, p.requires_grad) for p in network.parameters()]
    cost = {"parameters_m": sum(millions for millions, _ in sizes)}
    cost["learnt_m"] = sum(millions for millions, learns in sizes if learns)
    typical = float(np.median(seconds[1:]))  # the first one warms up
    print(json.dumps(cost | {"slices_per_second": settings["batch_size"] / typical}))


def rehearsed(weights, run, steps):
    """What `rehearse` prints for a network, and peak_gib of its process: a dict."""
    words = ["rehearse", weights, "--run", run.name, "--steps", steps]
    done = timing.of_process([sys.executable, "-m", "helpers.comparing.benchmark", *words])
    printed = [line for line in done["output"].splitlines() if line.startswith("{")]
    return json.loads(printed[-1]) | {"peak_gib": done["peak_gib"]}


def first_scans(run):
    """Rows of cases.csv of a run's first four scans that have a mask and aren't quarantined."""
    cases = case_table.read_table(run.lists / "cases.csv")
    return cases[(cases.verdict != "quarantined") & (cases["mask"].fillna("") != "")].head(4)


def stored_slices(rows, size, folder):
    """Write a slice store of some scans; (DataFrame of the slices with liver, the store.Store)."""
    how, described = recipe.Recipe(size=size), []
    for _, row in rows.iterrows():
        volume, labels = read_row(row)
        grid = recipe.grid_of(volume, "liver", how)
        store.write_case(folder, row.case, volume, labels, grid, how)
        described.append(store.describe(row.case, labels))
    slices = pd.concat(described, ignore_index=True)
    return slices[slices.liver_px > 0], store.Store(folder)


def seconds_by_step(scan, run):
    """Where the seconds of a prediction go: dict of reading, and of each step of the cascade."""
    began = time.perf_counter()
    volume = read_volume(scan)
    read = time.perf_counter() - began
    networks = load_networks(run.checkpoints, "cpu", unfinished=True)
    log = pipeline.segment(volume, networks).log
    spent = {"read": read} | log.seconds
    return {step: seconds for step, seconds in spent.items() if step != "all"}


def many_cases(pixels, slices, folder, count, cases_a_chunk=20):
    """Make a training on `count` cases of a few: links to their slices, and lists in chunks.

    pixels   store.Store of the liver stage; slices DataFrame of the cases' slices, as in the lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known, rows = sorted(slices.case.unique()), []
    for number in range(count):
        case, name = known[number % len(known)], f"case-{number:04d}"
        for ending in ("image.npy", "mask.npy", "json"):
            files.link(pixels.folder / f"{case}.{ending}", folder / f"{name}.{ending}")
        rows.append(slices[slices.case == case].assign(case=name))
    for k in range(0, count, cases_a_chunk):
        chunk = folder / f"chunk_{k // cases_a_chunk:03d}.csv"
        pd.concat(rows[k : k + cases_a_chunk]).to_csv(chunk, index=False)


def write_long_scan(volume, size, slices, path, body_share=1.0):
    """Write a scan of `slices` × size × size made from a smaller one.

    body_share  share of the slices, in the middle, that the small scan is stretched over; its ends
                are repeated beyond, without liver.
    Noise is added, so that the file is about as hard to decompress as a real one.
    """
    rng, depth = np.random.default_rng(7), len(volume.hu)
    wanted = max(1, round(body_share * slices))
    rows = np.clip((np.arange(slices) - (slices - wanted) // 2) * depth // wanted, 0, depth - 1)
    noise = rng.normal(0, 8, (8, size, size)).astype(np.float32)
    hu = np.empty((slices, size, size), np.int16)
    for k, row in enumerate(rows):
        plane = volume.hu[row].astype(np.float32)
        plane = cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR)
        hu[k] = np.clip(plane + noise[k % 8], *HU_RANGE)
    edge_mm = volume.spacing_mm[1] * volume.hu.shape[1] / size
    scan = in_our_axes(hu, (volume.spacing_mm[0] * depth / wanted, edge_mm, edge_mm))
    write_on_grid(hu, scan, path)
    return scan


if __name__ == "__main__":
    sys.exit(main())
