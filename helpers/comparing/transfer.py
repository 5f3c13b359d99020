"""How the cascade holds elsewhere: python -m helpers.comparing.transfer --site NAME=FOLDER."""

import argparse
import datetime
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from helpers import files, predict, processes, runs
from helpers.cascade import pipeline
from helpers.cascade.rules import Rules
from helpers.comparing import answers, disturbances, rule_trials, site_scores, sites
from helpers.jobs import DONE, FAILED, USAGE
from helpers.scoring import run_scores

EXPLAINED = """
scores  what the cascade makes of every scan, and the means of every site (the default)
choose  rules changed one at a time: what each gains on scans that it was not chosen on; one site is
        left out in turn, or one patient where there is one site
robust  every scan also brighter, darker, noisier, with thinner and thicker slices

A site is a folder of scans with masks, in any layout that helpers.run reads; a mask may be all 0 (a
body without liver) or hold the liver only. Weights must not have learnt from it: scans that they
learnt from are judged by --folds, each with the networks of its own fold. Answers of networks are
kept in data/answers.sqlite (delete it whenever you like), so a stopped command resumes, and other
rules cost no network again. Tables go to OUT/*.csv, the page is OUT.md.
examples:
  python -m helpers.comparing.transfer --run lits18 --site other=scans/elsewhere
  python -m helpers.comparing.transfer --folds cv18=fold0,fold1,fold2 --trial "wider intensities"
  python -m helpers.comparing.transfer choose --site other=scans/elsewhere \\
      --try max_fat_fraction=1 "max_fat_fraction=1 tumour_threshold=.3"
"""
TITLE = "# Transfer\n\nHow the cascade holds where it hasn't learnt; each part is written by\n"
TITLE += "`python -m helpers.comparing.transfer`.\n"
LEAST = -0.05  # no disturbance may cost more Dice


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    options = parsed(words)
    try:
        rules = Rules(**predict.checked_rules(options.set))
        settings = named_settings(options.settings or rule_trials.CHANGES, rules)
        scans = chosen_scans(options)
    except (ValueError, OSError) as error:
        print(f"helpers.comparing.transfer: {error}", file=sys.stderr)
        return USAGE
    store = runs.ROOT / "data" / "answers.sqlite"

    @cache
    def networks_of(folder):
        return answers.load_networks(folder, store, options.device)

    parts, failed = {}, set()
    for what in options.what or ["scores"]:
        results = []
        for scan in scans:
            try:
                results.append(WORK[what](scan, networks_of(scan.weights), rules, settings))
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                failed.add(scan.case)
                print(f"{scan.site} {scan.case}: {error or 'not enough memory'}", file=sys.stderr)
            else:
                print(f"{what}: {scan.site} {scan.case}", flush=True)
        rows = pd.DataFrame([row for of_scan in results for row in of_scan])
        if len(rows):
            parts[what] = SAY[what](rows, options)
            files.write_csv(options.out / f"{what}-scans.csv", rows)
    for what, (table, text) in parts.items():
        files.write_csv(options.out / f"{what}.csv", table)
        write_part(options.out.with_suffix(".md"), what, f"{made_with(options, scans)}\n\n{text}")
        print(f"\n{text}")
    if options.trial and "scores" in parts:
        add_trial(options.out.with_name("trials.csv"), options.trial, parts["scores"][0])
    return FAILED if failed else DONE


def parsed(words):
    """The command line as a namespace; argparse itself exits with 2 for words it doesn't know."""
    parser = argparse.ArgumentParser(
        "python -m helpers.comparing.transfer", description=__doc__, epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="WHAT", help="of scores, choose, robust; default scores")
    add("--run", default=predict.SHIPPED,
        help=f"whose networks segment the folders; a run or a folder (default {predict.SHIPPED})")
    add("--site", action="append", default=[], metavar="NAME=FOLDER", help="scans with masks")
    add("--folds", metavar="NAME=RUN,RUN…", help="validation scans, by their fold's networks")
    add("-o", "--out", type=Path, default=runs.ROOT / "reports" / "transfer",
        help="where tables and page go (default reports/transfer)")
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE",
        help="other rules of the cascade, named as in notebook 05")
    add("--try", nargs="+", action="extend", default=[], dest="settings", metavar="NAME=VALUE",
        help="settings to choose from; several rules of one setting in quotes")
    add("--by", default="tumour_dice", choices=("tumour_dice", "liver_dice", "macro_dice"),
        help="what is chosen by (default tumour_dice; 1 for no tumour where there is none)")
    add("--equally", default="scans", choices=("scans", "sites"), help="what counts alike")
    add("--trial", metavar="TEXT", help="what was changed: a row in trials.csv beside the page")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args(words)
    if unknown := set(options.what) - WORK.keys():
        parser.error(f"{', '.join(sorted(unknown))}: choose of {', '.join(WORK)}")
    if not options.site and not options.folds:
        parser.error("give at least one --site NAME=FOLDER, or --folds NAME=RUN,RUN")
    return options


def named_settings(words, rules):
    """dict of a setting's text -> Rules, "as it is" the first; raises ValueError for no rule."""
    changed = {word: predict.checked_rules(word.split()) for word in words}
    settings = {word: replace(rules, **changes) for word, changes in changed.items()}
    return {rule_trials.AS_IT_IS: rules} | settings


