"""Makes every kind of bad or odd input that we could think of, a folder each; tests and `make proof` see what becomes of it."""

import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
from dicom_files import as_written, write_series

SHAPE, EDGES_MM = (48, 40, 20), (6.0, 6.0, 8.0)
AFFINE = np.diag([-6.0, -6.0, 8.0, 1.0])  # file axes run to the patient's left, back and head
KINDS = []


@dataclass(frozen=True)
class Kind:
    """A bad input: what it is, how to make it, and what has to be said about it.

    make      function (Place) -> the path that is given to `helpers.predict`.
    verdict   of its case in cases.csv, or "left out" where no case comes of it.
    code      the finding that has to be among the case's; of what is left out the words that have to be printed.
    predicts  exit code of `helpers.predict`.
    cases     rows of cases.csv that come of it.
    """

    what: str
    make: object
    verdict: str
    code: str
    predicts: int
    cases: int = 1

    @property
    def name(self):
        return self.make.__name__


def kind(what, verdict="quarantined", code="", predicts=1, cases=1):
    return lambda make: KINDS.append(Kind(what, make, verdict, code, predicts, cases)) or make


def body(seed):
    """A patient in 48 × 40 × 20 voxels: (hu int16, labels uint8), file axes to the left, back and head."""
    rng = np.random.default_rng(seed)
    i, j, k = np.indices(SHAPE).astype(np.float32)
    coarse = rng.normal(0, 1, (6, 5, 4)).astype(np.float32)
    soft = np.kron(coarse, np.ones((8, 8, 5), np.float32))  # organs of 48 × 48 × 40 mm, other ones for each seed
    hu = np.full(SHAPE, -1000, np.float32)
    inside = ((i - 23.5) / 20) ** 2 + ((j - 19.5) / 16) ** 2 < 1
    hu[inside] = 20 + 60 * soft[inside]
    x, y = 15 + 2 * rng.random(), 17 + 3 * rng.random()
    away = ((i - x) / 8) ** 2 + ((j - y) / 8) ** 2 + ((k - 10) / 6) ** 2
    lesion = ((i - x) / 2) ** 2 + ((j - y) / 2) ** 2 + ((k - 10) / 1.5) ** 2 < 1
    labels = np.where(lesion, 2, away < 1).astype(np.uint8)
    hu[labels == 1], hu[labels == 2] = 110, 60
    hu[21:27, 30:35] = 500  # the spine
    hu[labels == 0] += rng.normal(0, 8, (labels == 0).sum())
    return np.rint(hu).clip(-1024, 1000).astype(np.int16), labels


class Place:
    """A folder of its own for a kind, with a sound scan and its mask in hand."""

    def __init__(self, folder, number):
        self.folder, self.number = folder, number
        folder.mkdir(parents=True)
        self.hu, self.labels = body(number)
        self.image, self.mask = folder / f"volume-{number}.nii.gz", folder / f"segmentation-{number}.nii.gz"

    def save(self, hu=None, labels=None, affine=AFFINE, mask_affine=None, image=None, mask=None):
        """Write scan and mask, each as given or sound; returns the scan's path."""
        hu = self.hu if hu is None else hu
        labels = self.labels if labels is None else labels
        nib.save(nib.Nifti1Image(hu, affine, dtype=hu.dtype), image or self.image)
        nib.save(nib.Nifti1Image(labels, affine if mask_affine is None else mask_affine, dtype=labels.dtype), mask or self.mask)
        return image or self.image

    def paired(self, name):
        """Write scan and mask under one name into folders beside each other; returns the scan's path."""
        for within in ("images", "labels"):
            (self.folder / within).mkdir(exist_ok=True)
        return self.save(image=self.folder / "images" / name, mask=self.folder / "labels" / name)

    def change(self, path, how):
        """Write scan and mask, and put `how(bytes)` in place of the bytes of one of them."""
        self.save()
        path.write_bytes(how(path.read_bytes()))
        return self.image

    def header(self, voxels_at=352, **fields):
        """Write the scan as .nii with fields of its header overwritten."""
        head = nib.Nifti1Image(self.hu, AFFINE).header
        for name, value in fields.items():
            head[name] = value
        head["magic"], head["vox_offset"] = b"n+1", voxels_at
        self.save()
        self.image.unlink()
        path = self.folder / f"volume-{self.number}.nii"
        path.write_bytes(head.binaryblock + bytes(4) + self.hu.tobytes(order="F"))
        return path

    def dicom(self, name="series", change=lambda ds, k: None, **how):
        folder = self.folder / name
        write_series(folder, self.hu, AFFINE, change=change, **how)
        return folder

    def pictures(self, numbers=range(8, 12), ending="png"):
        """Write slices as windowed pictures with masks beside them; returns the first."""
        for z in numbers:
            grey = ((self.hu[:, :, z].T.clip(-40, 160) + 40) * 1.275).astype(np.uint8)
            self.picture("images", z, grey, ending)
            self.picture("masks", z, np.array([0, 127, 255], np.uint8)[self.labels[:, :, z].T], "png")
        return self.picture_path("images", next(iter(numbers)), ending)

    def picture_path(self, within, z, ending="png"):
        return self.folder / within / f"volume-{self.number}_slice_{z}.{ending}"

    def picture(self, within, z, grey, ending="png"):
        path = self.picture_path(within, z, ending)
        path.parent.mkdir(exist_ok=True)
        cv2.imencode(f".{ending}", grey)[1].tofile(path)
        return path


