"""What a stage has read and written, so that running it again does nothing, or says what changed."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from helpers import __version__, files, runs
from helpers.parameters import parameters_of

# parameters that change how long or where a stage runs, or what is drawn, never what it writes; a trial has a stamp of its own
WITHOUT_EFFECT = {"interactive", "device", "chunk_minutes", "chunk_steps", "save_seconds", "workers", "loggers", "trial"}


def seen(path):
    """What changes when a file's or a folder's content does.

    Lists and other files under 1 MB are hashed, so that writing the same list again changes nothing; of larger ones size and
    time count. A folder gives a dict of its files, links followed, whose time of change and inode count too: they tell a file
    that was put in place of another of the same size and with its time.
    """
    path = Path(path)
    if path.is_dir():
        return {p.relative_to(path).as_posix(): files.file_signature(p) for p in sorted(files.files_below(path))}
    if not path.exists():
        return "missing"
    stat = path.stat()
    return files.sha256(path)[:16] if stat.st_size < 1 << 20 else f"{stat.st_size}-{stat.st_mtime_ns}"


@dataclass
class Step:
    """One stage of one run: its settings, what it reads, and its stamp `reports/<run>/stages/<name>.json`."""

    name: str
    run: runs.Run
    settings: dict
    reads: list = field(default_factory=list)
    at_start: dict = field(default_factory=dict)  # what `begin` saw of what it reads: that is what the stage will have read

    @property
    def stamp(self):
        return self.run.reports / "stages" / f"{self.name}.json"

    def changes(self):
        """Why the stage has to run, a sentence each; empty when it is up to date."""
        if not self.stamp.is_file():
            return ["it has not run yet"]
        try:
            old = files.read_json(self.stamp)
        except json.JSONDecodeError:
            return [f"its stamp {self.stamp.name} can't be read"]
        if old["state"] != "done":
            return [f"it paused: {old['sentence']}" if old["state"] == "paused" else "it has not come to its end"]
        reasons = [
            f"{key} was {old['settings'].get(key)!r}, is {value!r}"
            for key, value in self._settings().items()
            if old["settings"].get(key) != value
        ]
        for path in [runs.relative(p) for p in self.reads] or old["reads"]:  # a runner without the notebook asks the stamp
            reasons += _differences(path, old["reads"].get(path, "missing"), self._seen(path))
        return reasons + _shortened([f"{path} is gone" for path in old["writes"] if not runs.absolute(path).exists()])

    @property
    def state(self):
        """What the stamp says: "begun", "paused", "done", or "" where there is none."""
        return files.read_json(self.stamp)["state"] if self.stamp.is_file() else ""

    def done(self, writes, sentence="done"):
        """Write the stamp: the last thing a stage does."""
        self._note(writes, sentence, "done")
        print(f"{self.name}: {sentence}")

    def _note(self, writes, sentence, state):
        files.write_json(
            self.stamp,
            {
                "state": state,
                "sentence": sentence,
                "settings": self._settings(),
                "reads": {path: self._seen(path) for path in map(runs.relative, self.reads)},
                "writes": [runs.relative(path) for path in writes],
                "when": time.strftime("%Y-%m-%d %H:%M:%S"),
                "version": __version__,
            },
        )

    def paused(self, sentence):
        """Write the stamp of a stage that has work left."""
        self._note([], sentence, "paused")
        print(f"{self.name}: {sentence}")

    def begun(self):
        """Write the stamp of a stage that sets to work: until its end nothing that it wrote before is up to date."""
        self._note([], "begun", "begun")

    def _seen(self, path):
        return self.at_start[path] if path in self.at_start else seen(runs.absolute(path))

    def _settings(self):
        # through JSON, so that a tuple and a list compare equal
        return json.loads(json.dumps({k: v for k, v in self.settings.items() if k not in WITHOUT_EFFECT}))


def _differences(path, old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(old.keys() | new.keys())
        said = {(False, True): "is new", (True, False): "is gone", (True, True): "has changed"}
        return _shortened([f"{path}/{n} {said[n in old, n in new]}" for n in names if old.get(n) != new.get(n)])
    return [] if old == new else [f"{path} has changed"]


def _shortened(lines):
    return lines if len(lines) < 6 else [*lines[:4], f"… and {len(lines) - 4} more"]


def name_of(notebook, part="", trial=""):
    """Under which name a notebook's stamp and its executed copy are kept: "04_training_tumour_wide"."""
    return "_".join(word for word in (notebook, part, trial) if word)


def begin(notebook, run, given, reads=(), part="", trial=""):
    """The Stage of a notebook, with the parameters that its cell tagged `parameters` declares.

    notebook  "02_filtering", the file's name without ending.
    given     the notebook's `globals()`: the values in force now, injected ones included.
    reads     files and folders whose change makes the stage run again.
    part      the part of a notebook that is run several times ("liver"), and the trial that is kept apart.
    """
    names = parameters_of(runs.NOTEBOOKS / f"{notebook}.ipynb")
    settings = {name: given[name] for name in names if name != "run"}
    at_start = {runs.relative(path): seen(path) for path in reads}
    stage = Step(name_of(notebook, part, trial), run, settings, list(reads), at_start)
    reasons = stage.changes()
    print(f"{stage.name}: " + ("up to date, nothing to do" if not reasons else "runs, because " + "; ".join(reasons)))
    if reasons:
        stage.begun()  # stopped from here on and run with the settings of before, it has to run all the same
    return stage
