"""Timing in turns, and the memory of a process that is known to take some."""

import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from helpers.comparing import timing


def test_variants_take_turns():
    """Each is warmed up once; then forwards in odd rounds, backwards in even ones."""
    called = []
    table = timing.side_by_side({name: lambda k, name=name: called.append((name, k)) for name in "ab"}, 2)
    assert called == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert list(table.columns) == ["a", "b"] and len(table) == 2


def test_what_other_processes_take_is_told_from_what_this_one_and_its_children_do():
    """Half a second each of this process, a child that ends, and another one: the last counts."""
    spin = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"
    quiet = timing.Others()
    exec(spin.format(0.5))
    done = timing.of_process([sys.executable, "-c", spin.format(0.5)])
    own = quiet.cores()
    other, beside = subprocess.Popen([sys.executable, "-c", spin.format(2)]), timing.Others()
    time.sleep(1.5)
    busy = beside.cores()
    other.wait()
    assert done["others"] < own + 0.5
    assert busy > own + 0.1, (own, busy)


def test_summary_by_hand():
    """Five rounds; a busy moment slows both in the third, and the ratio doesn't see it."""
    seconds = pd.DataFrame({"ours": [1.0, 2.0, 50.0, 1.0, 2.0], "theirs": [3.0, 6.0, 150.0, 3.0, 4.0]})
    table = timing.summarised(seconds, items=8)
    assert table.times_slower.tolist() == [1.0, 3.0]
    assert table.seconds.tolist() == [2.0, 4.0] and table.items_per_second.tolist() == [4.0, 2.0]
    assert (table.low["ours"], table.high["ours"], table.best["ours"]) == (4.0, 8.0, 8.0)


def test_peak_memory_of_a_process_and_its_child():
    child = "import time; kept = bytearray(150 << 20); time.sleep(0.5)"
    start = f"subprocess.run([sys.executable, '-c', {child!r}])"
    work = f"import subprocess, sys; kept = bytearray(150 << 20); {start}; print('well')"
    done = timing.of_process([sys.executable, "-c", work])
    assert 0.28 < done["peak_gib"] < 0.5 and done["output"].strip() == "well" and done["seconds"] > 0.5


def test_a_failing_process_shows_what_it_printed():
    with pytest.raises(RuntimeError, match="ended with 3: no such luck"):
        timing.of_process([sys.executable, "-c", "import sys; print('no such luck'); sys.exit(3)"])


def test_operations_of_a_convolution_by_hand():
    """2 · 3 · 5 · 9 products and sums for each of 4 · 6 pixels of two pictures."""
    layer = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)
    assert timing.operations(lambda: layer(torch.zeros(2, 3, 4, 6))) == 2 * 3 * 5 * 9 * 4 * 6 * 2