# ---- the file ----


@kind("the scan has 0 bytes", code="empty-file")
def empty_scan(at):
    return at.change(at.image, lambda data: b"")


@kind("the mask has 0 bytes", code="empty-file", predicts=0)
def empty_mask(at):
    return at.change(at.mask, lambda data: b"")


@kind("the scan's last third is missing", code="truncated")
def truncated_scan(at):
    return at.change(at.image, lambda data: data[: len(data) * 2 // 3])


@kind("the mask's last bytes are missing", code="truncated", predicts=0)
def truncated_mask(at):
    return at.change(at.mask, lambda data: data[:-9])


@kind("an uncompressed scan ends early", code="truncated")
def truncated_plain(at):
    path = at.header()
    path.write_bytes(path.read_bytes()[:-5000])
    return path


@kind("a header without voxels", code="truncated")
def only_a_header(at):
    path = at.header()
    path.write_bytes(path.read_bytes()[:352])
    return path


@kind("a header that promises 54 terabytes", code="truncated")
def endless(at):
    return at.header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])


@kind("a wrong checksum (CRC)", code="damaged")
def wrong_checksum(at):
    return at.change(at.image, lambda data: data[:-8] + bytes(4) + data[-4:])


@kind("a changed bit in the compressed data", code="damaged")
def changed_bit(at):
    def flip(data):
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 8]) + data[middle + 1 :]

    return at.change(at.image, flip)


@kind("a web page under the scan's name", code="web-page")
def web_page(at):
    return at.change(at.image, lambda data: b"<!DOCTYPE html><html><body>Please log in</body></html>")


@kind("a text under the scan's name", code="not-nifti")
def text(at):
    return at.change(at.image, lambda data: b"see the other folder\n" * 40)


@kind("compressed twice", code="not-nifti")
def compressed_twice(at):
    return at.change(at.image, gzip.compress)


@kind(".nii.gz that isn't compressed", "repaired", "wrong-ending", 0)
def not_compressed(at):
    return at.change(at.image, gzip.decompress)


@kind(".nii that is compressed", "repaired", "wrong-ending", 0)
def compressed_after_all(at):
    path = at.image.with_suffix("")
    at.save()
    return at.image.rename(path)


@kind("bytes after the voxels", "ok", "", 0)
def more_bytes(at):
    return at.change(at.image, lambda data: gzip.compress(gzip.decompress(data) + bytes(999)))


@kind("a directory named like a file", code="no-file")
def directory(at):
    at.save()
    at.image.unlink()
    at.image.mkdir()
    return at.image


@kind("a link that leads nowhere", code="missing")
def dangling_link(at):
    at.save()
    at.image.unlink()
    at.image.symlink_to(at.folder / "gone.nii.gz")
    return at.image


@kind("a link to itself", code="missing")
def link_to_itself(at):
    at.save()
    at.image.unlink()
    at.image.symlink_to(at.image.name)
    return at.image


@kind("a named pipe, which would wait for ever", code="no-file")
def pipe(at):
    at.save()
    at.image.unlink()
    os.mkfifo(at.image)
    return at.image


@kind("a device that never ends", code="no-file")
def device(at):
    at.save()
    at.image.unlink()
    at.image.symlink_to("/dev/zero")
    return at.image


if os.geteuid():  # root may read everything

    @kind("a file that may not be read", code="no-access")
    def forbidden(at):
        at.save()
        at.image.chmod(0)
        return at.image


@kind("a pair .hdr and .img", "left out", "another format: save it as .nii.gz", 1, 0)
def analyze(at):
    nib.save(nib.Nifti1Pair(at.hu, AFFINE), at.folder / "scan.img")
    return at.folder / "scan.hdr"


@kind("another format, .nrrd", "left out", "another format: save it as .nii.gz", 1, 0)
def nrrd(at):
    (at.folder / "scan.nrrd").write_bytes(b"NRRD0004\n")
    return at.folder / "scan.nrrd"


@kind("an archive that isn't unpacked", "left out", "an archive: unpack it first", 1, 0)
def archive(at):
    at.save()
    shutil.make_archive(at.folder / "scans", "zip", at.folder)
    at.image.unlink()
    at.mask.unlink()
    return at.folder / "scans.zip"


@kind("a mask whose scan isn't there", code="missing", predicts=2)
def mask_alone(at):
    at.save()
    at.image.unlink()
    return at.image


@kind("no mask", "ok", "no-labels", 0)
def no_mask(at):
    at.save()
    at.mask.unlink()
    return at.image


# ---- names ----


