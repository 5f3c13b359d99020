"""What a scoring leaves in its folder: tables, summary, figures and the report."""

from helpers import case_scores, charts, lesion_charts, paths, report, report_sections, summary, viewer


def drawings(tables, values):
    """Every figure that tables alone can give, a dict of name to a function without arguments."""
    cases, lesions, slices, levels = (tables[name] for name in case_scores.TABLES)
    out = {
        "dice_by_case": lambda: charts.dice_by_case(cases, values),
        "dice_distribution": lambda: charts.dice_distribution(cases, slices),
        "lesions_by_size": lambda: lesion_charts.lesions_by_size(lesions, values),
        "errors_by_kind": lambda: lesion_charts.errors_by_kind(lesions),
        "volumes": lambda: charts.volumes(cases),
    }
    if "lost.gate" in values:
        out["lost_by_stage"] = lambda: lesion_charts.lost_by_stage(values)
    if len(levels):
        out["roc_curves"] = lambda: charts.roc_curves(slices, levels)
    return out


def write(folder, tables, title, unusable=()):
    """Write cases.csv, lesions.csv, slices.csv, summary.json, figures/ and report.html, each whole or not at all.

    unusable  sentences about references that couldn't be scored; they stand in the summary and in the report.
    returns   the summary.
    """
    cases, lesions, slices, levels = (tables[name] for name in case_scores.TABLES)
    values = summary.summarise(cases, lesions, slices, levels) | {"cases.not_scored": list(unusable)}
    for name in case_scores.TABLES:
        if len(tables[name]) or name != "probabilities":
            paths.write_csv(folder / f"{name}.csv", tables[name])
    paths.write_json(folder / "summary.json", values)

    def figure_of(name):
        return folder / "figures" / f"{name}.png"

    for name, draw in drawings(tables, values).items():
        viewer.still(draw(), figure_of(name))
    meta = f"{len(cases)} cases, {values['cases.with_tumour']} with tumour, {values['cases.failed']} failed"
    if unusable:
        meta += f", {len(unusable)} not scored because their reference can't be used"
    sections = report_sections.of_scores(values, tables, figure_of)
    report.write(folder / "report.html", title, meta, values, tables, sections)
    return values
