"""What quality control's look at a scan of full size costs, beside nibabel and a SHA-256 of the same files, into reports/proof.md."""

import contextlib
import hashlib
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import sections

from helpers.intake import quality_control
from helpers.scans.folder import Case

SHAPE, ROUNDS = (512, 512, 200), 9


def drawn(folder):
    """A scan of full size with the noise of one, and its mask; returns both paths."""
    rng = np.random.default_rng(0)
    i, j, k = np.ogrid[:512, :512, :200]
    inside = ((i - 256) / 200) ** 2 + ((j - 256) / 150) ** 2 < 1
    hu = np.where(inside & (k >= 0), 40, -1000).astype(np.int16)
    labels = ((((i - 180) / 90) ** 2 + ((j - 240) / 90) ** 2 + ((k - 110) / 60) ** 2) < 1).astype(np.uint8)
    labels[((((i - 180) / 15) ** 2 + ((j - 240) / 15) ** 2 + ((k - 110) / 10) ** 2) < 1)] = 2
    hu[labels == 1], hu[250:290, 370:400] = 100, 500
    for plane in range(SHAPE[2]):
        hu[..., plane] += rng.normal(0, 15, SHAPE[:2]).astype(np.int16)
    affine = np.diag([-0.75, -0.75, 2.0, 1.0])
    for name, array in (("volume", hu), ("segmentation", labels)):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}-1.nii.gz")
    return folder / "volume-1.nii.gz", folder / "segmentation-1.nii.gz"


def loaded(files):
    """The plain way: nibabel's load of each file, and a SHA-256 of its bytes."""
    for file in files:
        np.asarray(nib.load(file).dataobj)
        hashlib.sha256(Path(file).read_bytes()).hexdigest()


def examined(files):

    row, *_ = quality_control.examine(Case("volume-1", "LiTS pairs", *files))
    assert row["verdict"] == "ok", row["reason"]


def timed(function, files):
    wall, cpu = time.perf_counter(), time.process_time()
    function(files)
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_gib(function, files):
    """Highest resident memory, looked at every 5 ms, of a fresh process that does this once."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=(files,))
    process.start()
    watched, most = psutil.Process(process.pid), 0
    while process.is_alive():
        with contextlib.suppress(psutil.NoSuchProcess):
            most = max(most, watched.memory_info().rss)
        time.sleep(0.005)
    return most / (1 << 30)


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        files = drawn(Path(folder))
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        both = [(timed(loaded, files), timed(examined, files)) for _ in range(ROUNDS + 1)][1:]  # the first warms up
        peaks = [peak_gib(function, files) for function in (loaded, examined)]
    wall, cpu = ([ours[k] / plain[k] for plain, ours in both] for k in (0, 1))
    rows = [[name, *(f"{statistics.median(pair[who][k] for pair in both):.2f} s" for k in (0, 1)), f"{peaks[who]:.2f} GiB"]
            for who, name in enumerate(("nibabel's load and SHA-256", "`quality_control.examine`"))]  # fmt: skip
    middle = [f"{statistics.median(ratios):.2f}" for ratios in (wall, cpu)]
    rows.append(["ratio, median of the pairs", *middle, f"{peaks[1] / peaks[0]:.2f}"])
    text = f"""
A synthetic scan of {" × ".join(map(str, SHAPE))} voxels and its mask as `.nii.gz`, {size_mb:.0f} MB together; {ROUNDS} times one
after the other in one process, the memory each in a fresh one. The ratios lay between {min(wall):.2f} and {max(wall):.2f} of the
clock, {min(cpu):.2f} and {max(cpu):.2f} of the processor's time.

{sections.table(["scan and mask", "clock", "processor", "peak memory"], rows)}

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("reading", "What an intake costs", text)
    print(text)


if __name__ == "__main__":
    main()
