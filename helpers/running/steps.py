"""What a stage has read and written, so that running it again does nothing, or says what
changed.
"""

import time
from dataclasses import dataclass, field

from helpers import __version__, files, origins, parameters, runs

# parameters that change how long or where a stage runs, or what is drawn, never what it writes; a
# trial has a stamp of its own
WITHOUT_EFFECT = {"interactive", "device", "chunk_minutes", "chunk_steps", "save_seconds",
                  "workers", "scheduler", "loggers", "trial"}


class NothingToDo(Exception):
    """Ends a notebook early where nothing is wrong: one line in it, and `helpers.run` goes on."""

    def _render_traceback_(self):  # as IPython asks for it
        return [str(self)]


@dataclass
class Step:
    """One stage of one run: its settings, what it reads, and its stamp
    `reports/<run>/stages/<name>.json`.
    """

    name: str
    run: runs.Run
    settings: dict
    reads: list = field(default_factory=list)
    # signatures by `begin`: that is what the stage will have read
    at_start: dict = field(default_factory=dict)

    @property
    def stamp(self):
        return self.run.reports / "stages" / f"{self.name}.json"

    def changes(self):
        """Why the stage has to run, a sentence each; empty when it is up to date."""
        if not self.stamp.is_file():
            return ["it has not run yet"]
        stamp = files.recorded(self.stamp)
        if not stamp:
            return [f"its stamp {self.stamp.name} can't be read"]
        if stamp["state"] != "done":
            return [f"it paused: {stamp['sentence']}" if stamp["state"] == "paused"
                    else "it has not come to its end"]
        settings = self._settings()
        reasons = origins.differences({name: stamp["settings"].get(name) for name in settings},
                                      settings)
        # a runner without the notebook asks the stamp
        for path in [runs.relative(p) for p in self.reads] or stamp["reads"]:
            reasons += origins.changes(path, stamp["reads"].get(path, "missing"),
                                       self._signature(path))
        return reasons + origins.shortened(
            [f"{path} is gone" for path in stamp["writes"] if not runs.absolute(path).exists()]
        )

    @property
    def state(self):
        """What the stamp says: "begun", "paused", "done", or "" where there is none that can be
        read.
        """
        return files.recorded(self.stamp).get("state", "")

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
                "reads": {path: self._signature(path) for path in map(runs.relative, self.reads)},
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
        """Write the stamp of a stage that sets to work: until its end nothing that it wrote before
        is up to date.
        """
        self._note([], "begun", "begun")

    def _signature(self, path):
        return (self.at_start[path] if path in self.at_start
                else origins.signature(runs.absolute(path)))

    def _settings(self):
        return {name: value for name, value in self.settings.items() if name not in WITHOUT_EFFECT}


def name_of(notebook, part="", trial=""):
    """Under which name a notebook's stamp and its executed copy are kept:
    "04_training_tumour_wide".
    """
    return "_".join(word for word in (notebook, part, trial) if word)


def begin(notebook, run, values, reads=(), part="", trial=""):
    """The Step of a notebook, with the parameters that its cell tagged `parameters` declares.

    notebook  "02_filtering", the file's name without ending.
    values    the notebook's `globals()`: the values in force now, injected ones included.
    reads     files and folders whose change makes the stage run again.
    part      the part of a notebook that is run several times ("liver"), and the trial that is kept
              apart.
    """
    names = parameters.parameters_of(runs.NOTEBOOKS / f"{notebook}.ipynb")
    settings = {name: values[name] for name in names if name != "run"}
    at_start = {runs.relative(path): origins.signature(path) for path in reads}
    stage = Step(name_of(notebook, part, trial), run, settings, list(reads), at_start)
    reasons = stage.changes()
    why = "runs, because " + ";\n  ".join(reasons) if reasons else "up to date, nothing to do"
    print(f"{stage.name}: {why}")
    if reasons:
        # stopped from here on and run with the settings of before, it has to run all the same
        stage.begun()
    return stage
