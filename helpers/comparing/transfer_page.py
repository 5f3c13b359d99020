"""The page of transfer.py and the row of a trial: what was measured, as tables and sentences."""

import datetime

import pandas as pd

from helpers import files
from helpers.comparing import disturbances, rule_trials, site_scores

TITLE = "# Transfer\n\nHow the cascade holds where it hasn't learnt; each part is written by\n"
TITLE += "`python -m helpers.comparing.transfer`.\n"
SCORES = (
    "Means over scans with their 95 % interval over patients, and of how many scans (recall: "
    "lesions). liver, tumour: Dice, over scans that have it; inside: share of a scan's tumour "
    "inside the predicted organ; false_lesions: findings a scan that touch no lesion; false_ml: "
    "predicted tumour in scans without; liver_ml, no_liver_found: in bodies without liver, what is "
    "taken for it, and the share of bodies where nothing is; recall: lesions touched."
)
LEAST = -0.05  # no disturbance may cost more Dice


def scores(rows, options):
    """(table of sites, it and the scans as text)."""
    table = site_scores.by_site(rows)
    shown = pd.DataFrame({"site": table.site, "scans": table.scans, "patients": table.patients})
    for measure in (*site_scores.MEASURES, "recall"):
        of = "lesions" if measure == "recall" else "scans"
        shown[measure] = [with_interval(row, measure, row[f"{measure}_{of}"])
                          for row in table.to_dict("records")]
    scans = rows.drop(columns=["group", "no_liver_found", "false_ml"])
    return table, f"{SCORES}\n\n{markdown(shown)}\n\n{markdown(scans)}"


def with_interval(row, measure, count):
    if not count:
        return ""
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    ends = f" ({low:.3f} to {high:.3f})" if low == low else ""
    return f"{row[measure]:.3f}{ends}, {count}"


def choose(rows, options):
    """(table of settings, it and what the best of all gains, as text)."""
    how = options.equally, options.leave if rows.site.nunique() > 1 else "patient"
    table = rule_trials.judged(rows, options.by, *how)
    folds = rule_trials.held_out(rows, options.by, rows.setting.unique(), *how)
    cases = rows.pivot(index="setting", columns=["site", "case"], values=options.by)
    cases.columns = [f"{site} {case}" for site, case in cases.columns]
    gain = rule_trials.mean_gain(folds, options.equally)
    line = (
        f"{cases.shape[1]} scans, chosen by {options.by} with all {options.equally} counting "
        f"equally and one {how[1]} left out in turn: the best of all {len(table)} settings gains "
        f"{gain:+.3f} on scans that it was not chosen on. held_out is that gain where a setting is "
        "the only choice beside none, chosen: how often it was taken. Dice is 1 where there is no "
        "tumour and none is found; with_tumour is the mean over the other scans, false_ml what is "
        "found where there is none."
    )
    return table, "\n\n".join([line, markdown(table), markdown(folds),
                               markdown(cases.loc[rows.setting.unique()].reset_index())])


def robust(rows, options):
    """(table of variants, it and every scan's changes, as text)."""
    changed = rows[rows.variant != "itself"]
    columns = ["liver_dice_change", "tumour_dice_change"]
    table = changed.groupby("variant", sort=False)[columns].agg(["mean", "min", "max"])
    table.columns = [f"{organ} {which}" for organ, which in table.columns]
    keys, shown = ["site", "case", "true_hu"], []
    for column in columns:
        wide = changed.pivot(index=keys, columns="variant", values=column)
        shown.append(f"{column}:\n\n{markdown(wide[changed.variant.unique()].reset_index())}")
    low = int((changed[columns] < LEAST).to_numpy().sum())
    line = (f"{low} of {2 * len(changed)} changes of Dice are below {LEAST:g}. Noise has "
            f"{disturbances.NOISE:g} times the deviation of HU in the reference liver. A scan "
            "without true HU was clipped to a window: what that cut off can't move with the rest. "
            "A Dice of 0 can only rise, so a large rise is as bad a sign as a fall.")
    return table.reset_index(), "\n\n".join([line, markdown(table.reset_index()), *shown])


def markdown(frame):
    """A DataFrame as a Markdown table, numbers with three digits, nothing for nan."""
    def text(value):
        if isinstance(value, float):
            return "" if value != value else f"{value:.3f}"
        return "" if value is None or value is pd.NA else str(value)

    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[text(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_part(page, name, text):
    """Put a part between its marks into a page; all else on the page stays."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = page.read_text(encoding="utf8") if page.is_file() else TITLE
    before, marked, rest = old.partition(begin)
    after = rest.partition(end)[2] if marked else "\n"
    before = before if marked else f"{before.rstrip()}\n\n"
    files.write_text(page, f"{before}{begin}\n## {name.capitalize()}\n\n{text}\n{end}{after}")


def add_trial(file, row, table):
    """Append a row to a table of trials, with the means of every site: in columns SITE_MEASURE that
    are added where they are missing; rows that are there stay as they are."""
    row = {"date": datetime.date.today().isoformat(), "stage": "cascade"} | row
    for site in table.to_dict("records"):
        for measure in site_scores.MEASURES:
            if site[f"{measure}_scans"]:
                column = f"{site['site']}_{measure.removeprefix(site['site'] + '_')}"
                row[column] = f"{site[measure]:.4g}"
    old = pd.read_csv(file, dtype=str, keep_default_na=False) if file.is_file() else pd.DataFrame()
    files.write_csv(file, pd.concat([old, pd.DataFrame([row])], ignore_index=True).fillna(""))
