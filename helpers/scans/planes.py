"""Slices that say where they lie, in order: without copies and contradictions, one step."""

import functools
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.scans.findings import Unfit

TILT_DEGREES = 0.5
SAME_PLACE_MM = 0.01


@dataclass
class Plane:
    """One slice, its position and directions in DICOM's millimetres: left, back, head.

    hu            int16 (rows, columns).
    row, column   unit vectors along a row and down a column.
    spacing_mm    between rows, between columns.
    marks         dict tag -> its text, of those by which acquisitions are distinguished.
    frame         its number in the file, from 0.
    """

    file: Path
    hu: np.ndarray
    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing_mm: tuple
    thickness_mm: float
    marks: dict = field(default_factory=dict)
    frame: int = 0

    @property
    def normal(self):
        return np.cross(self.row, self.column)

    @functools.cached_property
    def height(self):
        """Where it lies along its normal, in mm."""
        return float(self.position @ self.normal)


def check_alike(planes):
    """Raise Unfit for the first slice of another shape, orientation or pixel spacing."""
    first = planes[0]
    for plane in planes:
        for what, value, wanted, tolerance in (
            ("shape", plane.hu.shape, first.hu.shape, 0),
            ("orientation", (*plane.row, *plane.column), (*first.row, *first.column), 0.002),
            ("pixel spacing", plane.spacing_mm, first.spacing_mm, 0.001),
        ):
            if not np.allclose(value, wanted, rtol=0, atol=tolerance):
                value, wanted = (tuple(np.round(numbers, 4).tolist())
                                 for numbers in (value, wanted))
                message = f"has {what} {value}, {first.file.name} has {wanted}; a scan needs one"
                raise Unfit("slices-differ", f"{plane.file}: {message}")


def in_order(planes):
    """The slices in the order in which they lie along their normal."""
    return sorted(planes, key=lambda plane: plane.height)


def without_copies(planes):
    """(slices in order without repeats of one at the same place, list of (kept, dropped))."""
    kept, copies, place = [], [], []  # the slices kept at the last place
    for plane in planes:
        place = place if place and in_one_place(place[0], plane) else []
        same = [other for other in place if np.array_equal(plane.hu, other.hu)]
        if same:
            copies.append((same[0], plane))
        else:
            kept.append(plane)
            place.append(plane)
    return kept, copies


def in_one_place(one, other):
    """True for slices that lie less than SAME_PLACE_MM apart."""
    return np.abs(one.position - other.position).max() <= SAME_PLACE_MM


def check_apart(planes):
    """Raise Unfit for two of the slices, in order, that lie at one place."""
    for before, plane in itertools.pairwise(planes):
        if in_one_place(before, plane):
            message = f"lies where {before.file.name} lies and shows something else"
            raise Unfit("slices-differ", f"{plane.file}: {message}")


def odd_steps(heights):
    """(usual step in mm, indices of the steps that differ from it) of heights that rise."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    return usual, np.flatnonzero(np.abs(steps - usual) > max(0.1 * usual, 0.1))


def is_even(heights):
    """True for three heights or more, rising, that lie one step apart."""
    if len(heights) < 3 or np.diff(heights).min() <= SAME_PLACE_MM:
        return False
    return not len(odd_steps(heights)[1])


def step_between(planes):
    """(vector from a slice to the next in mm, findings: what is uneven about the steps).

    Raises Unfit for a tilted gantry, with its angle, and for a slice that lies beside the others.
    """
    first, normal = planes[0], planes[0].normal
    if len(planes) == 1:
        if not first.thickness_mm > 0:
            message = "is a single slice without SliceThickness, so its height isn't known"
            raise Unfit("no-place", f"{first.file}: {message}")
        return normal * first.thickness_mm, []
    away = np.array([plane.position - first.position for plane in planes])
    height = away @ normal  # mm along the normal, rising
    _check_upright(planes, away, height)
    usual, odd = odd_steps(height)
    if not odd.size:
        return away[-1] / (len(planes) - 1), []
    steps = np.diff(height)
    if spacings := _spacings(steps):
        return normal * usual, [("two-spacings", spacings)]
    named = ", ".join(f"{steps[k]:.4g} mm after {planes[k].file.name}" for k in odd[:3])
    return normal * usual, [("slices-uneven", f"{named}{more(odd)}, {usual:.4g} mm elsewhere")]


def _spacings(steps):
    """ "20 steps of 5.2 mm, then 17 of 10.3 mm"; "" where single slices are missing."""
    runs = []
    for step in steps:
        if runs and abs(step - np.median(runs[-1])) <= max(0.1 * np.median(runs[-1]), 0.1):
            runs[-1].append(step)
        else:
            runs.append([step])
    long = [run for run in runs if len(run) >= 3]  # between two lies a step of its own at most
    if len(long) < 2 or sum(map(len, long)) < len(steps) - len(long) + 1:
        return ""
    texts = [f"{len(run)}{' steps' if k == 0 else ''} of {np.median(run):.4g} mm"
             for k, run in enumerate(long)]
    means = [float(np.median(run)) for run in long]
    return ", then ".join(texts) if max(means) > 1.1 * min(means) else ""


def _check_upright(planes, away, height):
    """Raise Unfit for slices that don't stand on each other.

    away, height   mm (slices, 3) from the first slice; the part along the normal (slices,).
    """
    first = planes[0]
    beside = away - height[:, None] * first.normal
    lean = beside[-1] / height[-1] if height[-1] > SAME_PLACE_MM else np.zeros(3)
    stray = np.linalg.norm(beside - height[:, None] * lean, axis=1)
    half_pixel, angle = (min(first.spacing_mm) / 2,
                         float(np.degrees(np.arctan(np.linalg.norm(lean)))))
    if stray.max() > half_pixel:
        message = f"lies {stray.max():.1f} mm beside the line of the other slices"
        raise Unfit("slices-differ", f"{planes[int(stray.argmax())].file}: {message}")
    if angle > TILT_DEGREES and np.linalg.norm(beside[-1]) > half_pixel:
        message = f"was scanned with the gantry tilted by {angle:.1f} degrees"
        raise Unfit("sheared",
                    f"{first.file.parent}: {message}, so its slices don't stand upright on each "
                    "other")


def affine_of(plane, step):
    """The affine (4, 4) of (column, row, slice) in NIfTI's mm: right, front, head, unlike DICOM."""
    between_rows, between_columns = plane.spacing_mm
    affine = np.eye(4)
    columns = [plane.row * between_columns, plane.column * between_rows, step, plane.position]
    affine[:3] = np.column_stack(columns)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def more(items):
    """How a message that names three items ends: " and 4 more", or "" when there are no more."""
    return f" and {len(items) - 3} more" if len(items) > 3 else ""
