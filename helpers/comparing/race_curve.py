"""The page of a race: Dice over the minutes, everybody's scores at the end, and what they say."""

import pandas as pd
import seaborn

from helpers import files
from helpers.looking import plots
from helpers.scoring import metrics, statistics
from helpers.scoring.sentences import markdown

NAMES = {
    "ours": "ours",
    "monai": "MONAI tutorial, 2-D",
    "smp": "smp Unet resnet34",
    "nnunet": "nnU-Net 2-D",
}
COLOURS = {"ours": "#0072B2", "monai": "#E69F00", "smp": "#009E73", "nnunet": "#CC79A7"}


def at_the_end(table):
    """The rows of the last moment at which all were judged, none before there is one.

    So nobody is compared with another's past.
    """
    judged = table.groupby("moment").entrant.nunique()
    return table[table.moment == judged.index[judged == table.entrant.nunique()].max()]


def means(table):
    """A row an entrant, in the order of NAMES: minutes, steps, scans, patients, both Dice scores.

    They are means over scans with their intervals, in which whole patients are drawn.
    """
    rows = []
    for name, scans in _in_order(at_the_end(table)).items():
        row = {"entrant": NAMES[name], **scans.iloc[0][["start", "minutes", "step"]],
               "scans": len(scans), "patients": scans.group.nunique()}
        for organ in metrics.CLASSES:
            dice = scans[f"{organ}_dice"].to_numpy(float)
            low, high = statistics.bootstrap_ci(dice, groups=scans.group)
            row |= {organ: dice.mean(), f"{organ}_low": low, f"{organ}_high": high}
        rows.append(row)
    return pd.DataFrame(rows or {"entrant": []}).set_index("entrant")


def _in_order(table):
    """Each entrant's rows of a table, in the order of NAMES."""
    return {name: table[table.entrant == name] for name in NAMES if (table.entrant == name).any()}


def by_case(table, organ):
    """Dice of every scan at the end, a column an entrant."""
    entrants = _in_order(at_the_end(table)).items()
    dice = {NAMES[name]: scans.set_index("case")[f"{organ}_dice"] for name, scans in entrants}
    return pd.DataFrame(dice)


def sentence(table):
    """What the numbers say about ours beside the best of the others, paired over the scans."""
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
        change = f"{paired['mean']:+.3f}"
        if paired["low"] is not None:
            change += f", 95 % interval {paired['low']:+.3f} to {paired['high']:+.3f}"
        means = f"{ours[column].mean():.3f} beside {others[best][column].mean():.3f}"
        scans = f"{paired['cases']} scans of {paired['patients']} patients"
        other = f"{NAMES[best]}, the best of the others"
        clauses.append(f"{organ} {means} of {other} ({change}, {scans})")
    places = [f"{place} on {' and '.join(organs)}" for place, organs in organs_at.items()]
    minutes = f"{ours.minutes.iloc[0]:.1f} minutes of learning"
    return f"After {minutes} ours is {' and '.join(places)}: {'; '.join(clauses)}."


def drawn(table):
    """The figure of Dice over the minutes of learning, mean over the scans, an axis an organ."""
    entrants = _in_order(table)
    start = pd.DataFrame({"entrant": list(entrants), "minutes": 0.0})
    points = pd.concat([start.assign(liver_dice=0.0, tumour_dice=0.0), table])
    points["entrant"] = points.entrant.map(NAMES)
    figure, axes = plots.figure(1, 2, width=10.5, height=3.8, sharex=True)
    end, palette = means(table), {NAMES[name]: COLOURS[name] for name in entrants}
    for axis, organ in zip(axes, metrics.CLASSES, strict=True):
        where = {"x": "minutes", "y": f"{organ}_dice", "hue": "entrant", "ax": axis}
        look = {"palette": palette, "hue_order": palette, "marker": "o", "errorbar": None}
        seaborn.lineplot(points, **where, **look)
        axis.set(xlabel="minutes of learning", ylim=(0, 1))
        axis.set_ylabel(f"{organ} Dice, mean over scans")
        if len(end):
            best = f"{end[organ].idxmax()} is highest, {end[organ].max():.3f}"
            axis.set_title(f"{organ}: {best}")
        last = [scans[scans.moment == scans.moment.max()] for scans in entrants.values()]
        for text, scans in zip(axis.legend().texts, last, strict=True):
            text.set_text(f"{text.get_text()} {scans[f'{organ}_dice'].mean():.3f}")
    return figure


def write_page(table, path):
    """Write what the race says so far: `path`, a page in Markdown, and the figure as PNG."""
    picture = path.with_suffix(".png")
    plots.save_figure(drawn(table), picture)
    tables = {"At the last moment that all have reached": means(table)}
    tables |= {f"{organ}, scan by scan": by_case(table, organ) for organ in metrics.CLASSES}
    paragraphs = ["# The race", sentence(table), f"![Dice over the minutes]({picture.name})"]
    for title, rows in tables.items():
        paragraphs.append(f"{title}:\n\n{markdown(rows.reset_index())}")
    files.write_text(path, "\n\n".join(paragraphs) + "\n")
