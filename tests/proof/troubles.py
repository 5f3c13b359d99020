"""What goes wrong around a training besides being killed, a case each, and what a person sees of
it; on the gate's network.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import harness
import kills
import numpy as np
import psutil
import sections
import torch
from lightning_fabric import Fabric

from helpers import files, runs
from helpers.cascade import weights
from helpers.learning import checkpoints, losses, plans, schedules, train_step, training

CASES = []  # (what is done, function) in the order below


def case(done):
    return lambda function: CASES.append((done, function)) or function


@dataclass
class Bench:
    """A gate that can be trained again and again, and what it ends with when nothing happens."""

    context: object
    root: Path
    stage: str = "gate"
    expected: dict = None
    seconds: float = 0.0

    @property
    def folder(self):
        return harness.folder_of(self.root, self.stage)

    @property
    def log(self):
        return self.root / f"{self.stage}.log"

    def begun(self, **parameters):
        self.log.unlink(missing_ok=True)
        return harness.begun(self.context, self.root, self.stage, self.log, **parameters)

    def sat(self, **parameters):
        """One sitting; returns (exit code, what it printed)."""
        process = self.begun(**parameters)
        process.join()
        return process.exitcode, self.log.read_text(encoding="utf8")

    def afresh(self):
        harness.forget(self.root, self.stage)

    def at_work(self, process):
        """Wait until a sitting is well within its loop."""
        while process.is_alive() and not (self.log.exists() and "M weights on" in self.log.read_text(encoding="utf8")):
            time.sleep(0.01)
        watched = psutil.Process(process.pid)
        since = kills.cpu_seconds(watched)
        while process.is_alive() and kills.cpu_seconds(watched) < since + 0.5:
            time.sleep(0.01)

    def ends_the_same(self):
        """Let it train to its end, and compare that with the untouched one's."""
        code, _ = self.sat()
        return code == 0 and harness.hashes(self.root, self.stage) == self.expected


def line_with(text, words):
    """The line of an output that holds these words; empty when there is none."""
    return next((line for line in reversed(text.splitlines()) if words in line), "")


def pause_in(text):
    """The "paused at step … (why)" of an output."""
    return "paused at step" + line_with(text, "paused at step").partition("paused at step")[2].partition(":")[0]


@case("the newest generation is cut, flipped in a bit, emptied")
def damaged_newest(bench):
    sentence, held = "", True
    for harm in (lambda d: d[:-9], lambda d: d[:999] + bytes([d[999] ^ 4]) + d[1000:], lambda d: b""):
        bench.afresh()
        for _ in range(3):
            bench.sat(chunk_steps=30)
        newest, before = checkpoints.newest_first(bench.folder)[:2]
        newest.write_bytes(harm(newest.read_bytes()))
        _, text = bench.sat(chunk_steps=1)
        sentence = line_with(text, "is damaged")
        held &= newest.name in sentence and f"resumes at step {checkpoints.step_of(before)} " in text and bench.ends_the_same()
    return sentence, held


@case("all generations are damaged")
def everything_damaged(bench):
    bench.afresh()
    bench.sat(chunk_steps=30)
    for path in checkpoints.newest_first(bench.folder):
        path.write_bytes(path.read_bytes()[:-1])
    before = {path.name: files.sha256(path) for path in bench.folder.glob("*.*")}
    code, text = bench.sat()
    same = before == {path.name: files.sha256(path) for path in bench.folder.glob("*.*")}
    return line_with(text, "all generations"), code == 1 and same


@case("the generations are deleted, the weights are still there")
def generations_gone(bench):
    bench.afresh()
    bench.sat(chunk_steps=45)
    for path in checkpoints.newest_first(bench.folder):
        path.unlink()
    code, text = bench.sat()
    return line_with(text, "no generation to resume from"), code == 1 and not checkpoints.newest_first(bench.folder)


class mounted:
    """A small disk of its own at a folder."""

    def __init__(self, folder, megabytes):
        self.folder, self.size = folder, f"size={megabytes}m"

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", self.size, "tmpfs", self.folder], check=True, stderr=subprocess.DEVNULL)
        return self

    def again(self, how):
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], check=True)


