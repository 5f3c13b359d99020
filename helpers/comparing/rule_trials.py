"""Which rules of the cascade gain on scans that they were not chosen on."""

import numpy as np
import pandas as pd

from helpers.cascade import pipeline
from helpers.comparing.sites import AS_IT_IS
from helpers.scoring import metrics
from helpers.scoring.sentences import markdown
from helpers.scoring.statistics import paired_difference

# rules that are judged when none are named, one change at a time
CHANGES = (
    "neck_widths_mm=()", "tumour_threshold=0.2", "tumour_threshold=0.4", "tumour_threshold=0.5",
    "tumour_threshold=0.6", "smooth_mm=0", "liver_threshold=0.3", "liver_threshold=0.4",
    "min_lesion_ml=0.05", "min_lesion_ml=0.2", "min_lesion_ml=1", "flip_tta=False",
)


def measured(scan, networks, settings):
    """A sites.Scan under every setting: a list of rows, its place, setting, liver_dice,
    tumour_dice, their mean macro_dice, and false_ml, predicted tumour where there is none, nan
    elsewhere.

    settings  dict of name -> Rules, AS_IT_IS the first.
    """
    volume, reference = scan.read()
    rows, free = [], not (reference == 2).any()
    for name, rules in settings.items():
        labels = pipeline.segment(volume, networks, rules).labels
        row = {"setting": name} | metrics.dice_per_organ(reference, labels)
        row["macro_dice"] = (row["liver_dice"] + row["tumour_dice"]) / 2
        ml = float(np.count_nonzero(labels == 2) * volume.voxel_ml)
        rows.append(row | scan.place | {"false_ml": ml if free else np.nan})
    return rows


def held_out(rows, by, names, equally="scans", leave="site"):
    """Choose the best of some settings without one site, measure it there; each site in turn.

    rows     of `measured`; by: the column that is to be high; names: the settings, the first stays
             unless another is better.
    equally  "scans": each scan counts alike when choosing; "sites": each site.
    leave    "site", or "patient": each patient in turn, as where there is one site only.
    returns  DataFrame left_out, chosen, gain (over the first setting, mean of what was left out),
             scans.
    Raises ValueError where nothing can be left out.
    """
    table = rows.pivot(index=["site", "group", "case"], columns="setting", values=by)[list(names)]
    units = table.index.get_level_values("site")
    if leave == "patient" or units.nunique() < 2:
        units = units + " " + table.index.get_level_values("group")
    if units.nunique() < 2:
        raise ValueError("rules are chosen on some patients and measured on others; there is one")
    out = []
    for left_out in units.unique():
        others, left = table[units != left_out], table[units == left_out]
        mean = others.groupby("site").mean().mean() if equally == "sites" else others.mean()
        chosen = mean.idxmax()  # of equal ones the first
        gain = (left[chosen] - left[names[0]]).mean()
        out.append({"left_out": left_out, "chosen": chosen, "gain": gain, "scans": len(left)})
    return pd.DataFrame(out)


def judged(rows, by, equally="scans", leave="site"):
    """A row a setting: mean of `by` over all scans and over those with tumour, false ml over the
    others; the difference from AS_IT_IS with its 95 % interval, scans better and worse; what
    choosing between the two gains on scans that weren't chosen on, held_out, and how often it was
    chosen.
    """
    # two sites may use one name
    rows = rows.assign(case=rows.site + " " + rows.case, group=rows.site + " " + rows.group)
    default, out = rows[rows.setting == AS_IT_IS], []
    for name, changed in rows.groupby("setting", sort=False):
        row = {"setting": name, "mean": changed[by].mean()}
        row["with_tumour"] = changed[by][changed.false_ml.isna()].mean()
        row["false_ml"] = changed.false_ml.mean()
        if name != AS_IT_IS:
            paired = paired_difference(default, changed, by)
            row |= {"difference": paired["mean"]}
            row |= {key: paired[key] for key in ("low", "high", "better", "worse")}
            folds = held_out(rows, by, [AS_IT_IS, name], equally, leave)
            row["held_out"] = mean_gain(folds, equally)
            row["chosen"] = f"{(folds.chosen == name).sum()} of {len(folds)}"
        out.append(row)
    return pd.DataFrame(out).astype({"better": "Int64", "worse": "Int64"})


def mean_gain(folds, equally="scans"):
    """The mean gain of `held_out`, each scan or each site equally."""
    return float(np.average(folds.gain, weights=folds.scans if equally == "scans" else None))


def page(rows, options):
    """(table of settings, it and what the best of all gains, as text)."""
    how = options.equally, options.leave if rows.site.nunique() > 1 else "patient"
    table = judged(rows, options.by, *how)
    folds = held_out(rows, options.by, rows.setting.unique(), *how)
    cases = rows.pivot(index=["site", "case"], columns="setting", values=options.by)
    line = (
        f"{len(cases)} scans, chosen by {options.by} with all {options.equally} counting "
        f"equally and one {how[1]} left out in turn: the best of all {len(table)} settings gains "
        f"{mean_gain(folds, options.equally):+.3f} on scans that it was not chosen on. held_out is "
        "that gain where a setting is the only choice beside none, chosen: how often it was taken. "
        "Dice is 1 where there is no tumour and none is found; with_tumour is the mean over the "
        "other scans, false_ml what is found where there is none."
    )
    return table, "\n\n".join([line, markdown(table), markdown(folds),
                               markdown(cases[rows.setting.unique()].reset_index())])
