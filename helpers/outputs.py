"""What a scoring leaves in its folder: tables, summary, figures and the report."""

from helpers import case_scores, charts, error_charts, lesion_charts, paths, plots, report, report_sections, summary


def drawings(tables, values):
    """Every figure that tables alone can give, a dict of name to a function without arguments."""
    cases, lesions, slices, levels, spreads = (tables[name] for name in case_scores.TABLES)
    out = {
        "dice_by_case": lambda: charts.dice_by_case(cases, values),
        "dice_distribution": lambda: charts.dice_distribution(cases, slices),
        "lesions_by_size": lambda: lesion_charts.lesions_by_size(lesions, values),
        "missed_by_kind": lambda: lesion_charts.missed_by_kind(lesions),
        "false_by_look": lambda: error_charts.false_by_look(cases, lesions),
        "dice_by_volume": lambda: error_charts.dice_by_volume(cases),
        "oracles": lambda: error_charts.oracles_beside(cases),
        "volumes": lambda: charts.volumes(cases),
    }
    if "lost.gate" in values:
        out["lost_by_stage"] = lambda: lesion_charts.lost_by_stage(values)
    if len(levels):
        out["roc_curves"] = lambda: charts.roc_curves(slices, levels)
        out["calibration"] = lambda: error_charts.calibration_curves(levels, values)
    if len(spreads):
        out["uncertainty"] = lambda: error_charts.uncertainty_and_errors(cases, spreads, values)
    return out


def write(folder, tables, title, unusable=()):
    """Write cases.csv, lesions.csv, slices.csv, summary.json, figures/ and report.html, each whole or not at all.

    unusable  sentences about references that couldn't be scored; they stand in the summary and in the report.
    returns   the summary.
    """
    values = summary.summarise(*(tables[name] for name in case_scores.TABLES)) | {"cases.not_scored": list(unusable)}
    for name in case_scores.TABLES:
        if len(tables[name]) or name not in ("probabilities", "uncertainty"):
            paths.write_csv(folder / f"{name}.csv", tables[name])
    paths.write_json(folder / "summary.json", values)

    def figure_of(name):
        return folder / "figures" / f"{name}.png"

    for name, draw in drawings(tables, values).items():
        plots.still(draw(), figure_of(name))
    write_report(folder / "report.html", title, "", values, tables, figure_of)
    return values


def write_report(path, title, meta, values, tables, figure_of, compared=None):
    """Write the report of a scoring.

    meta       what stands in front of the number of cases, such as the split.
    figure_of  function of a figure's name that gives its PNG file; a figure that isn't there is left out.
    compared   (rows of `comparison.side_by_side`, names of the two runs) or None.
    """
    n, with_tumour, failed = (values[f"cases.{name}"] for name in ("count", "with_tumour", "failed"))
    meta += f"{n} cases, {with_tumour} with tumour, {failed} failed"
    if values.get("cases.not_scored"):
        meta += f", {len(values['cases.not_scored'])} not scored because their reference can't be used"
    sections = report_sections.of_scores(values, tables, figure_of)
    if compared:
        sections.insert(1, report_sections.of_comparison(*compared, figure_of))
    report.write(path, title, meta, values, tables, sections)
