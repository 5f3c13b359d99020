"""What notebook 07 compares trials by: slices of another size, scores of patients, the table, and what it says."""

import json
import os
import sys

import numpy as np

from helpers import files, jobs, runs
from helpers.cascade import inference, pipeline
from helpers.cascade.liver import largest_component
from helpers.cascade.precision import half_precision_supported
from helpers.cascade.weights import load_weights
from helpers.comparing import timing
from helpers.looking.plots import figure
from helpers.looking.viewer import COLOURS
from helpers.scans import reading
from helpers.scans.volume import with_likely_spacing
from helpers.scoring import metrics, statistics
from helpers.slices import recipe
from helpers.steps import Step

COLUMNS = ["trial", "patients", "score", "low", "high", "difference", "difference_low", "difference_high", "better", "worse", "p"]


def resized(run, size):
    """The run's own lists with whole slices of another size, as a run of its own: "fold1" at 384 pixels is "fold1-384".

    Split and chunks stay: notebook 02 runs with the parameters it had, but for the size. A run of this size is given back.
    Raises FileNotFoundError when 02 hasn't run, RuntimeError when it fails, ValueError when a person has made a run of this name.
    """
    stamp = run.reports / "stages" / "02_filtering.json"
    if Step("02_filtering", run, {}).state != "done":
        raise FileNotFoundError(f"02_filtering has not come to its end for run '{run.name}': run it first")
    if files.read_json(run.lists / "recipe.json")["recipe"]["size"] == size:
        return run
    other = runs.Run(f"{run.name}-{size}")
    mark = other.lists / "resized.json"
    if other.known() and not mark.is_file():
        raise ValueError(f"the run '{other.name}' is there, and slices of {size} pixels need its name: give it another one")
    files.write_json(mark, {"of": run.name})
    split = run.lists / "split.csv"
    if (other.lists / split.name).is_file() and files.sha256(other.lists / split.name) != files.sha256(split):
        (other.reports / "stages" / stamp.name).unlink(missing_ok=True)  # 02 deals anew: its lists are of another split
    for name in ("cases.csv", "split.csv", "split.json"):
        files.write_text(other.lists / name, (run.lists / name).read_text(encoding="utf8"))
    before = files.read_json(stamp)["settings"]
    job = jobs.Job("02_filtering", before | {"size": size, "run": other.name, "interactive": False})
    if jobs.carried_out(job, other)[0] != jobs.DONE:
        raise RuntimeError(f"the slices of {size} pixels for run '{run.name}' could not be made; see what 02_filtering said")
    return other


def training_finished(folder, stage):
    """True when a training has ended and needn't be asked for again.

    stage  stages.Stage of notebook 04. Raises ValueError when its parameters, lists or slices are others now.
    """
    if stage.state != "done" or not (folder / "final.safetensors").is_file():
        return False
    if reasons := stage.changes():
        raise ValueError(f"{folder}: was trained otherwise than is asked for now: {'; '.join(reasons)}; delete it to go on")
    return True


def judged_alike(folders):
    """Raise ValueError when tumour trainings of a run were judged in regions that different liver networks had predicted."""
    cards = {folder: files.read_json(folder / "final.json") for folder in folders}
    livers = {folder: card["made_with"].get("liver") or "none, the references" for folder, card in cards.items()}
    if len(set(livers.values())) > 1:
        told = "; ".join(f"{folder}: {liver}" for folder, liver in livers.items())
        raise ValueError(f"these trainings were judged in regions of different liver networks, delete the older ones: {told}")


def slimmed(folder):
    """Remove what only going on with a finished training would need: a state of a large network takes a gigabyte or two."""
    if (folder / "validation.csv").is_file():
        for file in (*folder.glob("generation-*"), *folder.glob("chunk_*.safetensors"), *folder.glob("best.safetensors")):
            file.unlink(missing_ok=True)


def remembered(file, make, weights, *more, scans=()):
    """make(weights, *more), a dict of plain values, kept in `file`; made anew when the weights' bytes or `scans` change."""
    of = " ".join([files.sha256(weights)[:16], *map(str, scans)])
    known = files.read_json(file) if file.is_file() else {}
    if known.get("of") != of:
        known = {"of": of} | make(weights, *more)
        files.write_json(file, known)
    return {name: value for name, value in known.items() if name != "of"}


