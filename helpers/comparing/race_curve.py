"""The page of a race: Dice over the minutes of learning, everybody's scores at the end, and the sentence they give."""

import pandas as pd
import seaborn

from helpers import files
from helpers.looking import plots
from helpers.scoring import metrics, statistics

NAMES = {"ours": "ours", "monai": "MONAI tutorial, 2-D", "smp": "smp Unet resnet34", "nnunet": "nnU-Net 2-D"}
COLOURS = {"ours": "#0072B2", "monai": "#E69F00", "smp": "#009E73", "nnunet": "#CC79A7"}


def at_the_end(table):
    """The rows of the last moment at which all were judged, none before there is one: nobody is compared with another's past."""
    judged = table.groupby("moment").entrant.nunique()
    return table[table.moment == judged.index[judged == table.entrant.nunique()].max()]


def means(table):
    """A row an entrant, in the order of NAMES: minutes, steps, scans, patients, and of both Dice scores the mean over scans
    with its interval, in which whole patients are drawn."""
    rows = []
    for name, scans in _in_order(at_the_end(table)).items():
        row = {"entrant": NAMES[name], "start": scans.start.iloc[0], "minutes": scans.minutes.iloc[0]}
        row |= {"steps": scans.step.iloc[0], "scans": len(scans), "patients": scans.group.nunique()}
        for organ in metrics.CLASSES:
            dice = scans[f"{organ}_dice"].to_numpy(float)
            row[organ] = dice.mean()
            row[f"{organ}_low"], row[f"{organ}_high"] = statistics.bootstrap_ci(dice, groups=scans.group)
        rows.append(row)
    return pd.DataFrame(rows or {"entrant": []}).set_index("entrant")


def _in_order(table):
    """Each entrant's rows of a table, in the order of NAMES."""
    return {name: table[table.entrant == name] for name in NAMES if (table.entrant == name).any()}


def by_case(table, organ):
    """Dice of every scan at the end, a column an entrant."""
    dice = {NAMES[name]: scans.set_index("case")[f"{organ}_dice"] for name, scans in _in_order(at_the_end(table)).items()}
    return pd.DataFrame(dice)


def sentence(table):
    """What the race says about ours, from its numbers: beside the best of the others on each score, paired over the scans."""
    others = _in_order(at_the_end(table))
    ours = others.pop("ours", None)
    if ours is None or not others:
        return "There is nothing to compare yet."
    organs_at, clauses = {}, []
    for organ in metrics.CLASSES:
        column = f"{organ}_dice"
        best = max(others, key=lambda name: others[name][column].mean())
        paired = statistics.paired_difference(others[best], ours, column)
        place = "ahead" if paired["mean"] > 0 else "behind" if paired["mean"] < 0 else "level"
        organs_at.setdefault(place, []).append(organ)
        interval = "" if paired["low"] is None else f", 95 % interval {paired['low']:+.3f} to {paired['high']:+.3f}"
        scores = f"{ours[column].mean():.3f} beside {others[best][column].mean():.3f} of {NAMES[best]}"
        scans = f"{paired['cases']} scans of {paired['patients']} patients"
        clauses.append(f"{organ} {scores}, the best of the others ({paired['mean']:+.3f}{interval}, {scans})")
    places = " and ".join(f"{place} on {' and '.join(organs)}" for place, organs in organs_at.items())
    return f"After {ours.minutes.iloc[0]:.1f} minutes of learning ours is {places}: {'; '.join(clauses)}."


def drawn(table):
    """The figure of Dice over the minutes of learning, mean over the scans, an axis an organ."""
    start = [{"entrant": name, "minutes": 0.0, "liver_dice": 0.0, "tumour_dice": 0.0} for name in table.entrant.unique()]
    points = pd.concat([pd.DataFrame(start), table])
    figure, axes = plots.figure(1, 2, width=10.5, height=3.8, sharex=True)
    end = means(table)
    for axis, organ in zip(axes, metrics.CLASSES, strict=True):
        last = {name: scans[scans.moment == scans.moment.max()] for name, scans in _in_order(table).items()}
        labels = {name: f"{NAMES[name]} {scans[f'{organ}_dice'].mean():.3f}" for name, scans in last.items()}
        seaborn.lineplot(
            points.assign(entrant=points.entrant.map(labels)), x="minutes", y=f"{organ}_dice", hue="entrant", ax=axis,
            hue_order=labels.values(), palette=[COLOURS[name] for name in labels], errorbar=None, marker="o",
        )  # fmt: skip
        axis.set(xlabel="minutes of learning", ylabel=f"{organ} Dice, mean over scans", ylim=(0, 1))
        axis.set_title(f"{organ}: {end[organ].idxmax()} is highest, {end[organ].max():.3f}" if len(end) else organ)
        axis.legend()
    return figure


def write_page(table, path):
    """Write what the race says so far: `path`, a page in Markdown, and the figure beside it as PNG."""
    plots.save_figure(drawn(table), path.with_suffix(".png"))
    scores = {"At the last moment that all have reached": means(table)}
    scores |= {f"{organ}, scan by scan": by_case(table, organ) for organ in metrics.CLASSES}
    sections = [f"{title}:\n\n```\n{rows.round(3).to_string()}\n```" for title, rows in scores.items() if len(rows)]
    picture = f"![Dice over the minutes]({path.with_suffix('.png').name})"
    files.write_text(path, "\n\n".join(["# The race", sentence(table), picture, *sections]) + "\n")