@case("the disk is full")
def full_disk(bench):
    bench.afresh()
    with mounted(bench.folder, 4):
        bench.sat(chunk_steps=30)
        with open(bench.folder / "filler", "wb", buffering=0) as filler:
            while True:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    break
        code, text = bench.sat(loggers="")
        held = (
            code == 1
            and "the state of step 30 is whole" in text
            and harness.steps_done(bench.root, bench.stage) == 30
            and not list(bench.folder.glob(".*.part.*"))
        )
        (bench.folder / "filler").unlink()
        return line_with(text, "can't be written"), held and bench.ends_the_same()


@case("the disk is read-only")
def read_only_disk(bench):
    bench.afresh()
    with mounted(bench.folder, 8) as disk:
        bench.sat(chunk_steps=30)
        disk.again("ro")
        code, text = bench.sat(loggers="")
        disk.again("rw")
        sentence = line_with(text, "Read-only")
        return sentence, bool(sentence) and code == 1 and bench.ends_the_same()


@case("a second training on the same folder")
def second_training(bench):
    bench.afresh()
    first = bench.begun()
    bench.at_work(first)
    second = harness.begun(bench.context, bench.root, bench.stage, bench.root / "second.log")
    second.join()
    text = (bench.root / "second.log").read_text(encoding="utf8")
    (bench.root / "second.log").unlink()
    first.join()
    same = first.exitcode == 0 and harness.hashes(bench.root, bench.stage) == bench.expected
    return line_with(text, "another process"), second.exitcode == 1 and same


@case("SIGTERM, then SIGINT, to the kernel")
def signals(bench):
    bench.afresh()
    sentence, held = [], True
    for number in (signal.SIGTERM, signal.SIGINT):
        process = bench.begun()
        bench.at_work(process)
        os.kill(process.pid, number)
        process.join()
        sentence.append(pause_in(bench.log.read_text(encoding="utf8")))
        held &= process.exitcode == 0 and f"{number.name} received" in sentence[-1]
    return " · ".join(sentence), held and bench.ends_the_same()


@case("the notebook's interrupt button")
def interrupt_button(bench):
    import json

    from jupyter_client.manager import start_new_kernel

    bench.afresh()
    env = harness.environment(bench.root)
    manager, client = start_new_kernel(kernel_name="python3", env=env, cwd=str(runs.NOTEBOOKS), startup_timeout=300)
    printed = []

    def hook(message):
        printed.append(message["content"].get("text", "") + message["content"].get("evalue", ""))

    try:
        given = harness.TRAINING | {"run": harness.RUN, "stage": bench.stage}
        for cell in json.loads((runs.NOTEBOOKS / "04_training.ipynb").read_text(encoding="utf8"))["cells"]:
            code = "".join(cell["source"])
            if cell["cell_type"] != "code":
                continue
            if "parameters" in cell["metadata"].get("tags", []):
                code += "\n" + "\n".join(f"{name} = {value!r}" for name, value in given.items())
            if "sittings.sitting(" in code:  # pressed while the loop runs
                request = client.execute(code)
                while not checkpoints.newest_first(bench.folder):
                    time.sleep(0.05)
                time.sleep(0.5)
                manager.interrupt_kernel()
                while (message := client.get_iopub_msg(timeout=600))["content"].get("execution_state") != "idle" or (
                    message["parent_header"].get("msg_id") != request
                ):
                    hook(message)
                break
            client.execute_interactive(code, output_hook=hook, timeout=600)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    sentence = pause_in("".join(printed))
    return sentence, "SIGINT received" in sentence and bench.ends_the_same()