@kind("a mask with the image's name, in a folder beside it", "ok", "", 0)
def mask_of_the_same_name(at):
    return at.paired("same.nii.gz")


@kind("img0001 and label0001", "ok", "", 0)
def numbered_names(at):
    return at.save(image=at.folder / "img0001.nii.gz", mask=at.folder / "label0001.nii.gz")


@kind("one file an organ, one folder down", "repaired", "labels-mapped", 0)
def one_file_an_organ(at):
    (at.folder / "segmentations").mkdir()
    at.save(labels=np.uint8(at.labels == 2), image=at.folder / "ct.nii.gz", mask=at.folder / "segmentations" / "liver_tumor.nii.gz")
    return at.save(labels=np.uint8(at.labels >= 1), image=at.folder / "ct.nii.gz", mask=at.folder / "segmentations" / "liver.nii.gz")


@kind("a mask that is a link to the scan", code="labels-unexpected", predicts=0)
def mask_is_the_scan(at):
    at.save()
    at.mask.unlink()
    at.mask.symlink_to(at.image.name)
    return at.image


@kind("spaces, umlauts and a letter beyond them in the name", "ok", "", 0)
def other_letters(at):
    return at.save(image=at.folder / "Größe ä 肝 ct.nii.gz", mask=at.folder / "Größe ä 肝 seg.nii.gz")


@kind("a newline and a tabulator in the name", "ok", "", 0)
def newline(at):
    return at.save(image=at.folder / "two\nlines\tct.nii.gz", mask=at.folder / "two\nlines\tseg.nii.gz")


@kind("quotes, commas, braces, dollars and stars in the name", "ok", "", 0)
def signs(at):
    return at.save(image=at.folder / "a,b;'c'\"d{0}$HOME*%s_ct.nii.gz", mask=at.folder / "a,b;'c'\"d{0}$HOME*%s_seg.nii.gz")


@kind("a name of 250 letters", "ok", "", 0)
def long_name(at):
    return at.paired(f"{'long' * 60}er.nii.gz")


@kind("two names of 250 letters that differ in the last", "ok", "", 0, 2)
def long_names(at):
    at.paired(f"{'name' * 60}a.nii.gz")
    at.hu, at.labels = body(at.number + 500)
    return at.paired(f"{'name' * 60}b.nii.gz")


@kind("a name with `..` in it", "ok", "", 0)
def dots(at):
    return at.save(image=at.folder / "p..7_ct.nii.gz", mask=at.folder / "p..7_seg.nii.gz")


@kind("an ending in capitals", "ok", "", 0)
def capitals(at):
    at.save()
    at.mask.rename(at.folder / at.mask.name.replace(".nii.gz", ".NII.GZ"))
    return at.image.rename(at.folder / at.image.name.replace(".nii.gz", ".NII.GZ"))


@kind("macOS's hidden `._` file beside the scan", "ok", "", 0)
def hidden(at):
    (at.folder / f"._{at.image.name}").write_bytes(bytes(4096))
    return at.save()


@kind("a link from a folder back up to itself", "ok", "", 0)
def circle(at):
    (at.folder / "again").symlink_to(at.folder)
    return at.save()


@kind("the scan twice, as .nii and .nii.gz", "ok", "duplicate-image", 0, 2)
def both_endings(at):
    at.save()
    at.image.with_suffix("").write_bytes(gzip.decompress(at.image.read_bytes()))
    return at.image


@kind("the same image under two names", "ok", "duplicate-image", 0, 2)
def two_names(at):
    at.save()
    for path in (at.image, at.mask):
        shutil.copy(path, path.with_name(path.name.replace(f"-{at.number}.", f"-{at.number}000.")))
    return at.image


@kind("the same image again, short of a slice and with other noise", "ok", "near-duplicate", 0, 2)
def nearly_the_same(at):
    noise = np.random.default_rng(0).integers(-5, 6, SHAPE).astype(np.int16)
    other = [path.with_name(path.name.replace(f"-{at.number}.", f"-{at.number}000.")) for path in (at.image, at.mask)]
    at.save((at.hu + noise)[:, :, 1:], at.labels[:, :, 1:], image=other[0], mask=other[1])
    return at.save()


@kind("a mask whose name is no UTF-8", "ok", "no-labels", 0)
def mask_of_other_letters(at):
    at.save()
    os.rename(at.mask, os.fsencode(at.folder) + b"/segmentation-\xf6.nii.gz")
    return at.image


@kind("a scan whose name is no UTF-8", "left out", "named in another encoding than UTF-8", 0, 0)
def scan_of_other_letters(at):
    at.save()
    at.mask.unlink()
    path = os.fsencode(at.folder) + b"/gr\xf6\xdfe.nii.gz"
    os.rename(at.image, path)
    return Path(os.fsdecode(path))


@kind("a folder whose name is no UTF-8", "left out", "named in another encoding than UTF-8", 0, 0)
def folder_of_other_letters(at):
    path = os.fsencode(at.folder) + b"/M\xfcller"
    os.mkdir(path)
    return at.save(image=Path(os.fsdecode(path), "volume-7.nii.gz"), mask=Path(os.fsdecode(path), "segmentation-7.nii.gz"))


