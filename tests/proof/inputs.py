"""Every kind of bad input, through `helpers.run` and `helpers.predict`, into a table of reports/proof.md."""

import os
import sys
import tempfile
import time
from pathlib import Path

import sections

sys.path.insert(0, str(Path(__file__).parents[1]))
import situations  # noqa: E402 (tests/ holds what the tests share with the proof)
from conftest import command  # noqa: E402
from corpus import KINDS, folder_of, made  # noqa: E402
from known_networks import loaded  # noqa: E402

from helpers import predict, runs
from helpers.cascade import weights
from helpers.intake import case_table

MOST = 230  # letters of a sentence in the table
SOUND = "all sound cases came through, and no half file was left"
COLUMNS = ["what it is", "verdict", "what `cases.csv` or the terminal says", "predict", "what `helpers.predict` says", "held"]
PLAIN = ("wrote the mask", "took it without a word")


def main():
    began, rows, failed = time.monotonic(), [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        asked = made(root / "scans")
        words = ["--run", "all", "--data", root / "scans", "--only", "01,02", "--set", "val_share=0.2", "test_share=0.2"]
        done = command(root / "run", "helpers.run", *words)
        table = case_table.read_table(root / "run" / "data_lists" / "all" / "cases.csv")
        ready(root)
        for kind in KINDS:
            own = table[table.image.str.startswith(f"{folder_of(root / 'scans', kind)}/")]
            verdict, said = seen_by_intake(kind, own, done.stdout)
            code, told = predicted(asked[kind.name])
            held = len(own) == kind.cases and set(own.verdict) <= {kind.verdict} and code == kind.predicts and kind.code in said
            told = told.replace("helpers.predict: ", "").replace(f"{asked[kind.name].parent}{os.sep}", "")
            rows.append([kind.what, verdict, said, code, told.replace(f"{root}{os.sep}", ""), "yes" if held else "NO"])
        good = table[table.image.str.contains("/sound/")]
        whole = done.returncode == 0 and set(good.verdict) == {"ok"} and not situations.half_files(root)
        outside = [around(function, root / "around" / function.__name__) for function in situations.SITUATIONS]
    for row in [*rows, *outside]:
        row[2], row[-2] = (shortened(str(cell)) for cell in (row[2], row[-2]))
        failed += [row[0]] if row[-1] == "NO" else []
    text = f"""
{len(KINDS)} kinds, a folder each, lay beside {len(good)} sound cases in one folder. `helpers.run --only 01,02` over all of it
ended with exit code {done.returncode}; {SOUND if whole else "NOT all was as it should be"}. Then each by itself through
`helpers.predict`. "Held" means: the verdict, the finding and the exit codes are those that were expected.

{sections.table(COLUMNS, rows)}

Around the files:

{sections.table(["what is done", "exit code", "what a person sees", "held"], outside)}

{sections.stamp((time.monotonic() - began) / 60)}
"""
    sections.write("inputs", "Bad input", text)
    print(f"{len(KINDS)} kinds, {len(outside)} situations; did not hold: {', '.join(failed) or 'none'}")
    return 0 if whole and not failed else 1


def ready(root):
    """A run "known" with networks that answer by grey values, so that a prediction takes no training."""
    runs.ROOT = root
    (root / "checkpoints" / "known").mkdir(parents=True)
    (root / "here").mkdir()
    os.chdir(root / "here")
    weights.load_networks = lambda *_: loaded(gate=lambda grey: grey > 90)


def seen_by_intake(kind, own, printed):
    """(verdict, what is said) of the cases of one kind; of what is left out the words that were printed."""
    if not len(own):
        return "left out", kind.code if kind.code in printed else ""
    row = own.iloc[0]
    said = f"{row.findings}: {row.reason}" + (f" → {row.to_do}" if row.to_do else "") if row.findings else PLAIN[1]
    return " ".join(dict.fromkeys(own.verdict)), said


def predicted(path):
    """(exit code, what was printed on stderr)."""
    code, said = situations.refused(predict.main, [path, "--run", "known"])
    for file in Path().iterdir():
        file.unlink()
    return code, said or PLAIN[0]


def around(function, root):
    root.mkdir(parents=True)
    if function.needs_mount and not situations.can_mount(root):
        return [function.done, "–", "not tried: this user may not mount a disk", "yes"]
    runs.ROOT = root
    (root / "checkpoints" / "known").mkdir(parents=True)
    codes, seen, held = function(root)
    return [function.done, codes, seen.replace(f"{root}{os.sep}", ""), "yes" if held else "NO"]


def shortened(text):
    return text if len(text) <= MOST else text[: MOST - 2] + " …"


if __name__ == "__main__":
    sys.exit(main())
