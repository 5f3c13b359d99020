"""The parameters that a run was given: kept beside its lists, so that its next call takes them
again, and shown beside their defaults.
"""

from collections import defaultdict

from helpers import files, origins, runs
from helpers.parameters import GONE, RENAMED, Usage, of_type, parameters_of
from helpers.running import steps

# they say what one call is about, nothing about the run
OF_A_CALL = {"run", "stage", "trial", "interactive"}


def file_of(run):
    """A JSON file: name of a job ("04_training_liver") -> its parameters unlike their defaults."""
    return run.lists / "parameters.json"


def of_before(run, notebook, part="", trial=""):
    """(parameters unlike their defaults that a notebook had last, a sentence about each that it has
    no more); None for a notebook that has not run.

    A trial of which nothing is known takes those of the run's own training. Of a job that this file
    doesn't know, one begun in Jupyter perhaps, they stand in its stamp.
    """
    record, declared = files.recorded(file_of(run)), _declared(notebook)
    for name in (steps.name_of(notebook, part, trial), steps.name_of(notebook, part)):
        if name in record:
            return _of_today(record[name], declared)
        if settings := files.recorded(steps.Step(name, run, {}).stamp).get("settings"):
            return _of_today(settings, declared)[0], []
    return None


def _declared(notebook):
    values = parameters_of(runs.NOTEBOOKS / f"{notebook}.ipynb")
    return {name: value for name, value in values.items() if name not in OF_A_CALL}


def _of_today(values, declared):
    """Values of before under the names and of the types of today, those unlike the defaults; and
    sentences about those that can't be taken.
    """
    kept, left_out = {}, []
    for old_name, value in values.items():
        name = old_name if old_name in declared else RENAMED.get(old_name, old_name)
        reason = GONE.get(name, "the notebook has no such parameter")
        try:
            kept[name] = of_type(name, repr(value), declared[name])
        except (KeyError, Usage) as error:
            reason = error if isinstance(error, Usage) else reason
            left_out.append(f"{old_name}={value!r}, as before, is left out: {reason}")
    return {name: value for name, value in kept.items() if value != declared[name]}, left_out


def remember(run, jobs):
    """Keep the parameters of jobs unlike their defaults. Prints which are those of before, and a
    line about each that is another now, or no more.
    """
    record, taken, sentences = {}, defaultdict(set), []
    for job in jobs:
        declared = _declared(job.notebook)
        now = {name: job.parameters[name] for name in declared}
        record[job.name] = {name: now[name] for name in now if now[name] != declared[name]}
        before = of_before(run, job.notebook, job.part, job.parameters.get("trial", ""))
        if before is None:
            continue
        sentences += before[1] + origins.differences(origins.plain(declared | before[0]), now)
        for name, value in before[0].items():
            if now[name] == value:
                taken[name].add(repr(value))
    if taken:
        words = [f"{name}={' or '.join(sorted(values))}" for name, values in taken.items()]
        print(f"as before: {', '.join(words)}; --set without a value shows all")
    for sentence in dict.fromkeys(sentences):
        print(sentence)
    files.write_json(file_of(run), files.recorded(file_of(run)) | record)


def table(jobs):
    """All parameters of jobs in lines: name, value, and the default where that is another one."""
    lines, by_notebook = [], defaultdict(list)
    for job in jobs:
        by_notebook[job.notebook].append(job)
    for notebook, its_jobs in by_notebook.items():
        lines.append(notebook)
        for name, default in _declared(notebook).items():
            values = defaultdict(list)
            for job in its_jobs:
                values[repr(job.parameters[name])].append(job.part)
            texts = [value if len(values) == 1 else f"{value} ({', '.join(parts)})"
                     for value, parts in values.items()]
            unlike = "" if list(values) == [repr(default)] else f"   default {default!r}"
            lines.append(f"  {name:20} {', '.join(texts)}{unlike}")
    return "\n".join(lines)