@case("Ctrl-C to `helpers.run`")
def command_interrupted(bench):
    bench.afresh()
    env = harness.environment(bench.root)
    given = [f"{name}={value}" for name, value in harness.TRAINING.items() if name != "interactive"]
    words = [sys.executable, "-m", "helpers.run", "--run", harness.RUN, "--only", "04", "--set", f"stage={bench.stage}", *given]
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not checkpoints.newest_first(bench.folder) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate()
    again = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    same = again.returncode == 0 and harness.hashes(bench.root, bench.stage) == bench.expected
    return f"exit code {process.returncode}: {pause_in(text)}", process.returncode == 75 and same


@case("a file named stop; `chunk_steps`; `chunk_minutes`")
def sittings_end(bench):
    bench.afresh()
    (bench.folder.parent).mkdir(parents=True, exist_ok=True)
    (bench.folder.parent / "stop").touch()
    sentence = [pause_in(bench.sat()[1])]
    held = "a file named stop" in sentence[0] and not (bench.folder.parent / "stop").exists()
    sentence.append(pause_in(bench.sat(chunk_steps=37)[1]))
    held &= "paused at step 37" in sentence[1] and "chunk_steps are up" in sentence[1]
    sentence.append(pause_in(bench.sat(chunk_minutes=0.005)[1]))
    held &= "chunk_minutes are up" in sentence[2]
    return " · ".join(sentence), held and bench.ends_the_same()


@case("another learning rate, another list")
def other_settings(bench):
    bench.afresh()
    bench.sat(chunk_steps=30)
    code, text = bench.sat(learning_rate=0.5)
    sentence, held = [line_with(text, "other settings")], code == 1 and "learning_rate was 0.002, is 0.5" in text
    listed = bench.root / "data_lists" / harness.RUN / "train_chunk_01.csv"
    whole = listed.read_bytes()
    listed.write_bytes(b"\n".join(whole.splitlines()[:-1]) + b"\n")
    code, text = bench.sat()
    listed.write_bytes(whole)
    sentence.append(line_with(text, "other settings").partition("has ")[2].partition(". ")[0])
    return " · ".join(sentence), held and code == 1 and "lists train_chunk_01.csv was" in text and bench.ends_the_same()


@case("what may change: time limits, `save_seconds`, loggers, `device` by another name")
def free_settings(bench):
    bench.afresh()
    bench.sat(chunk_steps=30)
    bench.sat(chunk_steps=31, save_seconds=9.0, loggers="", chunk_minutes=50.0, device="cpu")
    return "resumes at step 61", bench.ends_the_same()


@case("another arithmetic (as on another device), and a state that any machine can read")
def other_machine(bench):
    bench.afresh()
    bench.sat(chunk_steps=30)
    state, _ = checkpoints.read_newest(bench.folder)
    held = all(tensor.device.type == "cpu" for tensor in tensors_in(state))
    code, text = bench.sat(precision="bf16-mixed", chunk_steps=5)
    return line_with(text, "precision was"), held and code == 0 and "paused at step 35" in text


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for one in inner for tensor in tensors_in(one)]


def extended(bench, first, longer, moments):
    """Train for `first` parameters, then to the end of `longer`, with kills there; returns (hashes,
    rate before, after).
    """
    bench.afresh()
    bench.sat(**first)
    before = rate_in(bench)
    final = bench.folder / "final.safetensors"
    old = files.sha256(final) if final.exists() else None
    _, text = bench.sat(**longer, chunk_steps=1)
    assert "without a jump" in text
    assert old is None or files.sha256(final) == old
    after = rate_in(bench)
    rng = np.random.default_rng(11)
    kills.killed_to_the_end(bench.context, bench.root, bench.stage, bench.seconds, moments, rng, fresh=False, **longer)
    return harness.hashes(bench.root, bench.stage), before, after


def rate_in(bench):
    """The learning rate that the newest generation resumes with."""
    return checkpoints.read_newest(bench.folder)[0]["parts"]["optimiser"]["param_groups"][0]["lr"]


@case("a finished training gets two more epochs, untouched and killed three times")
def finished_extended(bench):
    longer = {"epochs": harness.TRAINING["epochs"] + 2}
    (plain, before, after), (killed, *_) = extended(bench, {}, longer, 0), extended(bench, {}, longer, 3)
    same = plain == killed and plain != bench.expected and before == after
    return f"learning rate {before:.2e} before, {after:.2e} after; `final` kept until the new end", same


