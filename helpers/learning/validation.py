"""Judges a network on the validation slices while it trains, by the same code that predicts."""

import numpy as np

from helpers import files
from helpers.cascade import inference, pipeline, tumour
from helpers.scans import reading
from helpers.scans.volume import with_likely_spacing
from helpers.slices import store
from helpers.slices.recipe import PEAK, grid_of


def validate(loaded, pixels, slices, threshold=0.5):
    """Score a stage's network on listed slices.

    loaded   cascade.Loaded; its card says which stage it is.
    pixels   store.Store to read from.
    slices   DataFrame case, z, liver_px, tumour_px.
    returns  (dict with `score` and parts of it, dict case -> score). The score is the mean over cases of Dice on their
             listed slices, a case with an empty reference counting 1 when nothing is found in it, else 0; tumour that the
             region leaves out is missed, and so is all of it in a case without a region. What resampling to the region's
             pixels rounds away counts as left out: a perfect answer to a lesion of 6 mm gets .97 to .99. The gate's is
             the mean of sensitivity and specificity over slices.
    """
    stage = loaded.card["stage"]
    return _validate_gate(loaded, pixels, slices) if stage == "gate" else _validate_masks(loaded, pixels, slices, stage, threshold)


def _validate_gate(loaded, pixels, slices):
    right = {True: [], False: []}
    cases = {}
    for case, part in slices.groupby("case"):
        likely = inference.probabilities(loaded, pixels.image(case), part.z.to_numpy(), 32, store.step_of(pixels, case)) > 127
        truth = part.liver_px.to_numpy() > 0
        cases[case] = float((likely == truth).mean())
        for side in (True, False):
            right[side] += (likely == truth)[truth == side].tolist()
    shares = {name: float(np.mean(right[side])) for name, side in (("sensitivity", True), ("specificity", False)) if right[side]}
    return {"score": float(np.mean(list(shares.values())))} | shares, cases


def _validate_masks(loaded, pixels, slices, stage, threshold):
    cases, found_slices, shown_slices = {}, 0, 0
    for case, part in slices.groupby("case"):
        shown_slices += int((part.tumour_px > 0).sum()) if stage == "tumour" else int((part.liver_px > 0).sum())
        if case not in pixels:
            cases[case] = float(not (part.tumour_px > 0).any())
            continue
        overlap = predicted = 0
        mask, rows = pixels.mask(case), part.z.to_numpy() - pixels.first_z(case)
        there = (rows >= 0) & (rows < len(mask))
        whole = in_pixels_of(pixels.meta(case), part.tumour_px.to_numpy()) if stage == "tumour" else np.zeros(len(part))
        reference = whole[~there].sum()
        said = inference.probabilities(loaded, pixels.image(case), rows[there], step=store.step_of(pixels, case))
        for k, least, likely in zip(rows[there], whole[there], said, strict=True):
            truth, inside = target_and_inside(mask[k], stage, pixels.is_marked(case))
            found = (likely >= threshold * PEAK) & inside
            overlap += int((found & truth).sum())
            predicted += int(found.sum())
            reference += max(int(truth.sum()), least)
            found_slices += bool((found & truth).any())
        cases[case] = 2 * overlap / (predicted + reference) if predicted + reference else 1.0
    return {"score": float(np.mean(list(cases.values()))), "slices_found": found_slices / max(1, shown_slices)}, cases


def in_pixels_of(meta, scan_px):
    """Pixels of a scan's plane as so many of its store's, whose edges may have another length."""
    edges = zip(meta["shape"], meta["box"][1:], strict=True)
    return np.rint(scan_px * np.prod([n / (end - start) for n, (start, end) in edges]))


def target_and_inside(mask, stage, marked):
    """(what the stage looks for, where its answer counts), both bool (y, x), from a store's mask plane.

    The liver counts everywhere; tumour only inside the liver: the predicted one where the store was made from it (`marked`).
    """
    labels = mask & 3
    if stage == "liver":
        return labels >= 1, np.ones(mask.shape, bool)
    return labels == 2, mask >= store.INSIDE if marked else labels >= 1


def predicted_regions(run, rows, liver, recipe):
    """Write a tumour store from predicted livers, so that validation meets regions as inference will; current ones stay.

    run      paths.Run; rows: rows of cases.csv; liver: cascade.Loaded of the liver stage; recipe: the tumour stage's.
    returns  store.Store, which lacks the cases in which no liver was found.
    """
    from tqdm import tqdm


    folder = run.stores / "tumour_predicted"
    rules = pipeline.Rules()
    weights = files.sha256(run.checkpoints / "liver" / "final.safetensors")[:16]
    origin = f"{weights}-{rules}"
    for _, row in tqdm(rows.iterrows(), total=len(rows), desc="regions from predicted livers", unit="case"):
        if store.is_current(folder, row.case, recipe, f"{row.bytes}-{origin}"):
            continue
        volume, labels = reading.read_row(row)
        volume = with_likely_spacing(volume)
        found = pipeline.predicted_liver(volume, liver, rules)
        grid = grid_of(volume, "tumour", recipe, found)
        if grid is None:
            (folder / f"{row.case}.json").unlink(missing_ok=True)  # of an earlier liver's network
            continue
        inside = tumour.morphological_closing(found, volume.spacing_mm, rules.reach_mm)
        marked = labels + store.INSIDE * inside.astype(np.uint8)
        store.write_case(folder, row.case, volume, marked, grid, recipe, f"{row.bytes}-{origin}", found)
    return store.Store(folder)
