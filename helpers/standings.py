"""How a race stands: each contestant's mean over the patients, with intervals, over the minutes and at the end, in words."""

from helpers import comparison, intervals, metrics
from helpers.course import NAMES


def over_time(table):
    """Means over the patients at every moment: DataFrame contestant, minutes, step, liver_dice, tumour_dice."""
    means = table.groupby(["contestant", "moment"])[["minutes", "step", "liver_dice", "tumour_dice"]].mean()
    return means.reset_index().sort_values(["contestant", "moment"])


def at_the_end(table):
    """The rows of the last moment at which all were judged, none before there is one: nobody is compared with another's past."""
    judged = table.groupby("moment").contestant.nunique()
    return table[table.moment == judged.index[judged == table.contestant.nunique()].max()]


def means(table):
    """A row a contestant, in the order of NAMES: minutes, steps, scans, patients, and of both Dice scores the mean over scans
    with its interval, in which whole patients are drawn."""
    import pandas as pd

    rows, last = [], at_the_end(table)
    for name in NAMES:
        own = last[last.contestant == name]
        if own.empty:
            continue
        row = {"contestant": NAMES[name], "start": own.start.iloc[0], "minutes": own.minutes.iloc[0], "steps": own.step.iloc[0],
               "scans": len(own), "patients": own.group.nunique()}  # fmt: skip
        for organ in metrics.CLASSES:
            values = own[f"{organ}_dice"].to_numpy(float)
            row[organ] = values.mean()
            row[f"{organ}_low"], row[f"{organ}_high"] = intervals.interval(values, groups=own.group)
        rows.append(row)
    return pd.DataFrame(rows or {"contestant": []}).set_index("contestant")


def by_case(table, organ):
    """Dice of every scan at the end, a column a contestant."""
    wide = at_the_end(table).pivot(index="case", columns="contestant", values=f"{organ}_dice")
    return wide[[name for name in NAMES if name in wide]].rename(columns=NAMES)


def sentence(table):
    """What the race says about ours, from its numbers: beside the best of the others on each score, paired over the scans."""
    last = at_the_end(table)
    ours = last[last.contestant == "ours"]
    others = {name: last[last.contestant == name] for name in NAMES if name != "ours" and (last.contestant == name).any()}
    if ours.empty or not others:
        return "There is nothing to compare yet."
    places, said = {}, []
    for organ in metrics.CLASSES:
        column = f"{organ}_dice"
        best = max(others, key=lambda name: others[name][column].mean())
        found = comparison.paired(others[best], ours, column)
        places.setdefault("ahead" if found["mean"] > 0 else "behind" if found["mean"] < 0 else "level", []).append(organ)
        spread = "" if found["low"] is None else f", 95 % interval {found['low']:+.3f} to {found['high']:+.3f}"
        scores = f"{ours[column].mean():.3f} beside {others[best][column].mean():.3f} of {NAMES[best]}"
        of = f"{found['cases']} scans of {found['patients']} patients"
        said.append(f"{organ} {scores}, the best of the others ({found['mean']:+.3f}{spread}, {of})")
    placed = " and ".join(f"{place} on {' and '.join(organs)}" for place, organs in places.items())
    return f"After {ours.minutes.iloc[0]:.1f} minutes of learning ours is {placed}: {'; '.join(said)}."
