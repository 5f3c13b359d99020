"""Is a stack one acquisition? Several are distinguished by number, time or content."""

from collections import defaultdict

import cv2
import numpy as np

from helpers.scans import planes
from helpers.scans.findings import Unfit

NUMBERS = ("AcquisitionNumber", "FrameAcquisitionNumber")
# those that say most come first; a person knows them by their names
TAGS = (*NUMBERS, "TemporalPositionIdentifier", "TemporalPositionIndex", "StackID",
        "NominalPercentageOfCardiacPhase", "AcquisitionDateTime", "FrameAcquisitionDateTime",
        "AcquisitionTime", "ConvolutionKernel", "KVP", "ContrastBolusAgent", "ImageType",
        "FrameType", "ReconstructionDiameter", "SliceThickness", "InstanceNumber")
PLACE, CONTENT, GRID = "their places", "what they show", "size and spacing of their pixels"
TISSUE_HU = (-150, 250)  # what contrast medium changes; air and bone beyond it say little
BLOCKS = 32  # along a side: fine noise is averaged out
# `alternation` from which every second slice is another acquisition's: 20 scans, thinned to 8 mm
# and less, reach 0.01, the same with organs 25 HU brighter in every second slice 0.1 to 0.6
ALTERNATION = 0.07


def chosen(stack, name=""):
    """The slices of the acquisition `name`, or all of a stack that is one.

    stack    list of Plane, in order of their heights.
    Raises Unfit, which lists the acquisitions, when there are several and none, or none of that
    name, is chosen.
    """
    how, groups = distinguished(stack)
    if name and not groups:
        how = next((tag for tag in NUMBERS if tag in stack[0].marks), "")
        groups = _by_value(stack, how) if how else {}
    if name in groups:
        return groups[name]
    if not groups and not name:
        return stack
    where = stack[0].file.parent
    if len(groups) < 2:
        raise Unfit("acquisitions", f"{where}: is one acquisition, there is no {name!r} in it; "
                    "leave the choice out")
    listed = ", ".join(f"{group} ({_described(of_group, how)})"
                       for group, of_group in groups.items())
    asked = f"there is no acquisition {name!r}; " if name else ""
    raise Unfit("acquisitions", f"{where}: {asked}its {len(stack)} slices are {len(groups)} "
                f"acquisitions, distinguished by {how}: {listed}")


def distinguished(stack):
    """(by what, dict name -> its slices) of the acquisitions that lie within one another in a
    stack; an empty dict for one alone.

    Acquisitions that lie one above the other are one scan. The name is a number of its tag where it
    has one, else it is counted from 1.
    """
    if len(stack) < 6:
        return "", {}
    options = {tag: runs for tag in TAGS if len(runs := _runs(stack, tag)) > 1}
    options[GRID] = _of_one_grid(stack)
    for how, runs in options.items():
        if len(runs) > 1 and all(_is_even(run) for run in runs):
            return how, _named(runs, how)
    if _is_even(stack):
        halves = [stack[::2], stack[1::2]]
        return (CONTENT, _named(halves, "")) if alternation(stack) > ALTERNATION else ("", {})
    for how, runs in options.items():  # each with a fault of its own, perhaps
        if len(runs) > 1 and all(len(run) > 2 and _apart(run) for run in runs) and _overlap(runs):
            return how, _named(runs, how)
    if runs := _chains(stack):
        return CONTENT, _named(runs, "")
    halves = [stack[::2], stack[1::2]]
    return (PLACE, _named(halves, "")) if all(map(_is_even, halves)) else ("", {})


def _by_value(stack, tag):
    groups = defaultdict(list)
    for plane in stack:
        groups[plane.marks.get(tag, "")].append(plane)
    return {value: groups[value] for value in sorted(groups, key=_number)}


def _number(value):
    return (0, float(value), "") if value.replace(".", "", 1).isdecimal() else (1, 0.0, value)