def liver_scores(weights, rows, device):
    """Dice of the liver on the scan's own grid, so that networks of different input sizes compare: over all of its slices.

    weights  file of a liver network; rows: rows of cases.csv; device: torch.device that predicts.
    returns  {"pieces": {case: Dice of all it found}, "largest": {case: Dice of the largest 3-D component}}.
    """
    loaded = inference.TrainedNetwork(*load_weights(weights, device), half_precision_supported(device))
    found = {"pieces": {}, "largest": {}}
    for _, row in rows.iterrows():
        volume, labels = reading.read_row(row)
        volume = with_likely_spacing(volume)
        grid, image = recipe.working_slices(volume, loaded.recipe)
        step = pipeline.Rules().neighbour_step(volume)
        mask, _ = inference.liver_mask(loaded, grid, image, np.arange(len(image)), 0.5, step=step)
        truth = labels >= 1
        for name, said in (("pieces", mask), ("largest", largest_component(mask)[0])):
            found[name][row.case] = float(metrics.dice(truth.sum(), said.sum(), (truth & said).sum()))
    return found


def speed(weights, run, steps):
    """What a training of these weights' network costs, measured in a process of its own on the run's lists and stores.

    returns  dict: parameters_m and learnt_m (millions), slices_per_second of one core by the processor's clock, so that other
             programs disturb it little, peak_gib.
    """
    words = [sys.executable, "-m", "helpers.comparing.benchmark", "rehearse", weights, "--run", run.name, "--steps", steps]
    done = timing.of_process(words, env=os.environ | {"CASCADE_LIVER_ROOT": str(runs.ROOT)})
    told = [line for line in done["output"].splitlines() if line.startswith("{")]
    return json.loads(told[-1]) | {"peak_gib": done["peak_gib"]}


def of_patients(scores, sides):
    """One score a patient, the mean over its scans: DataFrame trial, patient, score.

    scores  DataFrame trial, case, score; sides: split.csv, which says whose scan each case is.
    """
    patient = dict(zip(sides.case, sides.group, strict=True))
    return scores.assign(patient=scores.case.map(patient)).groupby(["trial", "patient"], sort=False, as_index=False).score.mean()


def compared(scores, default_of):
    """Means with 95 % intervals, and each trial against its default on the same patients.

    scores      DataFrame trial, patient, score.
    default_of  dict of trial -> the trial it is compared with, itself for a default.
    returns     DataFrame, a row a trial: patients, score, low, high, difference, difference_low, difference_high, better, worse,
                p (Wilcoxon's signed-rank test, two-sided, 1 when no patient differs) and p_holm, corrected over all rows.
    """
    import pandas as pd

    rows, cases = [], scores.rename(columns={"patient": "case"})
    for trial, own in cases.groupby("trial", sort=False):
        low, high = statistics.bootstrap_ci(own.score)
        row = {"trial": trial, "patients": len(own), "score": own.score.mean(), "low": low, "high": high}
        default = cases[cases.trial == default_of[trial]]
        if trial != default_of[trial] and set(own.case) & set(default.case):
            found = statistics.paired_difference(default, own, "score")
            row |= {"difference": found["mean"], "difference_low": found["low"], "difference_high": found["high"]}
            row |= {"better": found["better"], "worse": found["worse"], "p": 1.0 if found["p"] is None else found["p"]}
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(p_holm=statistics.holm(table.p))