def chosen_scans(options):
    """The sites.Scan that a command line names; raises ValueError or OSError."""
    scans = []
    if options.folds:
        name, folds = named("folds", options.folds)
        scans += sites.of_folds(name, run_scores.runs_named(folds))
    for word in options.site:
        name, folder = named("site", word)
        if name in {scan.site for scan in scans}:
            raise ValueError(f"--site {word}: there is another site {name!r}")
        own = Path(options.run)
        weights = own if (own / "liver").is_dir() else predict.checked_run(options.run)
        of_site, without = sites.of_folder(name, folder, weights)
        scans += of_site
        if without:
            print(f"{name}: without a mask and left out: {', '.join(without)}", file=sys.stderr)
    return scans


def named(option, word):
    name, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"\w+", name):
        raise ValueError(f"--{option} {word!r}: write NAME=…, a name of letters, digits and '_'")
    return name, value


def robust(scan, networks, rules):
    """Rows of a scan and its disturbances.variants: Dice, and how far it lies from that of the scan
    itself."""
    volume, reference = scan.read()
    where = {name: getattr(scan, name) for name in ("site", "case", "group")}
    where["true_hu"] = site_scores.has_true_hu(volume)
    rows = []
    for name, *pair in (("itself", volume, reference), *disturbances.variants(volume, reference)):
        dice = site_scores.overlaps(pair[1], pipeline.segment(pair[0], networks, rules).labels)
        lost = {f"{organ}_change": dice[organ] - (rows[0] if rows else dice)[organ]
                for organ in ("liver_dice", "tumour_dice")}
        rows.append(where | {"variant": name} | dice | lost)
    return rows


WORK = {
    "scores": lambda scan, networks, rules, _: [site_scores.measured(scan, networks, rules)],
    "choose": lambda scan, networks, _, settings: rule_trials.tried(scan, networks, settings),
    "robust": lambda scan, networks, rules, _: robust(scan, networks, rules),
}


def scores_text(rows, options):
    """(table of sites, both tables as text)."""
    table = site_scores.by_site(rows)
    shown = pd.DataFrame({"site": table.site, "scans": table.scans, "patients": table.patients})
    for measure in (*site_scores.MEASURES, "recall"):
        of = "lesions" if measure == "recall" else "scans"
        shown[measure] = [with_interval(row, measure, row[f"{measure}_{of}"])
                          for row in table.to_dict("records")]
    return table, f"{markdown(shown)}\n\n{markdown(rows.drop(columns=['group', 'false_ml']))}"


def with_interval(row, measure, count):
    if not count:
        return ""
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    ends = f" ({low:.3f} to {high:.3f})" if low == low else ""
    return f"{row[measure]:.3f}{ends}, {count}"


def choose_text(rows, options):
    """(table of settings, it and what the best of all gains, as text)."""
    table = rule_trials.judged(rows, options.by, options.equally)
    folds = rule_trials.held_out(rows, options.by, rows.setting.unique(), options.equally)
    cases = rows.pivot(index="setting", columns=["site", "case"], values=options.by)
    cases.columns = [f"{site} {case}" for site, case in cases.columns]
    gain = rule_trials.mean_gain(folds, options.equally)
    units = "site" if rows.site.nunique() > 1 else "patient"
    line = (f"By {options.by}, each of the {options.equally} equally, one {units} left out: the "
            f"best of all {len(table)} settings gains {gain:+.3f} on scans that it was not chosen "
            "on. held_out says so of each setting alone against none.")
    return table, "\n\n".join([line, markdown(table), markdown(folds),
                               markdown(cases.loc[rows.setting.unique()].reset_index())])


def robust_text(rows, options):
    """(table of variants, it and every scan's changes, as text)."""
    changed = rows[rows.variant != "itself"]
    columns = ["liver_dice_change", "tumour_dice_change"]
    table = changed.groupby("variant", sort=False)[columns].agg(["mean", "min"])
    table.columns = [f"{organ} {which}" for organ, which in table.columns]
    keys, shown = ["site", "case", "true_hu"], []
    for column in columns:
        wide = changed.pivot(index=keys, columns="variant", values=column)
        shown.append(f"{column}:\n\n{markdown(wide[changed.variant.unique()].reset_index())}")
    low = int((changed[columns] < LEAST).to_numpy().sum())
    line = f"{low} of {2 * len(changed)} changes of Dice are below {LEAST:g}."
    return table.reset_index(), "\n\n".join([line, markdown(table.reset_index()), *shown])


SAY = {"scores": scores_text, "choose": choose_text, "robust": robust_text}


def made_with(options, scans):
    """One line: when, whose weights and which rules."""
    weights = ", ".join(sorted({runs.relative(scan.weights) for scan in scans}))
    rules = f"; {' '.join(options.set)}" if options.set else ""
    return f"{datetime.date.today()}, weights of {weights}{rules}."


def markdown(frame):
    """A DataFrame as a Markdown table, numbers with three digits, nothing for nan."""
    def text(value):
        if isinstance(value, float):
            return "" if value != value else f"{value:.3f}"
        return "" if value is None else str(value)

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


def add_trial(file, change, table):
    """Append a row to a table of trials: the means of every site, in columns SITE_MEASURE that are
    added where they are missing; rows that are there stay as they are."""
    row = {"date": datetime.date.today().isoformat(), "stage": "cascade", "change": change}
    row["data"] = ", ".join(table.site)
    for site in table.to_dict("records"):
        for measure in site_scores.MEASURES:
            if site[f"{measure}_scans"]:
                column = f"{site['site']}_{measure.removeprefix(site['site'] + '_')}"
                row[column] = f"{site[measure]:.4g}"
    old = pd.read_csv(file, dtype=str, keep_default_na=False) if file.is_file() else pd.DataFrame()
    files.write_csv(file, pd.concat([old, pd.DataFrame([row])], ignore_index=True).fillna(""))


if __name__ == "__main__":
    sys.exit(main())