# ---- shape and type ----


@kind("one slice", "ok", "one-slice", 0)
def one_slice(at):
    return at.save(at.hu[:, :, 10:11], at.labels[:, :, 10:11])


@kind("a 2-D NIfTI", "ok", "one-slice", 0)
def two_axes(at):
    return at.save(at.hu[:, :, 10], at.labels[:, :, 10])


@kind("3 × 3 × 3 voxels", "ok", "", 0)
def tiny_scan(at):
    hu = np.full((3, 3, 3), 100, np.int16)
    hu[2] = -1000
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[0, 1, :2] = 1, 2
    return at.save(hu, labels)


@kind("a single voxel", code="constant")
def one_voxel(at):
    return at.save(at.hu[20:21, 20:21, 10:11], at.labels[20:21, 20:21, 10:11])


@kind("2048 × 2048 pixels", "ok", "", 0)
def huge_slices(at):
    large, small = (np.kron(a[:, :, 9:12], np.ones((43, 52, 1), a.dtype))[:2048, :2048] for a in (at.hu, at.labels))
    path = at.folder / f"volume-{at.number}.nii"
    return at.save(large, small, np.diag([-0.14, -0.14, 8.0, 1.0]), image=path, mask=at.mask.with_suffix(""))


@kind("voxels of 0.5 × 0.5 × 25 mm, 1 : 50", "ok", "", 0)
def flat_voxels(at):
    return at.save(at.hu[:, :, 2::4], at.labels[:, :, 2::4], np.diag([-0.5, -0.5, 25.0, 1.0]))


@kind("a fourth axis of 1", "ok", "", 0)
def fourth_axis(at):
    return at.save(at.hu[..., None], at.labels[..., None])


@kind("a fourth axis of 2", code="not-3-d")
def two_volumes(at):
    return at.save(np.stack([at.hu, at.hu], -1))


@kind("an axis of 0", code="not-3-d")
def empty_axis(at):
    return at.header(dim=[3, 48, 40, 0, 1, 1, 1, 1])


@kind("colours", code="no-numbers")
def coloured(at):
    return at.save(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))


@kind("complex numbers", code="no-numbers")
def complex_numbers(at):
    return at.save(at.hu.astype(np.complex64))


@kind("a type that NIfTI doesn't know", code="not-nifti")
def unknown_type(at):
    return at.header(datatype=999)


# ---- the grid ----


@kind("no affine", "repaired", "no-affine", 0)
def no_affine(at):
    return at.header(sform_code=0, qform_code=0)


@kind("a singular affine", code="affine-singular")
def singular(at):
    return at.header(sform_code=1, srow_x=[-6, -6, 0, 0], srow_y=[-6, -6, 0, 0])


@kind("NaN in the affine", code="affine-nan")
def nan_affine(at):
    return at.header(sform_code=1, srow_z=np.nan)


@kind("spacing 0", code="spacing-absurd")
def no_spacing(at):
    return at.header(sform_code=0, qform_code=0, pixdim=[1, 6, 0, 8, 0, 0, 0, 0])


@kind("qfac 0 and no sform", "repaired", "header-mended", 0)
def no_qfac(at):
    return at.header(sform_code=0, qform_code=1, pixdim=[0, 6, 6, 8, 0, 0, 0, 0])


@kind("a quaternion that is 1.000001 long", "repaired", "header-mended", 0)
def long_quaternion(at):
    return at.header(sform_code=0, qform_code=1, quatern_b=0, quatern_c=0, quatern_d=1.000001)


@kind("an sform of zeros beside a good qform", "repaired", "forms-differ", 0)
def zero_sform(at):
    return at.header(sform_code=1, qform_code=1, srow_x=0, srow_y=0, srow_z=0)


@kind("a negative spacing and no sform", "repaired", "header-mended", 0)
def negative_spacing(at):
    return at.header(sform_code=0, qform_code=1, pixdim=[1, -6, 6, 8, 0, 0, 0, 0])


@kind("slope 1 and an intercept of NaN", "repaired", "header-mended", 0)
def no_intercept(at):
    return at.header(scl_slope=1, scl_inter=np.nan)


@kind("voxels that begin at byte 348, within the header", code="not-nifti")
def early_voxels(at):
    return at.header(voxels_at=348)


@kind("spacing in micrometres", code="spacing-absurd")
def micrometres(at):
    return at.save(affine=np.diag([-6000.0, -6000.0, 8000.0, 1.0]))


@kind("spacing exactly 1 × 1 × 1", "ok", "spacing-1-1-1", 0)
def stand_in(at):
    return at.save(affine=np.diag([-1.0, -1.0, 1.0, 1.0]))


@kind("1 × 1 × 1 mm that would make the body 480 mm wide", "ok", "spacing-1-1-1", 0)
def wide_stand_in(at):
    large, small = (np.kron(a, np.ones((12, 12, 1), a.dtype)) for a in (at.hu, at.labels))
    return at.save(large, small, np.diag([-1.0, -1.0, 1.0, 1.0]))


