"""Notebook 04 in several processes that train as one: the same weights, killed, taken on by another number, on two nodes.

python tests/proof/processes.py [--stages gate,liver,tumour]      writes its section of reports/proof.md
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time

import harness
import kills
import psutil
import sections
import torch

from helpers.learning import checkpoints

STEPS = 50
EXACT = {"precision": "64-true", "width": 2, "save_seconds": 1000.0, "chunk_steps": STEPS}
NODES = ("clct-a", "clct-b")  # network namespaces, each with one end of a cable


def sat(context, root, stage, count, **parameters):
    """The state that a sitting of `count` processes ends with, from the start."""
    harness.forget(root, stage)
    log = root / f"{stage}.log"
    if count == 1:
        processes = [harness.begun(context, root, stage, log, **parameters)]
    else:
        processes = harness.begun_together(context, root, stage, log, count, **parameters)
    ended(processes, log)
    return checkpoints.read_newest(harness.folder_of(root, stage))[0]


def ended(processes, log):
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(log.read_text(encoding="utf8")[-3000:])


def difference(one, other):
    """The largest of a weight or statistic between two states, the average's included."""
    pairs = [(one["parts"][part][name], value) for part in ("network", "ema") for name, value in other["parts"][part].items()]
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def same_weights(context, root, stages):
    """Rows of the table: how far the weights of 2 and 4 processes lie from one's after STEPS steps."""
    for stage in stages:
        alone = sat(context, root, stage, 1, **EXACT)
        apart = [difference(alone, sat(context, root, stage, count, **EXACT)) for count in (2, 4)]
        yield [stage, "64-true", *(f"{value:.1e}" for value in apart), "yes" if max(apart) < 1e-5 else "NO"]


def killed_and_taken_on(context, root, stage, alone):
    """Kill one of two processes; then four go on, are killed, and one ends it. Rows: what was done, what came of it."""
    harness.forget(root, stage)
    log, how = root / f"{stage}.log", EXACT | {"save_seconds": 0.1}
    log.unlink(missing_ok=True)
    for count, victim in ((2, 1), (4, 0)):
        before = harness.steps_done(root, stage)
        processes = harness.begun_together(context, root, stage, log, count, **how | {"chunk_steps": 0})
        while harness.steps_done(root, stage) < before + 10:
            time.sleep(0.05)
        processes[victim].kill()
        killed = time.monotonic()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        others = "all others ended, too" if all(codes) else "NOT all ended"
        yield [f"{count} processes, number {victim} killed", f"{others} in {time.monotonic() - killed:.1f} s; state of step "
               f"{harness.steps_done(root, stage)}"]  # fmt: skip
    left = STEPS - harness.steps_done(root, stage)
    ended([harness.begun(context, root, stage, log, **how | {"chunk_steps": left})], log)
    state = checkpoints.read_newest(harness.folder_of(root, stage))[0]
    lines = [line for line in log.read_text(encoding="utf8").splitlines() if line.startswith(("resumes", "processes was"))]
    yield [f"one process goes on to step {state['step']}", f"{difference(alone, state):.1e} from the one that nobody touched; "
           f"it said: {' · '.join(lines)}"]  # fmt: skip


def torchrun(root, stage, *words, prefix=(), network=""):
    """The command of the page about machines, begun."""
    env = harness.environment(root) | ({"GLOO_SOCKET_IFNAME": network} if network else {})
    given = [f"{name}={value}" for name, value in (harness.TRAINING | {"chunk_steps": 10}).items() if name != "interactive"]
    command = [*prefix, sys.executable, "-m", "torch.distributed.run", *words, "-m", "--", "helpers.run", "--run", harness.RUN,
               "--only", "04", "--inline", "--set", f"stage={stage}", *given]  # fmt: skip
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@contextlib.contextmanager
def two_machines():
    """(words before a command, its network) of two network namespaces with a cable between; of this one where they are denied."""

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True).returncode

    try:
        if any(ip("netns", "add", node) for node in NODES):
            yield [((), ""), ((), "")], "127.0.0.1"
            return
        ip("link", "add", "clct0", "netns", NODES[0], "type", "veth", "peer", "name", "clct1", "netns", NODES[1])
        for number, node in enumerate(NODES):
            ip("-n", node, "addr", "add", f"10.99.0.{number + 1}/24", "dev", f"clct{number}")
            for device in ("lo", f"clct{number}"):
                ip("-n", node, "link", "set", device, "up")
        yield [(("ip", "netns", "exec", node), f"clct{k}") for k, node in enumerate(NODES)], "10.99.0.1"
    finally:
        for node in NODES:
            ip("netns", "del", node)


