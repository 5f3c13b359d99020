"""Kills trainings of 04 again and again, a third of the time while they write, and compares what
they end with.

python tests/proof/kills.py [--kills 34] [--commands 3]      by stage; resumes where it was stopped
"""

import argparse
import collections
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import harness
import numpy as np
import psutil
import sections

from helpers.files import sha256, write_json
from helpers.runs import HERE, NOTEBOOKS

WORK = HERE / "data" / "proof"
RUNS = 2  # trainings a stage that the kills are spread over


def prepared(root):
    """A run on phantoms up to 02 in a root folder, made once."""
    done = Path(root) / "reports" / harness.RUN / "stages" / "02_filtering.json"
    if not done.is_file():
        env = os.environ | {"CASCADE_LIVER_ROOT": str(root)}
        words = ["--run", harness.RUN, "--only", "01,02", "--set", *harness.PHANTOMS]
        subprocess.run([sys.executable, "-m", "helpers.run", *words], env=env, check=True, stdout=subprocess.DEVNULL)
    return Path(root)


def untouched(context, root, stage, **parameters):
    """Train a stage without touching it; returns (hashes, CPU seconds that it took)."""
    harness.forget(root, stage)
    process = harness.begun(context, root, stage, root / f"{stage}.log", **parameters)
    watched, seconds = psutil.Process(process.pid), 0.0
    while process.is_alive():
        seconds = max(seconds, cpu_seconds(watched))
        process.join(0.05)
    ended_well(process, root, stage)
    return harness.hashes(root, stage), seconds


