"""helpers.predict on a Dask cluster whose workers are killed, beside one process, into reports/proof.md."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import distributed
import nibabel as nib
import numpy as np
import sections
import torch

from helpers import crews, processes
from helpers.cascade import weights
from helpers.intake import phantom
from helpers.slices.recipe import Recipe

SCANS = 6


def networks(folder):
    """Liver and tumour networks that learnt nothing, as files."""
    for stage in ("liver", "tumour"):
        torch.manual_seed(len(stage))
        network = weights.build("unet", 1, 1, 4, 2).eval()
        card = {"network": {"model": "unet", "in_channels": 1, "width": 4, "levels": 2}, "stage": stage, "neighbours": 0}
        card |= {"norm": [0.0, 255.0], "recipe": Recipe(windows=((-160, 240),), size=64).as_dict()}
        weights.save_weights(folder / stage / "final.safetensors", network, card)


def predicted(folder, out, *words):
    """(exit code, what was printed) of helpers.predict over all scans."""
    command = [sys.executable, "-m", "helpers.predict", folder / "scans", "--run", folder / "weights", "-o", folder / out, *words]
    rules = ["--set", "min_liver_ml=0.0", "liver_threshold=0.05"]
    done = subprocess.run([*map(str, command), *rules], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return done.returncode, done.stdout + done.stderr


def masks(folder, out):
    files = (folder / out).glob("segmentation-*")
    return {file.name: np.asarray(nib.load(file).dataobj).tobytes() for file in files}


def deadly(item):
    """Ends its process at one item, as one that is too much for the machine does."""
    if item == 1:
        os.kill(os.getpid(), 9)
    return item


def main():
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        phantom.make(folder / "scans", SCANS, size=64, workers=1)
        networks(folder / "weights")
        alone = predicted(folder, "one")
        more = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.LocalCluster(**more) as cluster:
            address = cluster.scheduler_address
            with distributed.Client(address) as client:
                first, *_ = client.run(os.getpid).values()
            killer = _kill_when(folder / "two", first)
            told = predicted(folder, "two", "--scheduler", address)
            killer.join()
            same = masks(folder, "one") == masks(folder, "two") and len(masks(folder, "two")) == SCANS
            rows.append(["a worker killed among two, after the first mask", _last(told[1]), told[0] == alone[0] == 0 and same])
            results = dict(crews.spread(deadly, [0, 1, 2], scheduler=address))
            held = results[0] == 0 and results[2] == 2 and isinstance(results[1], processes.WorkerDied)
            rows.append(["an item that ends each worker that takes it", f"item 1 {results[1].sentence}; the others are done", held])
        with distributed.LocalCluster(**more | {"n_workers": 1, "memory_limit": "1GiB"}) as cluster:
            code, printed = predicted(folder, "three", "--scheduler", cluster.scheduler_address)
            line = next(line for line in printed.splitlines() if "GiB" in line).replace(str(folder) + "/", "")
            rows.append(["a worker without memory", line, code == 1 and not masks(folder, "three")])
        code, printed = predicted(folder, "four", "--scheduler", "tcp://127.0.0.1:9")
        rows.append(["a scheduler that isn't there", printed.splitlines()[-1].replace(str(folder) + "/", ""), code == 1])
    rows = [[what, said, "yes" if held else "NO"] for what, said, held in rows]
    text = f"""
{SCANS} phantoms through `helpers.predict` on a Dask cluster of two worker processes, beside one process. The masks are compared voxel
by voxel.

{sections.table(["done to it", "what a person sees", "held"], rows)}

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("clusters", "Many scans on a cluster", text)
    print(text)
    return 0 if all(row[-1] == "yes" for row in rows) else "not held"


def _last(printed):
    """The sentence that counts the scans, without the bar before it and the folder."""
    sentence = next(line for line in reversed(printed.splitlines()) if "segmented" in line)
    return sentence[sentence.index(f"{SCANS} scans:") :].partition(";")[0]


def _kill_when(folder, pid):
    """A thread that kills a process once a mask lies in the folder."""
    def watch():
        while not any(folder.glob("segmentation-*")):
            time.sleep(0.02)
        os.kill(pid, 9)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


if __name__ == "__main__":
    sys.exit(main())
