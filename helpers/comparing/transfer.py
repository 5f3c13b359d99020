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
from helpers.cascade.rules import Rules
from helpers.comparing import answers, disturbances, rule_trials, sites
from helpers.processes import DONE, FAILED, USAGE
from helpers.scoring import run_scores

TITLE = "# Transfer\n\nHow the cascade holds where it hasn't learnt; each part is written by\n"
TITLE += "`python -m helpers.comparing.transfer`.\n"
# each measures a scan and writes a part of the page
PARTS = {"scores": sites, "choose": rule_trials, "robust": disturbances}
EXPLAINED = """
scores  what the cascade makes of every scan, and the means of every site (the default)
choose  rules changed one at a time: what each gains on scans that it was not chosen on; one site is
        left out in turn, or one patient where there is one site
robust  every scan also brighter, darker, noisier, with thinner and thicker slices

A site is a folder of scans with masks, in any layout that helpers.run reads; a mask may be all 0 (a
body without liver) or hold the liver only. Weights must not have learnt from it: scans that they
learnt from are judged by --folds, each with the networks of its own fold. Answers of networks are
kept in data/answers.sqlite (delete it whenever you like), so a stopped command resumes, and other
rules cost no network again. Tables go to OUT-*.csv, the page is OUT.md.
examples:
  python -m helpers.comparing.transfer --run lits102 --site other=scans/elsewhere
  python -m helpers.comparing.transfer --folds cv18=fold0,fold1,fold2 --trial "wider intensities"
  python -m helpers.comparing.transfer choose --site other=scans/elsewhere \\
      --try smooth_mm=0 "smooth_mm=0 tumour_threshold=.5"
"""


def main(words=None):
    """Run the command line `words`; returns the exit code."""
    processes.print_any_letter()
    options = parsed(words)
    try:
        settings = named_settings(options)
        scans = chosen_scans(options)
    except (ValueError, OSError) as error:
        print(f"helpers.comparing.transfer: {error}", file=sys.stderr)
        return USAGE
    store = runs.ROOT / "data" / "answers.sqlite"

    @cache
    def networks_of(folder):
        return answers.load_networks(folder, store, options.device)

    failed = set()
    for what in options.what or ["scores"]:
        results = []
        for scan in scans:
            try:
                results += PARTS[what].measured(scan, networks_of(scan.weights), settings)
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                failed.add(scan.case)
                print(f"{scan.site} {scan.case}: {error or 'not enough memory'}", file=sys.stderr)
            else:
                print(f"{what}: {scan.site} {scan.case}", flush=True)
        try:
            write(what, pd.DataFrame(results), scans, options)
        except (ValueError, OSError) as error:
            print(f"helpers.comparing.transfer: {error}", file=sys.stderr)
            return FAILED
    return FAILED if failed else DONE


def write(what, rows, scans, options):
    """The tables of a part, its place on the page, and the row of a trial.

    Raises ValueError when no scan could be measured, or too few to choose by.
    """
    if rows.empty:
        raise ValueError(f"{what}: none of the {len(scans)} scans could be measured")
    out, recipe = options.out, made_with(options, scans)
    files.write_csv(out.with_name(f"{out.name}-{what}-scans.csv"), rows)
    table, text = PARTS[what].page(rows, options)
    files.write_csv(out.with_name(f"{out.name}-{what}.csv"), table)
    page, date = out.with_name(f"{out.name}.md"), datetime.date.today().isoformat()
    write_part(page, what, f"{date}, {recipe}.\n\n{text}")
    print(f"\n{text}\n\n{page}")
    if options.trial and what == "scores":
        row = {"date": date, "stage": "cascade", "change": options.trial, "note": recipe}
        add_trial(out.with_name("trials.csv"), row, table)


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
    are added where they are missing; rows that are there stay as they are.
    """
    for site in table.to_dict("records"):
        for measure in sites.MEASURES:
            if site[f"{measure}_scans"]:
                column = f"{site['site']}_{measure.removeprefix(site['site'] + '_')}"
                row[column] = f"{site[measure]:.4g}"
    old = pd.read_csv(file, dtype=str, keep_default_na=False) if file.is_file() else pd.DataFrame()
    files.write_csv(file, pd.concat([old, pd.DataFrame([row])], ignore_index=True).fillna(""))


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
    add("--leave", default="site", choices=("site", "patient"),
        help="what is left out in turn when choosing (default site, patient where there is one)")
    add("--trial", metavar="TEXT", help="what was changed: a row in trials.csv beside the page")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args(words)
    if unknown := set(options.what) - PARTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: choose of {', '.join(PARTS)}")
    if not options.site and not options.folds:
        parser.error("give at least one --site NAME=FOLDER, or --folds NAME=RUN,RUN")
    return options


def named_settings(options):
    """dict of a setting's text -> Rules, AS_IT_IS the first; raises ValueError for no rule."""
    rules = Rules(**predict.checked_rules(options.set))
    changed = {word: predict.checked_rules(word.split())
               for word in options.settings or rule_trials.CHANGES}
    return {sites.AS_IT_IS: rules} | {word: replace(rules, **changes)
                                      for word, changes in changed.items()}


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
        of_site, without = sites.of_folder(name, folder, runs.weights_folder(options.run))
        scans += of_site
        if without:
            print(f"{name}: without a mask and left out: {', '.join(without)}", file=sys.stderr)
    return scans


def named(option, word):
    name, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"\w+", name):
        raise ValueError(f"--{option} {word!r}: write NAME=…, a name of letters, digits and '_'")
    return name, value


def made_with(options, scans):
    """Whose weights and which rules, in words."""
    paths = {Path(runs.relative(scan.weights)) for scan in scans}  # a page is for everybody
    names = sorted(p.name if p.is_absolute() else p.as_posix() for p in paths)
    weights = ", ".join(names)
    rules = f"; {' '.join(options.set)}" if options.set else ""
    return f"weights of {weights}{rules}"


if __name__ == "__main__":
    sys.exit(main())