def by_torchrun(root, stage):
    """Rows: torchrun's own two processes, of which one is killed; then two nodes with one process each."""
    harness.forget(root, stage)
    begun = torchrun(root, stage, "--nproc-per-node", "2")
    while harness.steps_done(root, stage) < 0 and begun.poll() is None:
        time.sleep(0.1)
    if begun.poll() is not None:
        raise RuntimeError(begun.communicate()[0][-3000:])
    children = [child for child in psutil.Process(begun.pid).children() if "helpers.run" in " ".join(child.cmdline())]
    children[-1].kill()
    printed, _ = begun.communicate()
    gone = not any(psutil.pid_exists(child.pid) for child in children)
    yield ["torchrun --nproc-per-node 2, one killed", f"torchrun ends with {begun.returncode}, {'both' if gone else 'NOT both'} are "
           f"gone; state of step {harness.steps_done(root, stage)}"]  # fmt: skip
    with two_machines() as (machines, address):
        endpoint = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{address}:29400"]
        nodes = []
        for number, (prefix, network) in enumerate(machines):
            # a namespace has the host's name: torchrun can't see by it whose the endpoint is, nor the other node who this is
            words = ["--rdzv-conf", f"is_host={int(number == 0)}", *(["--local-addr", f"10.99.0.{number + 1}"] if network else [])]
            nodes.append(torchrun(root, stage, *endpoint, *words, prefix=prefix, network=network))
        printed = [node.communicate()[0] for node in nodes]
    said = [line for text in printed for line in text.splitlines() if line.startswith(("resumes", "paused", "finished"))]
    where = "two network namespaces with a cable between" if machines[0][0] else "this machine, as namespaces are denied"
    yield [f"--nnodes 2 --nproc-per-node 1, in {where}", f"exit codes {[node.returncode for node in nodes]}: {' · '.join(said)}"]
    if any(node.returncode for node in nodes):
        print("\n".join(printed)[-6000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", default="gate,liver,tumour")
    stages = parser.parse_args().stages.split(",")
    began, root, context = time.monotonic(), kills.prepared(kills.WORK / "root"), harness.server()
    torch.set_num_threads(1)
    same = list(same_weights(context, root, stages))
    print(*same, sep="\n", flush=True)
    alone = sat(context, root, stages[0], 1, **EXACT)
    single = [sat(context, root, stages[0], count, **EXACT | {"precision": "32-true"}) for count in (1, 2)]
    told = list(killed_and_taken_on(context, root, stages[0], alone))
    print(*told, sep="\n", flush=True)
    told += by_torchrun(root, stages[0])
    columns = ["stage", "precision", "2 processes", "4 processes", "under 1e-5"]
    text = f"""
Notebook 04's own cells on phantoms, in processes that share one batch (gloo, one thread each), beside the same in one process.
The largest difference of any weight or statistic, the moving average's included, after {STEPS} steps of AdamW:

{sections.table(columns, same)}

In double precision, where rounding doesn't grow. In float32 AdamW turns the last bit of a gradient near zero into a whole step:
there two processes lie {difference(*single):.1e} from one after {STEPS} steps, with losses {single[0]["losses"][-1]:.4f} and
{single[1]["losses"][-1]:.4f} at the last. Another number of threads, or another processor, does the same.

{sections.table(["done", "what came of it"], told)}

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("processes", "Processes that train as one", text)
    print(text)
    return 0 if all(row[-1] == "yes" for row in same) else "weights differ"


if __name__ == "__main__":
    # what torchrun sets is for its children
    os.environ.pop("TORCHELASTIC_RUN_ID", None)
    sys.exit(main())