def _runs(stack, tag):
    """The slices by a tag's values, in order; values that lie one above the other are together."""
    runs, low, high = [], np.inf, -np.inf
    for of_value in _by_value(stack, tag).values():
        bottom, top = of_value[0].height, of_value[-1].height
        if bottom > high + planes.SAME_PLACE_MM or top < low - planes.SAME_PLACE_MM:
            runs[-1:] = [[*(runs[-1] if runs else []), *of_value]]
            low, high = min(low, bottom), max(high, top)
        else:
            runs.append(of_value)
            low, high = bottom, top
    return [sorted(run, key=lambda plane: plane.height) for run in runs]


def _of_one_grid(stack):
    groups = defaultdict(list)
    for plane in stack:
        groups[plane.hu.shape, tuple(np.round(plane.spacing_mm, 3))].append(plane)
    return list(groups.values())


def _is_even(run):
    return planes.is_even([plane.height for plane in run])


def _apart(run):
    return np.diff([plane.height for plane in run]).min() > planes.SAME_PLACE_MM


def _overlap(runs):
    """True when two share half of the shorter one's height: not chest and abdomen that touch."""
    ends = [(run[0].height, run[-1].height) for run in runs]
    return any(min(a[1], b[1]) - max(a[0], b[0]) >= min(a[1] - a[0], b[1] - b[0]) / 2
               for k, a in enumerate(ends) for b in ends[:k])


def _named(runs, how):
    values = [{plane.marks.get(how, "") for plane in run} for run in runs]
    by_value = how in NUMBERS and all(len(value) == 1 and value != {""} for value in values)
    return {value.pop() if by_value else str(k): run
            for k, (value, run) in enumerate(zip(values, runs, strict=True), start=1)}


def _described(run, how):
    step = np.median(np.diff([plane.height for plane in run])) if len(run) > 1 else 0
    values = sorted({plane.marks.get(how, "") for plane in run} - {""}, key=_number)
    span = [] if how in NUMBERS or not values else [f"{how} {values[0]}" + (
        f" to {values[-1]}" if len(values) > 1 else "")]
    return ", ".join([f"{len(run)} slices", f"{step:.4g} mm apart", *span])


def _blocks(stack):
    """Means of tissue in 32 × 32 blocks of each slice: float32 (slices, 1024)."""
    small = [cv2.resize(plane.hu[::2, ::2].clip(*TISSUE_HU).astype(np.float32), (BLOCKS, BLOCKS),
                        interpolation=cv2.INTER_AREA) for plane in stack]
    return np.reshape(small, (len(stack), -1))


def alternation(stack):
    """How surely slices go to and fro between two pictures: about 0 in one scan, 1 where every
    second one shows another and nothing else changes.

    From each slice's difference to the mean of its neighbours, which has to be alike in every
    second slice: the least of its correlations three to eight slices on, those with odd ones
    reversed. Noise, anatomy and slices that were interpolated have no such rhythm.
    """
    if len(stack) < 16:
        return 0.0
    blocks = _blocks(stack)
    bend = blocks[1:-1] - (blocks[:-2] + blocks[2:]) / 2
    power = float((bend**2).mean())
    if power < 1e-6:
        return 0.0
    return min((-1) ** k * float((bend[:-k] * bend[k:]).mean()) / power for k in range(3, 9))


def _chains(stack):
    """The acquisitions of a stack with as many slices at each place, by likeness; or none."""
    from scipy.optimize import linear_sum_assignment  # a fifth of a second, and few scans need it

    places = []
    for plane in stack:
        if places and planes.in_one_place(places[-1][0], plane):
            places[-1].append(plane)
        else:
            places.append([plane])
    sizes = {len(place) for place in places}
    if len(sizes) > 1 or sizes == {1} or len(places) < 3:
        return []
    chains = [[plane] for plane in places[0]]
    for place in places[1:]:
        last, following = (_blocks(some) for some in ([chain[-1] for chain in chains], place))
        costs = np.abs(last[:, None] - following[None]).mean(2)
        for one, other in zip(*linear_sum_assignment(costs), strict=True):
            chains[one].append(place[other])
    return chains