@kind("1 × 1 × 1 mm because nothing was filled in", "repaired", "spacing-1-1-1", 0)
def nothing_filled_in(at):
    return at.header(sform_code=0, qform_code=0, pixdim=[1, 1, 1, 1, 0, 0, 0, 0])


@kind("axes that aren't at right angles", code="sheared")
def sheared(at):
    return at.save(affine=AFFINE + np.array([[0, 0, 0, 0], [0, 0, 3, 0], [0] * 4, [0] * 4]))


@kind("qform and sform that differ", "repaired", "forms-differ", 0)
def two_forms(at):
    return at.header(qform_code=1, sform_code=1, pixdim=[1, 6, 6, 5, 0, 0, 0, 0])


@kind("a mask with the identity as its affine", "repaired", "mask-affine", 0)
def mask_affine(at):
    return at.save(mask_affine=np.eye(4))


@kind("a mask stored in another axis order", "repaired", "mask-axes", 0)
def mask_axes(at):
    affine = np.diag([6.0, 6.0, 8.0, 1.0])
    affine[:2, 3] = -6.0 * 47, -6.0 * 39
    return at.save(labels=at.labels[::-1, ::-1], mask_affine=affine)


@kind("a mask of another shape", code="mask-shape", predicts=0)
def mask_shape(at):
    return at.save(labels=at.labels[:-1])


# ---- intensities ----


@kind("grey values 0–255", code="not-hu")
def grey(at):
    return at.save(((at.hu.clip(-40, 160) + 40) * 1.275).astype(np.uint8))


@kind("values 0–1", code="not-hu")
def normalised(at):
    return at.save((at.hu + 1024) / np.float32(2048))


@kind("an offset of 1024", code="not-rescaled")
def offset(at):
    return at.save((at.hu + 1024).astype(np.uint16))


@kind("one value everywhere", code="constant")
def constant(at):
    return at.save(at.hu * 0)


@kind("NaN among the voxels", code="not-finite")
def not_a_number(at):
    return at.save(np.where(at.labels == 2, np.nan, at.hu).astype(np.float32))


@kind("infinite voxels", code="not-finite")
def infinite(at):
    return at.save(np.where(at.labels == 2, np.inf, at.hu).astype(np.float32))


@kind("values out of range", "repaired", "clipped", 0)
def out_of_range(at):
    hu = at.hu.copy()
    hu[:4] = -3024
    return at.save(hu)


# ---- labels ----


@kind("labels off by rounding", "repaired", "labels-rounded", 0)
def rounded_labels(at):
    return at.save(labels=at.labels * np.float32(0.9999))


@kind("labels 0/255", "repaired", "labels-mapped", 0)
def black_and_white(at):
    return at.save(labels=(at.labels == 2) * np.uint8(255))


@kind("labels with a gap: 0, 1, 3", code="labels-unexpected", predicts=0)
def gap(at):
    return at.save(labels=np.array([0, 1, 3], np.uint8)[at.labels])


@kind("labels between whole numbers", code="labels-unexpected", predicts=0)
def half_labels(at):
    return at.save(labels=at.labels / np.float32(2))


@kind("negative labels", code="labels-unexpected", predicts=0)
def negative_labels(at):
    return at.save(labels=-at.labels.astype(np.int16))


@kind("NaN among the labels", code="labels-unexpected", predicts=0)
def nan_labels(at):
    return at.save(labels=np.where(at.labels == 2, np.nan, at.labels).astype(np.float32))


@kind("a mask that is all 0", "ok", "no-liver", 0)
def no_liver(at):
    return at.save(labels=at.labels * 0)


@kind("no tumour", "ok", "no-tumour", 0)
def no_tumour(at):
    return at.save(labels=np.minimum(at.labels, 1))


@kind("tumour without liver", "ok", "tumour-only", 0)
def only_tumour(at):
    return at.save(labels=np.where(at.labels == 2, 2, 0).astype(np.uint8))


@kind("tumour outside the liver", "ok", "tumour-outside", 0)
def tumour_outside(at):
    labels = at.labels.copy()
    labels[36:38, 20:22, 8:10] = 2
    return at.save(labels=labels)


@kind("a liver in pieces", "ok", "liver-islands", 0)
def islands(at):
    labels = at.labels.copy()
    labels[36, 20, 8] = labels[40, 20, 12] = 1
    return at.save(labels=labels)


@kind("a mask that lies mirrored", code="mask-mirrored", predicts=0)
def mirrored_mask(at):
    return at.save(labels=at.labels[::-1])


@kind("a scan that lies the other way than its header says", "ok", "liver-left", 0)
def mirrored_scan(at):
    return at.save(at.hu[::-1], at.labels[::-1])


def squared(array, value):
    """An array of a case with as many rows as columns."""
    return np.pad(array, ((0, 0), (4, 4), (0, 0)), constant_values=value)


