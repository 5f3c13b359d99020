"""The tables at the report's end: all measures, what others reported, the rules for empties."""

from IPython.display import HTML

from helpers.looking.report import table
from helpers.scoring.lesions import SIZES
from helpers.scoring.sentences import between, number

MEASURES = {
    "dice_per_case": "Dice per case",
    "dice_per_case_with_tumour": "Dice per case with tumour",
    "jaccard_per_case": "Jaccard per case",
    "voe": "VOE",
    "rvd_2017": "RVD, (P − R) / R",
    "rvd_lits_official": "RVD, (R − P) / P",
    "assd_mm": "ASSD, mm",
    "rmsd_mm": "RMSD, mm",
    "msd_mm": "MSD (largest), mm",
    "hd95_mm": "HD95, mm",
    "volume_error_ml": "volume error, ml",
}
SLICE_MEASURES = {
    "sensitivity": "slice_sensitivity",
    "specificity": "slice_specificity",
    "detection rate": "slice_detection_rate",
    "mean Dice per slice": "slice_dice.mean",
    "ROC area, slices": "slice_auc",
    "ROC area, voxels": "voxel_auc",
}
PUBLISHED = (  # arXiv 1901.04056, arXiv 1702.05970, nnU-Net's documentation, Chlebus et al. 2018
    (
        "best of LiTS at ISBI 2017, MICCAI 2017, MICCAI 2018",
        ".963",
        ".674, .702, .739",
        "recall .458, .515, .554",
    ),
    ("nnU-Net 3d_fullres, 5-fold on the training set", ".957", ".640 (folds .567 to .706)", "–"),
    ("Han 2017, 2.5-D", "–", ".674", "precision .354, recall .458"),
    ("Chlebus 2018, 2-D U-Net", "–", ".652", "precision .385, recall .406"),
    ("Christ 2017, cascaded U-Net", ".94", ".529", "precision .552, recall .383"),
    ("a human second reader", "–", ".72 on lesions both found", "–"),
)


def all_measures(values):
    """Every measure of both organs: mean and interval, median, cases, and the rule for empties."""
    rows = []
    for organ in ("liver", "tumour"):
        names = dict(MEASURES)
        for key in values:
            if key.startswith(f"{organ}.surface_dice_") and key.endswith("mm.mean"):
                name = key.removeprefix(f"{organ}.").removesuffix(".mean")
                mm = name.removeprefix("surface_dice_").removesuffix("mm")
                names[name] = f"surface Dice at {mm} mm"
        names["dice_global"] = "Dice global"
        rows += [_measure(values, f"{organ}.{key}", f"{organ}: {n}") for key, n in names.items()]
    rows.append(_measure(values, "tumour_burden.rmse", "tumour burden, RMSE"))
    rows[-1]["rule"] = values["tumour_burden.rule"]
    rows.append(_measure(values, "tumour_burden.max_error", "tumour burden, largest error"))
    return table([row for row in rows if row])


def _measure(values, key, name):
    """A row with what stands beside a mean in the summary; empty where there is no such measure."""
    if key not in values and f"{key}.mean" not in values:
        return {}
    beside = {end: values.get(f"{key}.{end}", "") for end in ("median", "cases", "rule")}
    return {"measure": name, "mean (95 % interval)": between(values, key)} | beside


def slice_measures(values):
    """Slices as a detector sees them, a row for each organ."""
    rows = [
        {"organ": organ} | {n: values.get(f"{organ}.{key}") for n, key in SLICE_MEASURES.items()}
        for organ in ("liver", "tumour")
    ]
    return table(rows)


def beside_published(values):
    """This scoring on top of what others reported on their own cases."""
    precision, recall = (
        number(values[f"lits_official.detection_{name}"]) for name in ("precision", "recall")
    )
    dice = [between(values, f"{organ}.dice_per_case") for organ in ("liver", "tumour")]
    lesions = f"precision {precision}, recall {recall}"
    ours = (f"this one, {values['cases.count']} cases", *dice, lesions)
    heads = ("system", "liver Dice", "tumour Dice per case", "lesions, as the LiTS script counts")
    return table([dict(zip(heads, row)) for row in (ours, *PUBLISHED)])


def rules_for_empties(values):
    """Every rule of the summary with the numbers that it stands beside, folded away; their keys in
    summary.json one fold further down.
    """
    names = {}
    for key, rule in values.items():
        if key.endswith("rule") and not key.startswith(tuple(f"tumour.{s}." for s in SIZES)):
            names.setdefault(rule, []).append(key.removesuffix("rule").strip("._"))
    plain = [
        {"numbers": ", ".join(dict.fromkeys(map(plain_name, keys))), "rule": rule}
        for rule, keys in names.items()
    ]
    keyed = [{"rule": rule, "keys": ", ".join(keys)} for rule, keys in names.items()]
    return HTML(
        f"<details><summary>{len(plain)} rules</summary>{table(plain).data}"
        f"<details><summary>their keys in summary.json</summary>{table(keyed).data}</details>"
        "</details>"
    )


def plain_name(key):
    """ "tumour: Dice per case" for a key of the summary such as `tumour.dice_per_case`."""
    organ, _, rest = key.partition(".")
    if organ not in ("liver", "tumour"):
        rest, organ = key, ""
    words = MEASURES.get(rest) or rest.replace("_", " ").replace(".", ", ")
    words = words.replace("iou50", "at IoU > 0.5").replace("lits official", "LiTS script")
    return f"{organ}: {words}" if organ else words
