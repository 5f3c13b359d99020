"""Judges a network on the validation slices while it trains, by the same code that predicts."""

import numpy as np

from helpers import files, together
from helpers.cascade import inference, pipeline
from helpers.cascade.weights import TrainedNetwork, load_network
from helpers.intake import case_table
from helpers.learning import machine, plans
from helpers.processes import progress
from helpers.scans import reading
from helpers.scans.volume import with_likely_spacing
from helpers.slices import store
from helpers.slices.pixels import PEAK
from helpers.slices.recipe import grid_of


def validation_slices(data, fabric):
    """What a stage is judged on: (store.Store, DataFrame of slices), of plans.StageData.

    For the tumour those with liver, in regions from predicted livers where the liver's network is
    there: a tumour network that has only met perfect regions breaks on real ones.
    """
    if data.stage != "tumour":
        return data.store, data.val
    shown = data.val.kind.isin(["tumour", "liver"])  # not where tumour is unknown
    slices, liver_weights = data.val[shown], plans.liver_weights(data.run)
    if not liver_weights.is_file():
        return data.store, slices
    cases = case_table.read_table(data.run.lists / "cases.csv")
    liver = load_network(liver_weights, fabric.device, machine.precision_of(fabric))
    cases = cases[cases.case.isin(slices.case)]
    made = together.of_first(predicted_regions, data.run, cases, liver, data.recipe)
    return store.Store(made), slices


def averaged_network(training, fabric):
    """The averaged weights of a training, as they are at any moment: weights.TrainedNetwork."""
    averaged = training.parts["ema"].module
    return TrainedNetwork(averaged, training.plan.card, machine.precision_of(fabric))


def validate(trained, pixels, slices, threshold=0.5):
    """Score a stage's network on listed slices.

    trained  weights.TrainedNetwork; its card says which stage it is.
    pixels   store.Store to read from.
    slices   DataFrame case, z, liver_px, tumour_px.
    returns  (dict with `score` and components of it, dict case -> score); both empty without
             slices. The score is the mean over cases of Dice on their listed slices, a case with an
             empty reference counting 1 when nothing is predicted in it, else 0; tumour that the
             region leaves out is missed, and so is all of it in a case without a region. What
             resampling to the region's pixels rounds away counts as left out: a perfect answer to a
             lesion of 6 mm gets .97 to .99. The gate's is the mean of sensitivity and specificity
             over slices. Of processes that train together the first alone computes it.
    """
    if slices.empty:
        return {}, {}
    return together.of_first(_validate, trained, pixels, slices, threshold)


def _validate(trained, pixels, slices, threshold):
    trained.network.eval()
    stage = trained.card["stage"]
    if stage == "gate":
        return _validate_gate(trained, pixels, slices)
    return _validate_masks(trained, pixels, slices, stage, threshold)


def _validate_gate(trained, pixels, slices):
    correct = {True: [], False: []}
    by_case = {}
    for case, rows in slices.groupby("case"):
        image, z = pixels.image(case), rows.z.to_numpy()
        near = store.near(pixels, case)
        predicted = inference.probability_of_rows(trained, image, z, 32, **near) > 127
        shows_liver = rows.liver_px.to_numpy() > 0
        by_case[case] = float((predicted == shows_liver).mean())
        for side in (True, False):
            correct[side] += (predicted == shows_liver)[shows_liver == side].tolist()
    names = {"sensitivity": True, "specificity": False}
    shares = {name: float(np.mean(correct[side])) for name, side in names.items() if correct[side]}
    return {"score": float(np.mean(list(shares.values())))} | shares, by_case