def conclusion(table, level=0.05):
    """What the numbers say, a paragraph a stage; rows that lack patients are not ranked.

    table  DataFrame of `compared` with the columns stage, default and slices_per_second.
    """
    said = []
    for stage, part in table.groupby("stage", sort=False):
        scored = part[part.score.notna()]
        if len(scored) < 2:
            said.append(f"{stage}: {len(scored)} of {len(part)} rows have a score, so there is nothing to compare.")
            continue
        whole = scored[scored.patients == scored.patients.max()]
        best, sure = whole.loc[whole.score.idxmax()], whole[whole.p_holm < level]
        mean = f"{best.score:.3f}{_from_to(best.low, best.high)}"
        lines = [f"{stage}, {best.patients:.0f} patients: {best.trial} leads with {mean}."]
        if best.trial != best.default and best.difference == best.difference:
            verdict = "beyond noise" if best.p_holm < level else "within noise"
            between = _from_to(best.difference_low, best.difference_high)
            lines.append(f"It is {best.difference:+.3f}{between} from {best.default}, p {best.p_holm:.2g} after Holm: {verdict}.")
        named = ", ".join(f"{row.trial} ({row.difference:+.3f})" for row in sure.itertuples())
        lines.append(f"Beyond noise against {best.default}: {named or 'none'}.")
        even = whole[~(whole.p_holm < level)]
        fast = even.loc[even.slices_per_second.idxmax()] if even.slices_per_second.notna().any() else None
        if fast is not None:
            lines.append(f"Of the others {fast.trial} learns fastest, {fast.slices_per_second:.1f} slices a second of one core.")
        short = sorted(set(part.trial) - set(whole.trial))
        lines.append(f"Not ranked, for want of scores: {', '.join(short)}." if short else "")
        said.append(" ".join(line for line in lines if line))
    return "\n".join(said)


def _from_to(low, high):
    return f" ({low:.3f} to {high:.3f})" if low is not None and low == low else ""


def score_against_speed(table):
    """The figure of what each row costs and gives: score over slices a second, an axis a stage; dots grow with the weights."""
    from matplotlib import ticker

    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=4.2, squeeze=False)
    for axis, (stage, part) in zip(axes[0], scored.groupby("stage", sort=False)):
        away = [part.score - part.low.fillna(part.score), part.high.fillna(part.score) - part.score]
        colours = np.where(part.trial == part.default, "#444444", COLOURS[stage])
        axis.errorbar(part.slices_per_second, part.score, yerr=away, fmt="none", ecolor="#BBBBBB", elinewidth=1)
        lacking = part.patients < part.patients.max()
        pale = np.where(lacking, 0.4, 1.0)
        axis.scatter(part.slices_per_second, part.score, c=colours, s=20 + 4 * part.parameters_m, alpha=pale, zorder=3)
        best = part.loc[part.score[~lacking].idxmax()]
        axis.margins(x=0.2)
        axis.set(xscale="log", xlabel="slices learnt a second of one core, log", ylabel=f"{stage} Dice, mean over patients")
        axis.xaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            ticks("{x:g}")
        _name_dots(axis, part)
        told = ", pale: fewer patients" if lacking.any() else ""
        axis.set_title(f"{stage}: highest {best.trial}, {best.score:.2f}; dark: default{told}")
    return drawn


def _name_dots(axis, part):
    """Each row's name beside its dot, on the first of four sides where no other name lies; scale and limits stand by now."""
    taken, per_point = [], axis.figure.dpi / 72
    for row in part.itertuples():
        spot = (row.slices_per_second, row.score)
        (x, y), width, height = axis.transData.transform(spot) / per_point, 5 * len(row.trial), 9
        for dx, dy in ((5, 4), (-5 - width, 4), (5, -12), (-5 - width, -12)):
            left, low = x + dx, y + dy
            if not any(left < u + w and u < left + width and abs(low - v) < height for u, v, w in taken):
                break
        taken.append((left, low, width))
        axis.annotate(row.trial, spot, (dx, dy), textcoords="offset points", fontsize=8)


def by_patient(table, patients):
    """The figure of every patient's score, a line of dots a row, the mean as a bar; an axis a stage."""
    scored = table[table.score.notna()]
    drawn, axes = figure(1, max(1, scored.stage.nunique()), width=11, height=1.6 + 0.3 * len(scored), squeeze=False)
    for axis, (stage, part) in zip(axes[0], scored.groupby("stage", sort=False)):
        for k, row in enumerate(part[::-1].itertuples()):
            own = patients.score[patients.trial == row.trial]
            axis.scatter(own, [k] * len(own), color=COLOURS[stage], alpha=0.5, s=24, lw=0)
            axis.plot([row.score] * 2, [k - 0.35, k + 0.35], color="#222222", lw=2)
        axis.set(yticks=range(len(part)), yticklabels=part.trial[::-1], xlabel=f"{stage} Dice")
        axis.set_title(f"{stage}: {len(part)} rows, {_counted(part.patients)} patients; bars are means")
    return drawn


def _counted(counts):
    low, high = int(counts.min()), int(counts.max())
    return f"{high}" if low == high else f"{low} to {high}"
