"""The geometry of a stack of DICOM slices: are they alike, evenly spaced, upright; and the affine that follows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

TILT_DEGREES = 0.5
SAME_PLACE_MM = 0.01


@dataclass
class Plane:
    """One slice: hu int16 (rows, columns); position, row and column directions in DICOM's millimetres (left, back, head)."""

    file: Path
    hu: np.ndarray
    position: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing_mm: tuple  # between rows, between columns
    thickness_mm: float
    acquisition: str

    @property
    def normal(self):
        return np.cross(self.row, self.column)


def check_alike(planes):
    """Raise ValueError when slices differ in shape, orientation or pixel spacing; it names the first that does."""
    first = planes[0]
    for plane in planes:
        for what, own, wanted, tolerance in (
            ("shape", plane.hu.shape, first.hu.shape, 0),
            ("orientation", (*plane.row, *plane.column), (*first.row, *first.column), 0.002),
            ("pixel spacing", plane.spacing_mm, first.spacing_mm, 0.001),
        ):
            if not np.allclose(own, wanted, rtol=0, atol=tolerance):
                own, wanted = (tuple(np.round(values, 4).tolist()) for values in (own, wanted))
                raise ValueError(f"{plane.file}: has {what} {own}, {first.file.name} has {wanted}; a scan needs one")


def sort(planes):
    """The slices in the order in which they lie along their normal."""
    return sorted(planes, key=lambda plane: float(plane.position @ planes[0].normal))


def without_copies(planes):
    """(sorted planes without those that repeat another one at the same place, list of (kept, dropped)).

    Raises ValueError when two slices at one place differ.
    """
    kept, copies = planes[:1], []
    for plane in planes[1:]:
        before = kept[-1]
        if np.abs(plane.position - before.position).max() > SAME_PLACE_MM:
            kept.append(plane)
        elif np.array_equal(plane.hu, before.hu):
            copies.append((before, plane))
        else:
            numbers = f"acquisitions {before.acquisition} and {plane.acquisition}"
            also = "" if plane.acquisition == before.acquisition else f"; they are of {numbers}: put each in its own folder"
            raise ValueError(f"{plane.file}: lies where {before.file.name} lies and shows something else{also}")
    return kept, copies


def step_between(planes):
    """(vector from a slice to the next in mm, what is uneven about the steps or "").

    Raises ValueError for a tilted gantry, with its angle, and for a slice that lies beside the others.
    """
    first, normal = planes[0], planes[0].normal
    if len(planes) == 1:
        if not first.thickness_mm > 0:
            raise ValueError(f"{first.file}: is a single slice without SliceThickness, so its height isn't known")
        return normal * first.thickness_mm, ""
    away = np.array([plane.position - first.position for plane in planes])
    height = away @ normal  # mm along the normal, rising
    beside = away - height[:, None] * normal
    lean = beside[-1] / height[-1] if height[-1] > SAME_PLACE_MM else np.zeros(3)
    angle, half_pixel = float(np.degrees(np.arctan(np.linalg.norm(lean)))), min(first.spacing_mm) / 2
    stray = np.linalg.norm(beside - height[:, None] * lean, axis=1)
    if stray.max() > half_pixel:
        raise ValueError(f"{planes[int(stray.argmax())].file}: lies {stray.max():.1f} mm beside the line of the other slices")
    if angle > TILT_DEGREES and np.linalg.norm(beside[-1]) > half_pixel:
        raise ValueError(
            f"{first.file.parent}: was scanned with the gantry tilted by {angle:.1f} degrees, so its slices don't stand upright "
            "on each other; resample it to a straight grid first (dcm2niix does)"
        )
    steps = np.diff(height)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(0.1 * usual, 0.1))
    if not odd.size:
        return away[-1] / (len(planes) - 1), ""
    said = [f"{steps[k]:.4g} mm after {planes[k].file.name}" for k in odd[:3]]
    return normal * usual, f"{', '.join(said)}{more(odd)}, {usual:.4g} mm elsewhere"


def affine_of(plane, step):
    """The affine (4, 4) of (column, row, slice) in NIfTI's millimetres: right, front, head. DICOM counts left, back, head."""
    between_rows, between_columns = plane.spacing_mm
    affine = np.eye(4)
    affine[:3] = np.column_stack([plane.row * between_columns, plane.column * between_rows, step, plane.position])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def more(items):
    """How a message that names three items ends: " and 4 more", or "" when there are no more."""
    return f" and {len(items) - 3} more" if len(items) > 3 else ""
