"""JupyterLab on a run's own copies of the notebooks: python -m helpers.lab --run mine.

They lie in lab/<run>/ and keep what you do there, outputs, edits and notes; the project's notebooks
stay as they came. Their parameters are those that the run was last made with.
"""

import argparse
import hashlib
import sys

from helpers import files, runs
from helpers.parameters import parameters_of, tagged
from helpers.running import run_parameters
from helpers.running.run_parameters import OF_A_CALL

MARK = "cascade_liver"  # in a copy's metadata: what the project's notebook was when it was copied


def main(words=None):
    """Bring a run's copies up to date and open the first; what else is given goes to JupyterLab."""
    ask = argparse.ArgumentParser("python -m helpers.lab", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", default="demo", help="whose notebooks")
    ask, others = ask.parse_known_args(words)
    try:
        copies, sentences = copied(runs.Run(ask.run))
    except (ValueError, OSError) as error:
        print(f"helpers.lab: {error}", file=sys.stderr)
        return 2
    print(f"the notebooks of run {ask.run!r} are in {runs.relative(copies[0].parent)}/",
          *sentences, sep="\n", flush=True)
    from jupyterlab.labapp import main as jupyterlab

    return jupyterlab([str(copies[0]), f"--ServerApp.root_dir={runs.ROOT}", *others])


def copied(run):
    """Copy each notebook that `run` has no copy of, or an older one that nobody edited.

    returns  (the copies' paths, a sentence for each that was edited and stays, though older).
    """
    copies, sentences = [], []
    for original in sorted(runs.NOTEBOOKS.glob("[0-9]*.ipynb")):
        copy = runs.ROOT / "lab" / run.name / original.name
        fresh, there = _fresh(original), files.recorded(copy)
        mark = there.get("metadata", {}).get(MARK)
        newer, edited = fresh["metadata"][MARK] != mark, there and _body(there) != mark
        if newer and edited:
            sentences.append(f"{runs.relative(copy)} stays as you edited it; the project has a "
                             "newer one: rename yours to get it")
        content = fresh if newer and not edited else there
        _fill_in(content, _values(run, original, copy))
        if content != files.recorded(copy):
            files.write_json(copy, content)
        copies.append(copy)
    return copies, sentences


def _fresh(original):
    """A notebook of the project as it is copied: links hold in a folder that lies deeper."""
    content = files.read_json(original)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = [line.replace("](../", "](../../") for line in cell["source"]]
    content["metadata"][MARK] = _body(content)
    return content


def _body(content):
    """A hash of all cells but the parameters: an edit changes it, another value doesn't."""
    parameters = tagged(content)
    sources = ["".join(cell["source"]) for cell in content["cells"] if cell not in parameters]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def _values(run, original, copy):
    """Parameters for a copy: the copy's own, or the run's where that was called since."""
    there, called = copy.is_file(), run_parameters.file_of(run)
    values = parameters_of(copy if there else original)
    if not there or called.is_file() and called.stat().st_mtime > copy.stat().st_mtime:
        before = run_parameters.of_before(run, original.stem, values.get("stage", ""))
        if before is not None:
            of_call = {name: values[name] for name in OF_A_CALL & values.keys()}
            values = parameters_of(original) | of_call | before[0]
    return values | {"run": run.name}


def _fill_in(content, values):
    """Write values into the cell of parameters, a line each; comments stay where they were."""
    (cell,) = tagged(content)
    before, lines = "".join(cell["source"]), []
    for line in before.splitlines():
        assigned, hash_sign, comment = line.partition("  #")
        name = assigned.partition("=")[0].strip()
        if name in values:
            assigned = f"{name} = {_written(values[name])}".ljust(len(assigned))
        lines.append(assigned + hash_sign + comment)
    if (after := "\n".join(lines)) != before:
        cell["source"] = after.splitlines(keepends=True)


def _written(value):
    """A literal as a person types it."""
    plain = isinstance(value, str) and not set(value) & set('"\\\n')
    return f'"{value}"' if plain else repr(value)


if __name__ == "__main__":
    sys.exit(main())
