"""reports/proof.md, a section at a time: each proof rewrites its own and leaves the others."""

import time

import torch

from helpers import files, runs
from helpers.learning import machine

FILE = runs.HERE / "reports" / "proof.md"
OPENING = """# What has been proved, by doing it

Written by `make proof`. Each section says when and where it was made; running its proof again rewrites it alone.
"""


def write(name, title, text, file=FILE):
    """Put a section between its markers, in place of the one of before, or at the end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n## {title}\n\n{text.strip()}\n{end}\n"
    old = file.read_text(encoding="utf8") if file.is_file() else OPENING
    if begin in old:
        before, rest = old.split(begin, 1)
        new = before + section + rest.split(end, 1)[1].lstrip("\n")
    else:
        new = old.rstrip() + "\n\n" + section
    files.write_text(file, new)


def stamp(minutes):
    """The line that says when, where and with what a section was made."""
    made = machine.described()
    return (f"{time.strftime('%Y-%m-%d')}, {made['processor']}, {made['system']}, {torch.get_num_threads()} thread, Python "
            f"{made['python']}, torch {made['torch']}, commit {made['commit'] or 'unknown'}; {minutes:.0f} minutes.")  # fmt: skip


def table(columns, rows):
    """A Markdown table of rows of texts; a cell is kept on one line."""
    lines = [columns, ["---"] * len(columns), *rows]
    clean = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in clean)