@case("a paused training gets two more epochs, untouched and killed three times")
def paused_extended(bench):
    first, longer = {"chunk_steps": 60}, {"epochs": harness.TRAINING["epochs"] + 2}
    (plain, before, after), (killed, *_) = extended(bench, first, longer, 0), extended(bench, first, longer, 3)
    return f"learning rate {before:.2e} before, {after:.2e} a step later", plain == killed and abs(after / before - 1) < 0.01


@case("fewer epochs than are done")
def fewer_epochs(bench):
    bench.afresh()
    bench.sat(chunk_steps=60)
    code, text = bench.sat(epochs=1)
    return line_with(text, "ask for more epochs"), code == 1 and bench.ends_the_same()


@case("`patience` ends it early, untouched and killed three times")
def patience(bench):
    bench.afresh()
    _, text = bench.sat(patience=1)
    plain = harness.hashes(bench.root, bench.stage)
    rng = np.random.default_rng(12)
    killed = kills.killed_to_the_end(bench.context, bench.root, bench.stage, bench.seconds, 3, rng, patience=1)["hashes"]
    sentence = line_with(text, "stopped early").partition(": ")[2] or line_with(text, "stopped early")
    return sentence, bool(sentence) and plain == killed


@case("what saving costs: the default liver network, default `save_seconds`")
def price_of_saving(bench):
    network = weights.build("unet", 3, 1, 16, 4)
    optimiser = torch.optim.AdamW(network.parameters())
    fabric = Fabric(accelerator="cpu", devices=1)
    train_step.TrainStep(network, optimiser, losses.loss_named("bce"), fabric)((torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)))
    parts = {"network": network, "ema": weights.averaged(network), "optimiser": optimiser}
    parts["scheduler"] = schedules.schedule("cosine", optimiser, 100, 5)
    with tempfile.TemporaryDirectory(dir=bench.root) as folder:
        state = training.Training(folder, parts, plans.Plan({}, {"network": {}}, 100, validate_every=10))
        state.note_validation(network, score=0.5)
        took = []
        for step in range(9):
            state.step = step
            state.save()
            took.append(state.save_took)
        size = checkpoints.newest_first(folder)[0].stat().st_size / 1e6
    share = statistics.median(took) / max(state.plan.save_seconds, statistics.median(took) * 100)
    return f"{size:.0f} MB in {statistics.median(took):.2f} s (median of 9), {share:.2%} of the time", share <= 0.01


def main():
    began = time.monotonic()
    bench = Bench(harness.server(), kills.prepared(kills.WORK / "root"))
    bench.expected, bench.seconds = kills.untouched(bench.context, bench.root, bench.stage)
    rows, failed = [], []
    wanted = sys.argv[1:]
    for done, function in CASES:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            sentence, held = function(bench)
        except (AssertionError, RuntimeError, subprocess.CalledProcessError) as error:
            sentence, held = f"{type(error).__name__}: {error}", False
            if isinstance(error, subprocess.CalledProcessError) and error.cmd[0] == "mount":
                sentence, held = "not tried: this user may not mount a disk", True
        rows.append([done, sentence.replace(str(bench.root) + "/", ""), "yes" if held else "NO"])
        failed += [] if held else [function.__name__]
        print(*rows[-1], sep=" | ", flush=True)
    if not wanted:
        text = f"""
"Held" means: the sentence was there, the exit code was right, the saved states were still there, and, wherever it can be
resumed, the training was then taken to its end and ended with the hashes of the one that nobody touched.

{sections.table(["done to it", "what a person sees", "held"], rows)}

No GPU was there: that states hold CPU tensors only, and that device and arithmetic may change, was checked on the CPU.

{sections.stamp((time.monotonic() - began) / 60)}
"""
        sections.write("troubles", "Damage, full disks, signals, settings", text)
    return f"did not hold: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    sys.exit(main())