@kind("a mask whose rows and columns are exchanged", code="mask-turned", predicts=0)
def transposed_mask(at):
    return at.save(squared(at.hu, -1000), squared(at.labels, 0).swapaxes(0, 1))


@kind("a mask that is turned by 90°", code="mask-turned", predicts=0)
def turned_mask(at):
    return at.save(squared(at.hu, -1000), np.rot90(squared(at.labels, 0)))


@kind("a mask that lies 24 mm beside its liver", "ok", "mask-misfit", 0)
def shifted_mask(at):
    return at.save(labels=np.roll(at.labels, 4, 0))


@kind("liver and tumour exchanged", code="labels-exchanged", predicts=0)
def exchanged_labels(at):
    return at.save(labels=np.array([0, 2, 1], np.uint8)[at.labels])


@kind("a liver as wide as the body", "ok", "liver-unlike", 0)
def whole_body(at):
    return at.save(labels=np.where(at.labels == 2, 2, at.hu > -300).astype(np.uint8))


@kind("a dataset.json that says 1 vessel, 2 tumour", code="labels-other", predicts=0)
def vessels(at):
    (at.folder / "dataset.json").write_text('{"labels": {"0": "background", "1": "Vessel", "2": "Tumour"}}')
    return at.save()


@kind("a scan stored as (z, y, x) with the identity", code="axes-exchanged")
def stored_backwards(at):
    return at.save(at.hu.transpose(2, 1, 0), at.labels.transpose(2, 1, 0), np.eye(4))


# ---- DICOM ----


@kind("DICOM: a slice is missing", code="slices-uneven")
def dicom_gap(at):
    folder = at.dicom()
    (folder / "009.dcm").unlink()
    return folder


@kind("DICOM: a slice is there twice", "repaired", "slices-duplicate", 0)
def dicom_twice(at):
    folder = at.dicom()
    shutil.copy(folder / "009.dcm", folder / "copy.dcm")
    return folder


@kind("DICOM: a slice is empty", code="slices-uneven")
def dicom_empty(at):
    folder = at.dicom()
    (folder / "009.dcm").write_bytes(b"")
    return folder


@kind("DICOM: a slice is cut off", code="truncated")
def dicom_cut_off(at):
    folder = at.dicom()
    path = folder / "009.dcm"
    path.write_bytes(path.read_bytes()[:-500])
    return folder


@kind("DICOM: the gantry was tilted", code="sheared")
def dicom_tilt(at):
    def change(ds, k):
        ds.ImagePositionPatient = [0, 8 * k * np.tan(np.radians(15)), 8 * k]

    return at.dicom(change=change)


@kind("DICOM: two series in a folder", "ok", "no-labels", 2, 2)
def dicom_two_series(at):
    at.dicom(names=[f"a{k}" for k in range(SHAPE[2])], number=1)
    at.hu = body(at.number + 500)[0]
    return at.dicom(names=[f"b{k}" for k in range(SHAPE[2])], number=2)