def _validate_masks(trained, pixels, slices, stage, threshold):
    by_case, hit_slices, target_slices = {}, 0, 0
    for case, rows in slices.groupby("case"):
        shows_target = (rows.tumour_px if stage == "tumour" else rows.liver_px) > 0
        target_slices += int(shows_target.sum())
        if case not in pixels:
            by_case[case] = float(not (rows.tumour_px > 0).any())
            continue
        overlap = predicted_px = 0
        mask, k_of_rows = pixels.mask(case), rows.z.to_numpy() - pixels.first_z(case)
        inside_box = (k_of_rows >= 0) & (k_of_rows < len(mask))
        in_scan = np.zeros(len(rows))
        if stage == "tumour":
            in_scan = in_pixels_of(pixels.meta(case), rows.tumour_px.to_numpy())
        reference_px = in_scan[~inside_box].sum()
        ks = k_of_rows[inside_box]
        image, near = pixels.image(case), store.near(pixels, case)
        probability = inference.probability_of_rows(trained, image, ks, **near)
        for k, least, plane in zip(ks, in_scan[inside_box], probability, strict=True):
            target, counts = target_and_inside(mask[k], stage, pixels.is_marked(case))
            predicted = (plane >= threshold * PEAK) & counts
            overlap += int((predicted & target).sum())
            predicted_px += int(predicted.sum())
            reference_px += max(int(target.sum()), least)
            hit_slices += bool((predicted & target).any())
        pixels_of_both = predicted_px + reference_px
        by_case[case] = 2 * overlap / pixels_of_both if pixels_of_both else 1.0
    score = float(np.mean(list(by_case.values())))
    return {"score": score, "slices_found": hit_slices / max(1, target_slices)}, by_case


def masks_at(trained, pixels, case, z):
    """(reference, prediction) on slice z of a scan, both bool (y, x); the gate predicts no mask:
    None.
    """
    k, organ = z - pixels.first_z(case), "tumour" if trained.card["stage"] == "tumour" else "liver"
    target, counts = target_and_inside(pixels.mask(case)[k], organ, pixels.is_marked(case))
    if trained.card["stage"] == "gate":
        return target, None
    image, near = pixels.image(case), store.near(pixels, case)
    probability = inference.probability_of_rows(trained, image, [k], **near)[0]
    return target, counts & (probability > 127)


def in_pixels_of(meta, scan_px):
    """Pixels of a scan's plane as so many of its store's, whose edges may have another length."""
    edges = zip(meta["shape"], meta["box"][1:], strict=True)
    return np.rint(scan_px * np.prod([n / (end - start) for n, (start, end) in edges]))


def target_and_inside(mask, stage, marked):
    """(what the stage looks for, where its answer counts), both bool (y, x), from a store's mask
    plane.

    The liver counts everywhere; tumour only inside the liver: the predicted one where the store was
    made from it (`marked`).
    """
    labels = mask & 3
    if stage == "liver":
        return labels >= 1, np.ones(mask.shape, bool)
    return labels == 2, mask >= store.INSIDE if marked else labels >= 1


def predicted_regions(run, rows, liver, recipe):
    """Write a tumour store from predicted livers, so that validation meets regions as inference
    will; current ones stay.

    run      runs.Run; rows: rows of cases.csv; liver: weights.TrainedNetwork of the liver stage;
             recipe: the tumour stage's.
    returns  the store's folder, which lacks the cases in which no liver was found.
    """
    folder = run.stores / "tumour_predicted"
    rules = pipeline.Rules()
    weights = files.short_hash(run.checkpoints / "liver" / "final.safetensors")
    origin = f"{weights}-{rules}"
    name = "regions from predicted livers"
    for _, row in progress(rows.iterrows(), name, total=len(rows)):
        if store.is_current(folder, row.case, recipe, f"{row.bytes}-{origin}"):
            continue
        volume, labels = reading.read_row(row)
        volume = with_likely_spacing(volume)
        liver_mask = pipeline.predicted_liver(volume, liver, rules)
        grid = grid_of(volume, "tumour", recipe, liver_mask)
        if grid is None:
            (folder / f"{row.case}.json").unlink(missing_ok=True)  # of an earlier liver's network
            continue
        marked = labels + store.INSIDE * liver_mask.astype(np.uint8)
        made_of = f"{row.bytes}-{origin}"
        store.write_case(folder, row.case, volume, marked, grid, recipe, made_of, liver_mask)
    return folder
