"""How many slices without tumour show some: what a reader who leafs through a liver is stopped by."""

import numpy as np

from helpers.intervals import interval, patients, ratio

LEAST_ML = 0.05  # as notebook 05 drops smaller lesions by default; other programs' masks may be full of specks
KINDS = ("any", "sizeable", "false")
RULE = (
    "slices with liver and without tumour in the reference; any: a predicted tumour voxel on it; sizeable: one of a predicted "
    f"lesion of {LEAST_ML:g} ml or more; false: one of a predicted lesion that touches no reference lesion on any slice; those "
    "of a case without usable prediction all count; no such slice: no value"
)


def by_case(cases, lesions, slices):
    """`cases` with columns tumour_free_slices, and false_slices_any, _sizeable and _false, counts; see RULE.

    A lesion is joined by faces, so it shows on every slice from its first to its last.
    """
    free = slices[(slices.liver_reference > 0) & (slices.tumour_reference == 0)]
    said = lesions[lesions.side == "prediction"]
    kinds = {"any": said.volume_ml > 0, "sizeable": said.volume_ml >= LEAST_ML, "false": said.kind == "false"}
    failed = cases.case[cases.failed.fillna("").astype(str) != ""]
    number = free.groupby("case").size()
    out = cases.assign(tumour_free_slices=cases.case.map(number).fillna(0).astype(int))
    for name, keep in kinds.items():
        count = {case: _shown(part.index_z, said[keep & (said.case == case)]) for case, part in free.groupby("case")}
        count |= {case: number.get(case, 0) for case in failed}
        out[f"false_slices_{name}"] = out.case.map(count).fillna(0).astype(int)
    return out


def _shown(index_z, lesions):
    """How many of some slices show any of some lesions."""
    z = index_z.to_numpy()[:, None]
    return int(((z >= lesions.first_slice.to_numpy(int)) & (z <= lesions.last_slice.to_numpy(int))).any(1).sum())


def summarise(cases):
    """The keys `tumour_free_slices` and `false_slices.<kind>` with intervals, from a table of `by_case`."""
    free = cases.tumour_free_slices.to_numpy(float)
    out = {"tumour_free_slices": int(free.sum()), "false_slices.rule": RULE}
    for kind in KINDS:
        false = cases[f"false_slices_{kind}"].to_numpy(float)
        out[f"false_slices.{kind}"] = false.sum() / free.sum() if free.sum() else np.nan
        out[f"false_slices.{kind}.slices"] = int(false.sum())
        ends = interval(np.stack([false, free], 1), ratio, patients(cases))
        out[f"false_slices.{kind}.low"], out[f"false_slices.{kind}.high"] = ends
    return out