def cpu_seconds(process):
    """CPU seconds of a process so far: a busy machine slows the wall clock, not this."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def killed_to_the_end(context, root, stage, seconds, kills, rng, say=lambda text: None, fresh=True, **parameters):
    """Train a stage while killing its sittings `kills` times; returns what was killed and what it
    ended with.

    seconds  CPU seconds of an untouched training: kills fall anywhere within the first half of
             that.
    fresh    False resumes from what is there.
    """
    harness.forget(root, stage, stamp_only=not fresh)
    began, moments, steps, sitting = time.monotonic(), [], [], 0
    while not harness.finished(root, stage):
        process = harness.begun(context, root, stage, root / f"{stage}.log", **parameters)
        if len(moments) < kills:
            aimed = rng.random() < 0.4  # some aimed ones come too late
            killed = killed_in_writing(process, root, stage, rng) if aimed else killed_after(process, seconds * rng.random() / 2)
            if killed:
                moments.append(leftover(root, stage) or "between")
                steps.append(harness.steps_done(root, stage))
                say(f"{stage}: kill {len(moments)}, {moments[-1]}, step {steps[-1]}")
                continue
        ended_well(process, root, stage)
        sitting += 1
        assert sitting < 3, "a sitting ended without an end"
    minutes = (time.monotonic() - began) / 60
    return {"stage": stage, "moments": moments, "steps": steps, "hashes": harness.hashes(root, stage), "minutes": minutes}


def killed_after(process, seconds):
    """Kill a sitting when it has used so many CPU seconds; False when it ended before."""
    watched = psutil.Process(process.pid)
    while process.is_alive():
        if cpu_seconds(watched) >= seconds:
            return killed(process)
        time.sleep(0.005)
    return False


def killed_in_writing(process, root, stage, rng):
    """Kill a sitting when the n-th file is being written in its folder, at a moment of that; False
    when it ended before.
    """
    wanted, writing, folder = rng.integers(1, 7), set(), harness.folder_of(root, stage)
    while process.is_alive():
        if folder.is_dir():
            writing |= {name for name in os.listdir(folder) if name.startswith(f".{process.pid}-")}
        if len(writing) >= wanted:
            time.sleep(rng.choice([0, 0, 0.001, 0.003]))
            return killed(process)
        time.sleep(0.0005)
    return False


def killed(process):
    process.kill()
    process.join()
    return process.exitcode == -9


def leftover(root, stage):
    """What a killed sitting was writing: "generation", "best" …; empty when nothing."""
    parts = [path.name.partition(".part.")[2] for path in harness.folder_of(root, stage).glob(".*.part.*")]
    return re.split(r"[-_.]", parts[0])[0] if parts else ""


def ended_well(process, root, stage):
    process.join()
    if process.exitcode:
        tail = (root / f"{stage}.log").read_text(encoding="utf8")[-3000:]
        raise RuntimeError(f"a sitting of {stage} ended with {process.exitcode}:\n{tail}")


def killed_commands(root, stage, kills, rng):
    """The same through `python -m helpers.run`, kernel and all; every other time the kernel alone
    is killed.
    """
    harness.forget(root, stage)
    began, moments, steps = time.monotonic(), [], []
    env = harness.environment(root)
    given = [f"{name}={value}" for name, value in harness.TRAINING.items() if name != "interactive"]
    words = ["--run", harness.RUN, "--only", "04", "--set", f"stage={stage}", *given]
    while not harness.finished(root, stage):
        with open(root / f"{stage}.log", "a") as log:
            process = subprocess.Popen([sys.executable, "-m", "helpers.run", *words], env=env, stdout=log, stderr=log)
        if len(moments) < kills and (kernel := kernel_of(process)):
            before = harness.steps_done(root, stage)
            while harness.steps_done(root, stage) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            if process.poll() is None:
                if len(moments) % 2 == 0:
                    process.kill()
                with contextlib.suppress(psutil.NoSuchProcess):
                    kernel.kill()
                moments.append("kernel" if len(moments) % 2 else "command and kernel")
                steps.append(harness.steps_done(root, stage))
            process.wait()
            psutil.wait_procs([kernel], timeout=30)
        elif process.wait():
            raise RuntimeError((root / f"{stage}.log").read_text(encoding="utf8")[-3000:])
    minutes = (time.monotonic() - began) / 60
    hashes = harness.hashes(root, stage)
    return {"stage": stage, "moments": moments, "steps": steps, "hashes": hashes, "minutes": minutes, "command": True}


def kernel_of(process):
    """The kernel that a helpers.run has started, once it is there; None when the command ended
    first.
    """
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            if "ipykernel_launcher" in " ".join(child.cmdline()):
                return child
        time.sleep(0.05)
    return None


def code_now():
    """A hash of everything that a result of this proof rests on."""
    files = [*sorted((HERE / "helpers").rglob("*.py")), NOTEBOOKS / "04_training.ipynb", Path(harness.__file__)]
    return harness.digest([sha256(file) for file in files])[:16]


def remembered():
    """What earlier calls have got, as long as the code is the same."""
    file = WORK / "kills.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    return known if known.get("code") == code_now() else {"code": code_now(), "untouched": {}, "killed": []}


def section_text(known):
    """The section's text."""
    rows, total, writing = [], 0, 0
    for stage in harness.STAGES:
        for command in (False, True):
            runs = [run for run in known["killed"] if run["stage"] == stage and run.get("command", False) == command]
            moments = [moment for run in runs for moment in run["moments"]]
            saving = collections.Counter(m for m in moments if m != "between" and not command)
            same = {p: all(r["hashes"][p] == known["untouched"][stage][0][p] for r in runs) for p in harness.COMPARED}
            steps = sorted({step for run in runs for step in run["steps"]} - {-1})
            rows.append([stage, "helpers.run" if command else "04's cells", len(runs), len(moments), f"{len(steps)} steps",
                         "" if command else f"{saving.total()} ({', '.join(f'{n} {k}' for k, n in saving.most_common())})",
                         "all" if all(same.values()) else "NOT " + ", ".join(p for p in same if not same[p]),
                         f"{sum(run['minutes'] for run in runs):.1f}"])  # fmt: skip
            total, writing = total + len(moments), writing + saving.total()
    columns = [
        "stage",
        "through",
        "trainings",
        "kills",
        "newest state then at",
        "of these within a write of",
        "hashes equal",
        "minutes",
    ]
    steps = ", ".join(f"{stage} {known['untouched'][stage][2]}" for stage in harness.STAGES)
    return f"""
Phantoms, tiny networks, notebook 04 (steps: {steps}), in forked processes that run its cells, or through `helpers.run` with
its kernel. Every training was killed with SIGKILL, at a random moment or while a file of its folder was being written, and
started again until it ended. "Within a write" counts the kills that left a temporary file. So that there is more to hit,
the forked ones save every tenth of a second, without the rule that saving costs at most 1 %. Compared by SHA-256 with the
training that nobody touched: {", ".join(harness.COMPARED)}; "files" are the weights in all safetensors.

{sections.table(columns, rows)}

**{total} kills, {writing} of them within a write.** {known["stamp"]}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=34, help="a stage")
    parser.add_argument("--commands", type=int, default=3, help="kills a stage through helpers.run")
    arguments = parser.parse_args()
    root, context, known = prepared(WORK / "root"), harness.server(), remembered()
    for stage in harness.STAGES:
        if stage not in known["untouched"]:
            known["untouched"][stage] = [*untouched(context, root, stage), harness.steps_done(root, stage)]
            print(stage, "untouched:", *known["untouched"][stage][1:], flush=True)
        expected, seconds, _ = known["untouched"][stage]
        for command in (False, True):
            wanted = arguments.commands if command else arguments.kills
            while True:
                runs = [run for run in known["killed"] if run["stage"] == stage and run.get("command", False) == command]
                missing = wanted - sum(len(run["moments"]) for run in runs)
                if missing <= 0:
                    break
                rng = np.random.default_rng([len(known["killed"]), harness.STAGES.index(stage)])
                if command:
                    run = killed_commands(root, stage, missing, rng)
                else:
                    share = min(missing, -(-wanted // RUNS))
                    run = killed_to_the_end(context, root, stage, seconds, share, rng, lambda t: print(t, flush=True))
                print(stage, len(run["moments"]), "kills, equal:", run["hashes"] == expected, flush=True)
                known["killed"].append(run)
                known["stamp"] = sections.stamp(sum(run["minutes"] for run in known["killed"]))
                WORK.mkdir(parents=True, exist_ok=True)
                write_json(WORK / "kills.json", known)
    sections.write("kills", "Killed trainings", section_text(known))
    different = [run["stage"] for run in known["killed"] if run["hashes"] != known["untouched"][run["stage"]][0]]
    return f"not the same: {', '.join(different)}" if different else 0


if __name__ == "__main__":
    sys.exit(main())
