"""Affines, which place voxels: the one in force, whether it can be one, how far two are apart."""

import nibabel as nib
import numpy as np

from helpers.scans.findings import Unfit

EDGES_MM = (0.05, 50.0)  # shorter and longer edges of a voxel are not those of a CT


def axes_of(affine):
    """Where the file's axes point: "RAS" for right, anterior, superior."""
    return "".join(nib.aff2axcodes(affine))


def in_force(header, notes=()):
    """The affine of a NIfTI header and what is odd about it: sform before qform before the bare
    spacing, as in nibabel; but the qform before an sform that gives no voxel a place.

    header    as `nifti.read_header` mends it.
    returns   (affine float64 (4, 4), notes: those given and (code, text) of what was noticed).
    Raises nothing for a bad affine: `check_affine` does, because a mask may do without.
    """
    edges = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    notes = list(notes)
    with np.errstate(all="ignore"):
        forms = {"sform": header.get_sform(coded=True), "qform": _qform(header, notes)}
    coded = [(name, form) for name, (form, code) in forms.items() if code > 0]
    used = sorted(coded, key=lambda item: not usable(item[1]))  # stable: of equals the sform
    # nibabel would take 1 mm for a spacing of 0
    if not (edges != 0).all() and (not used or used[0][0] == "qform"):
        return np.diag([*edges, 1.0]), tuple(notes)
    if not used:
        text = "sform_code and qform_code are 0, pixdim is {:g} × {:g} × {:g}".format(*edges)
        return np.asarray(header.get_base_affine(), dtype=np.float64), (*notes, ("no-affine", text))
    name, affine = used[0]
    if name == "sform":  # whatever it says of spacing
        notes = [note for note in notes if not note[1].startswith("pixdim")]
    if usable(affine):
        for other, form in used[1:]:
            if not usable(form):
                notes.append(("forms-differ", f"{other}: {_fault(form)[1]}; {name} is used"))
            elif apart := differ(affine, form, header.get_data_shape()):
                notes.append(("forms-differ",
                              f"{name} and {other} differ, {apart}; {name} is used"))
        form_edges = np.linalg.norm(affine[:3, :3], axis=0)
        if len(used) < 2 and not np.allclose(form_edges, np.abs(edges), rtol=0.01, atol=1e-3):
            pixdim = " × ".join(f"{edge:g}" for edge in edges)
            form = " × ".join(f"{edge:.4g}" for edge in form_edges)
            notes.append(("forms-differ",
                          f"pixdim says {pixdim} mm, {name} {form} mm; {name} is used"))
    return np.asarray(affine, dtype=np.float64), tuple(notes)


def _qform(header, notes):
    """(affine, code) of the qform; an affine of NaN where its quaternion is none.

    One that is too long by up to 1 %, by rounding, is brought to 1, and `notes` grow.
    """
    code = int(header["qform_code"])
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    length = float(np.linalg.norm(quaternion))
    if code > 0 and 1 < length <= 1.01:
        header = header.copy()
        for axis, value in zip("bcd", quaternion / length, strict=True):
            header[f"quatern_{axis}"] = value
        if length > 1 + 1e-7:
            notes.append(("header-mended", f"its quaternion is {length:.7g} long; brought to 1"))
    try:
        return (header.get_qform(), code) if code > 0 else (None, 0)
    except Exception:  # nibabel's HeaderDataError, or an error of linear algebra
        return np.full((4, 4), np.nan), code


def corners_mm(affine, shape):
    """Where an affine places the centres of an array's eight corner voxels: mm (3, 8)."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*shape, 1, 1)[:3]])).reshape(3, -1)
    return affine[:3, :3] @ corners + affine[:3, 3:]


def extent_mm(affine, shape):
    """The least and the greatest coordinate of the corner voxels: mm (3, 2)."""
    corners = corners_mm(affine, shape)
    return np.stack([corners.min(1), corners.max(1)], axis=1)


def differ(one, other, shape):
    """In words, how far two affines place corners apart; "" for less than half a voxel."""
    if not np.isfinite(other).all():
        return "the other is not finite"
    apart = corners_mm(one, shape) - corners_mm(other, shape)
    apart_mm = float(np.linalg.norm(apart, axis=0).max())
    half_a_voxel_mm = 0.5 * np.linalg.norm(one[:3, :3], axis=0).min()
    return f"corners by up to {apart_mm:.3g} mm" if apart_mm > half_a_voxel_mm else ""


def check_affine(affine, path):
    """Raise Unfit, naming the file and the rows, for an affine that gives no voxel a place."""
    if fault := _fault(affine):
        code, message = fault
        rows = "" if code == "sheared" else f"; rows are {np.round(affine[:3], 4).tolist()}"
        raise Unfit(code, f"{path}: {message}{rows}")


def usable(affine):
    """True when an affine is finite, its axes differ and its edges are 0.05 to 50 mm."""
    fault = _fault(affine)
    return fault is None or fault[0] == "sheared"


def _fault(affine):
    """What is wrong with an affine: (code, in words), or None."""
    if not np.isfinite(affine).all():
        return "affine-nan", "its affine holds NaN or infinite values"
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if (edges < EDGES_MM[0]).any() or (edges > EDGES_MM[1]).any():
        return ("spacing-absurd",
                f"its affine is absurd, edges of {' × '.join(f'{edge:.4g}' for edge in edges)} mm")
    directions = affine[:3, :3] / edges
    if abs(np.linalg.det(directions)) <= 0.1:
        return "affine-singular", "its affine is singular"
    # of the two axes that are least at right angles
    cosine = np.abs(directions.T @ directions - np.eye(3)).max()
    tilt = float(np.degrees(np.arcsin(np.clip(cosine, 0, 1))))
    text = f"two axes are {90 - tilt:.1f}° apart, a tilt of {tilt:.1f}°"
    return ("sheared", text) if tilt > 1 else None