@kind("DICOM: slices of two sizes", code="slices-differ")
def dicom_sizes(at):
    def change(ds, k):
        if k == 9:
            ds.Rows, ds.PixelData = 20, ds.PixelData[: len(ds.PixelData) // 2]

    return at.dicom(change=change)


@kind("DICOM: compressed in a way that can't be undone here", code="compressed")
def dicom_compressed(at):
    def change(ds, k):
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no picture \xff\xd9"])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1

    return at.dicom(change=change)


@kind("DICOM: objects that are no images", "left out", "DICOM, RT Structure Set Storage", 2, 0)
def dicom_no_images(at):
    return at.dicom(change=lambda ds, k: setattr(ds, "SOPClassUID", pydicom.uid.RTStructureSetStorage))


@kind("DICOM: a slice doesn't say where it lies", code="no-place")
def dicom_no_place(at):
    return at.dicom(change=lambda ds, k: delattr(ds, "ImagePositionPatient") if k == 9 else None)


@kind("DICOM: no rescale intercept, stored with an offset", code="not-rescaled")
def dicom_not_rescaled(at):
    return at.dicom(change=lambda ds, k: delattr(ds, "RescaleIntercept"))


@kind("DICOM: one series in two folders", code="series-split", predicts=2, cases=2)
def dicom_in_two_folders(at):
    folder = at.dicom()
    (at.folder / "rest").mkdir()
    for k in range(10, 20):
        (folder / f"{k:03d}.dcm").rename(at.folder / "rest" / f"{k:03d}.dcm")
    return at.folder  # given as one folder, it is known that there is more


@kind("DICOM: no image behind the ending .dcm", "left out", "no DICOM inside", 2, 0)
def dicom_no_dicom(at):
    (at.folder / "notes").mkdir()
    (at.folder / "notes" / "notes.dcm").write_text("no image")
    return at.folder / "notes"


# ---- DICOM: one acquisition? ----


def two_phases(at, tags=lambda phase, k: {}, shift_mm=4.0):
    """Two scans in one series, the second brighter and higher."""
    uid = pydicom.uid.generate_uid()
    for phase, hu in enumerate((at.hu, np.where((at.hu > 20) & (at.hu < 250), at.hu + 40, at.hu).astype(np.int16))):

        def change(ds, k, phase=phase):
            as_written(ds, SeriesInstanceUID=uid, **tags(phase, k))
            ds.ImagePositionPatient = [0, 0, 8 * k + shift_mm * phase]

        write_series(at.folder / "series", hu, AFFINE, [f"{phase}-{k}" for k in range(SHAPE[2])], change)
    return at.folder / "series"


@kind("DICOM: two phases in one series, by AcquisitionNumber", code="acquisitions")
def dicom_phases_by_number(at):
    return two_phases(at, lambda phase, k: {"AcquisitionNumber": str(1 + phase)})


@kind("DICOM: two phases in one series, by AcquisitionTime", code="acquisitions")
def dicom_phases_by_time(at):
    return two_phases(at, lambda phase, k: {"AcquisitionTime": f"10{15 + phase}{k:02d}"}, 0)


@kind("DICOM: two phases in one series that no tag distinguishes", code="acquisitions")
def dicom_phases_by_content(at):
    return two_phases(at)


@kind("DICOM: chest and abdomen, one above the other", "ok", "", 0)
def dicom_above(at):
    return at.dicom(change=lambda ds, k: setattr(ds, "AcquisitionNumber", 1 + (k < 9)))


@kind("DICOM: slices 8 mm apart, then 16", code="two-spacings")
def dicom_two_spacings(at):
    return at.dicom(change=lambda ds, k: setattr(ds, "ImagePositionPatient", [0, 0, 8 * k + 8 * max(0, k - 11)]))


@kind("DICOM: a file of several frames that don't say where they lie", code="no-place")
def dicom_frames(at):
    for path in sorted((folder := at.dicom()).iterdir())[1:]:
        path.unlink()
    ds = pydicom.dcmread(folder / "000.dcm")
    ds.NumberOfFrames, ds.PixelData = 20, 20 * ds.PixelData
    ds.save_as(folder / "000.dcm")
    return folder


# ---- DICOM: files of a folder ----


def first_slices(at, spoil, **tags):
    """A series of which the first five files are spoilt."""
    folder = at.dicom(names=[f"IM{k:02d}" for k in range(SHAPE[2])], change=lambda ds, k: as_written(ds, **tags) if k < 5 else None)
    for path in sorted(folder.iterdir())[:5]:
        spoil(path)
    return folder


@kind("DICOM: the first slices lack the preamble, and no file has an ending", "ok", "", 0)
def dicom_no_preamble(at):
    return first_slices(at, lambda path: path.write_bytes(path.read_bytes()[132:]))


@kind("DICOM: the first slices are Secondary Captures", "repaired", "slices-left-out", 0)
def dicom_captures(at):
    return first_slices(at, lambda path: None, SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage)


@kind("DICOM: the first slices say that they are localisers", "repaired", "slices-left-out", 0)
def dicom_localisers(at):
    return first_slices(at, lambda path: None, ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")


@kind("DICOM: the first slices are empty, and no file has an ending", "repaired", "slices-unreadable", 0)
def dicom_first_empty(at):
    return first_slices(at, lambda path: path.write_bytes(b""))


@kind("DICOM: the first slices are gone", "ok", "begins-late", 0)
def dicom_first_gone(at):
    return first_slices(at, lambda path: path.unlink())


@kind("DICOM: a DICOMDIR beside the series", "ok", "", 0)
def dicom_index(at):
    at.dicom()
    (at.folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return at.folder / "DICOMDIR"


@kind("an array of numpy, .npy", "left out", "another format: save it as .nii.gz", 1, 0)
def numpy_array(at):
    np.save(at.folder / "scan.npy", at.hu)
    return at.folder / "scan.npy"


@kind("a stack as .tif", "left out", "a picture of another format: save it as .png", 1, 0)
def tiff(at):
    cv2.imencode(".tif", at.hu[:, :, 9].astype(np.uint8))[1].tofile(at.folder / "scan.tif")
    return at.folder / "scan.tif"


# ---- DICOM: what a series is ----


@kind("DICOM: a coronal scout in the folder", "ok", "no-labels", 0)
def dicom_scout(at):
    folder, hu, at.hu = at.dicom(), at.hu, at.hu[:, :, :1]
    at.dicom(names=["scout.dcm"], number=9, change=lambda ds, k: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]))
    at.hu = hu
    return folder


@kind("DICOM: a SeriesInstanceUID for each slice", "ok", "no-labels", 0)
def dicom_uids(at):
    return at.dicom(change=lambda ds, k: setattr(ds, "SeriesInstanceUID", pydicom.uid.generate_uid()))


@kind("DICOM: a SeriesInstanceUID for each half", "ok", "no-labels", 0)
def dicom_halves(at):
    return at.dicom(change=lambda ds, k: as_written(ds, SeriesInstanceUID=f"1.2.{k // 10}", SeriesNumber=str(k // 10)))


@kind("DICOM: pictures for bolus tracking in the folder", "ok", "no-labels", 0)
def dicom_bolus(at):
    folder = at.dicom()
    at.dicom(names=[f"s{k}" for k in range(SHAPE[2])], number=9, change=lambda ds, k: setattr(ds, "ImagePositionPatient", [0, 0, 80]))
    return folder


# ---- DICOM: values ----


@kind("DICOM: decimal commas", "repaired", "tags-odd", 0)
def dicom_commas(at):
    return at.dicom(change=lambda ds, k: as_written(ds, PixelSpacing="6,0\\6,0", SliceThickness="8,0"))


@kind("DICOM: RescaleType Hounsfield Unit", "repaired", "tags-odd", 0)
def dicom_hounsfield(at):
    return at.dicom(change=lambda ds, k: as_written(ds, RescaleType="Hounsfield Unit"))


@kind("DICOM: CT For Processing, a class newer than pydicom", "repaired", "tags-odd", 0)
def dicom_for_processing(at):
    return at.dicom(change=lambda ds, k: as_written(ds, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.3"))


@kind("DICOM: an empty rescale intercept", code="not-rescaled")
def dicom_empty_intercept(at):
    return at.dicom(change=lambda ds, k: as_written(ds, RescaleIntercept=""))


@kind("DICOM: a rescale intercept that is empty in one slice", code="slices-differ")
def dicom_one_empty_intercept(at):
    return at.dicom(change=lambda ds, k: as_written(ds, RescaleIntercept="") if k == 9 else None)


@kind("DICOM: padding of 63536 in unsigned pixels, -2000 by its tag", "repaired", "padding", 0)
def dicom_padding(at):
    def change(ds, k):
        pixels = np.frombuffer(ds.PixelData, np.uint16).copy()
        pixels[:100] = 63536
        ds.PixelRepresentation, ds.PixelData = 0, pixels.tobytes()
        ds.add_new("PixelPaddingValue", "SS", -2000)

    return at.dicom(change=change)


@kind("DICOM: a spacing that isn't a number", code="no-place")
def dicom_no_number(at):
    return at.dicom(change=lambda ds, k: as_written(ds, PixelSpacing="6.0 x 6.0") if k == 9 else None)


# ---- pictures ----


@kind("pictures: a JPEG is cut off", code="truncated")
def picture_cut_off(at):
    path = at.pictures(ending="jpg")
    path.write_bytes(path.read_bytes()[:-60])
    return path


@kind("pictures: a text named .png", code="unreadable")
def picture_text(at):
    path = at.pictures()
    path.write_text("no picture")
    return path


@kind("pictures: a PNG of 16 bits", code="no-numbers")
def picture_16_bits(at):
    at.pictures()
    return at.picture("images", 8, (at.hu[:, :, 8].T + 1024).astype(np.uint16))


@kind("pictures: slices of two sizes", code="slices-differ", predicts=0)
def picture_sizes(at):
    at.pictures()
    return at.picture("images", 9, np.random.default_rng(0).integers(0, 255, (20, 20)).astype(np.uint8))


@kind("pictures: a slice has no mask", code="mask-slices", predicts=0)
def picture_without_mask(at):
    path = at.pictures()
    at.picture_path("masks", 9).unlink()
    return path


@kind("pictures: masks of three classes as JPEG", code="labels-unexpected", predicts=0)
def picture_jpeg_masks(at):
    path = at.pictures()
    for z in range(8, 12):
        at.picture_path("masks", z).unlink()
        at.picture("masks", z, np.array([0, 127, 255], np.uint8)[at.labels[:, :, z].T], "jpg")
    return path


@kind("pictures: a mask of another size", code="mask-shape", predicts=0)
def picture_mask_size(at):
    path = at.pictures()
    at.picture("masks", 9, np.zeros((20, 20), np.uint8))
    return path


@kind("pictures: two of one slice", code="slices-differ", predicts=0)
def picture_twice(at):
    path = at.pictures()
    at.pictures(numbers=[9], ending="jpg")
    return path


@kind("pictures: numbers with a gap", "repaired", "slices-missing", 0)
def picture_gap(at):
    return at.pictures(numbers=[6, 7, 8, 12])


@kind("pictures that are slices of nothing", "left out", "pictures that aren't slices of a scan", 0, 0)
def photograph(at):
    path = at.folder / "IMG_2031.png"
    cv2.imencode(".png", ((at.hu[:, :, 9].T.clip(-40, 160) + 40) * 1.275).astype(np.uint8))[1].tofile(path)
    return path


def made(root):
    """The whole corpus below `root`: "sound" with four good cases, and a folder for each kind in "bad".

    returns  dict name of a kind -> the path for `helpers.predict`.
    """
    for number in range(1, 7):
        Place(root / "sound" / str(number), number).save()
    return {kind.name: kind.make(Place(root / "bad" / kind.name, 100 + n)) for n, kind in enumerate(KINDS)}


def folder_of(root, kind):
    return Path(root) / "bad" / kind.name
