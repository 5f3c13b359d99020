"""DICOM series: the same HU on the same grid as the NIfTI they were made from, and every way in which they can be wrong."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import as_written, write_series

from helpers.intake import case_records, phantom, quality_control
from helpers.scans import dicom, findings, kinds, reading, series
from helpers.scans.folder import cases_in, scan_folder
from helpers.scans.volume import volume_from_array, write_mask

SHAPE = (7, 6, 5)  # columns, rows, slices
STRAIGHT = np.array([[-0.7, 0, 0, 100], [0, -0.8, 0, 120], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])
SHUFFLED = ["c", "a", "e", "b", "d"]  # without an ending, and not in the order of the slices


def values(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def rotated(x_degrees, z_degrees):
    x, z = np.radians([x_degrees, z_degrees])
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turn = np.eye(4)
    turn[:3, :3] = about_x @ about_z
    return turn


def read(folder):
    case = one_case(folder)
    return reading.read_scan(case.image)


def one_case(folder):
    (case,) = cases_in(folder)
    assert case.layout == "DICOM"
    return case


def test_affine_of_a_head_first_series_worked_out_by_hand(tmp_path):
    """Rows run to the left, columns to the back; DICOM's left and back are minus NIfTI's right and front."""
    hu = values()
    for path, z in zip(write_series(tmp_path / "p", hu, STRAIGHT, SHUFFLED), (30, 32.5, 35, 37.5, 40), strict=True):
        ds = pydicom.dcmread(path)
        assert [*ds.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0] and [*ds.ImagePositionPatient] == [-100, -120, z]
        assert [*ds.PixelSpacing] == [0.8, 0.7]
    volume = read(tmp_path)
    assert np.allclose(volume.affine, STRAIGHT, atol=1e-6) and volume.axes == "LPS" and volume.notes == ()
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7)) and volume.file_shape == SHAPE
    assert np.array_equal(volume.hu, hu.transpose(2, 1, 0))  # z from feet to head, as the positions rise


def test_affine_of_a_feet_first_series_worked_out_by_hand(tmp_path):
    """Feet first on the back: rows run to the right, so the normal points to the feet and the stack begins at the head."""
    hu = values()
    affine = np.array([[0.7, 0, 0, -100], [0, -0.8, 0, 120], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])  # left-handed: slices feet to head
    write_series(tmp_path / "p", hu, affine)
    volume = read(tmp_path)
    expected = [[0.7, 0, 0, -100], [0, -0.8, 0, 120], [0, 0, -2.5, 40], [0, 0, 0, 1]]  # slice 0 is the highest, 30 + 4 * 2.5
    assert np.allclose(volume.affine, expected, atol=1e-6) and np.linalg.det(volume.affine) > 0
    assert np.array_equal(volume.hu, hu.transpose(2, 1, 0)[:, :, ::-1])  # x from the patient's right to left


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LPI", "PIR", "SRA"])
@pytest.mark.parametrize("turn", [(0, 0), (8, -5)])
def test_series_equals_the_nifti_it_was_made_from(tmp_path, codes, turn):
    """In every axis order, straight and oblique; a mask written for it lies on the same grid of the room."""
    ornt = nib.orientations.ornt_transform(nib.io_orientation(STRAIGHT), nib.orientations.axcodes2ornt(codes))
    affine = rotated(*turn) @ STRAIGHT @ nib.orientations.inv_ornt_aff(ornt, SHAPE)
    hu = nib.apply_orientation(values(), ornt)
    write_series(tmp_path / "p", hu, affine, [f"IM{n:02d}" for n in np.random.default_rng(1).permutation(hu.shape[2])])
    wanted, got = volume_from_array(hu, affine), read(tmp_path)
    assert np.array_equal(got.hu, wanted.hu) and got.spacing_mm == pytest.approx(wanted.spacing_mm, abs=1e-4)
    write_mask((got.hu > 500).astype(np.uint8), got, tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == got.file_shape and np.allclose(mask.affine, got.affine, atol=1e-4)
    i, j, k = np.argwhere(np.asarray(mask.dataobj) == 1)[7]  # some voxel of the mask: where it lies in the room, it was bright
    back = np.linalg.inv(affine) @ mask.affine @ [i, j, k, 1]
    assert np.allclose(back, back.round(), atol=1e-2) and hu[tuple(back.round().astype(int)[:3])] > 500


def test_phantom_with_its_mask_beside_the_folder(tmp_path):
    hu, label, (dz, dy, dx) = phantom.volume(1, size=48)
    affine = np.diag([-dx, -dy, dz, 1.0])
    write_series(tmp_path / "Übung 1" / "patient 7", hu.transpose(2, 1, 0), affine)
    nib.save(nib.Nifti1Image(label.transpose(2, 1, 0), affine), tmp_path / "Übung 1" / "segmentation-patient 7.nii.gz")
    case = one_case(tmp_path)
    row, _, lesions = quality_control.examine(case)
    assert (case.name, row["verdict"], row["findings"].split()) == ("patient_7", "ok", [])
    volume, labels = reading.read_row(row)
    assert np.array_equal(volume.hu, hu) and np.array_equal(labels, label) and lesions


def test_slope_and_intercept_may_differ_from_slice_to_slice(tmp_path):
    def change(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = (0.5, 1, 2, 1, 1.5)[k], (0, -1024, 10, 0.5, -7)[k]
        ds.PixelRepresentation = int(k != 1)
        ds.PixelData = np.full(SHAPE[1::-1], 100, np.int16 if k != 1 else np.uint16).tobytes()

    write_series(tmp_path / "p", values(), STRAIGHT, change=change)
    # 100 * 0.5; 100 - 1024; 100 * 2 + 10; 100.5, which rounds to the even neighbour; 100 * 1.5 - 7
    assert read(tmp_path).hu[:, 2, 2].tolist() == [50, -924, 210, 100, 143]


def test_rle_is_decoded_and_padding_becomes_air(tmp_path):
    hu = values(seed=3)
    hu[0, 0] = -2000

    def change(ds, k):
        ds.add_new("PixelPaddingValue", "SS", -976)  # -976 - 1024 is -2000 HU
        ds.compress(pydicom.uid.RLELossless)

    write_series(tmp_path / "p", hu, STRAIGHT, change=change)
    volume = read(tmp_path)
    assert volume.hu[:, 0, 0].tolist() == [-1024] * 5 and np.array_equal(volume.hu[:, 1:], hu.transpose(2, 1, 0)[:, 1:])
    assert volume.notes == (("padding", "5 voxels became -1024 HU"),)


def multi_frame(folder, hu):
    """One Enhanced CT file: positions a frame each, the rest shared."""
    first = pydicom.dcmread(write_series(folder, hu, STRAIGHT)[0])
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    frames = []
    for k in (2, 0, 1, 4, 3):
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [-100, -120, 30 + 2.5 * k]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    shared, orientation, measures, rescale = (pydicom.Dataset() for _ in range(4))
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.7]
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [rescale]
    for tag in (*frames[0].PlanePositionSequence[0].dir(), *orientation.dir(), *measures.dir(), *rescale.dir()):
        del first[tag]
    first.SOPClassUID = first.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    first.NumberOfFrames, first.PerFrameFunctionalGroupsSequence = len(frames), frames
    first.SharedFunctionalGroupsSequence = [shared]
    first.PixelData = (hu[:, :, [2, 0, 1, 4, 3]].transpose(2, 1, 0) + np.int16(1024)).tobytes()
    first.save_as(folder / "000.dcm")


def test_multi_frame_file_is_a_series_by_itself(tmp_path):
    hu = values()
    multi_frame(tmp_path / "p", hu)
    volume = read(tmp_path)
    assert np.array_equal(volume.hu, hu.transpose(2, 1, 0)) and np.allclose(volume.affine, STRAIGHT) and volume.notes == ()


def test_files_without_preamble_are_known_by_their_ending(tmp_path):
    hu = values()
    write_series(tmp_path / "p", hu, STRAIGHT, preamble=False)
    assert np.array_equal(read(tmp_path).hu, hu.transpose(2, 1, 0))


def test_several_series_in_one_folder_are_told_apart_and_read_again(tmp_path):
    first, second, third = values(seed=1), values(seed=2)[:, :, :3], values(seed=3)
    write_series(tmp_path / "p", first, STRAIGHT, [f"{2 * k}.dcm" for k in range(5)], number=2)
    write_series(tmp_path / "p", second, STRAIGHT, [f"{2 * k + 1}.dcm" for k in range(3)], number=10)
    write_series(tmp_path / "q", third, STRAIGHT)
    cases = cases_in(tmp_path)
    assert [case.name for case in cases] == ["p-2", "p-10", "q"]
    for case, hu in zip(cases, (first, second, third), strict=True):
        row = quality_control.examine(case)[0]
        assert np.array_equal(reading.read_row(row)[0].hu, hu.transpose(2, 1, 0))


def test_series_without_numbers_get_the_end_of_their_uid(tmp_path):
    def unnumbered(end):
        return lambda ds, k: (setattr(ds, "SeriesNumber", None), setattr(ds, "SeriesInstanceUID", f"1.2.3.{end}"))

    for end in (111111, 222222):
        write_series(tmp_path / "p", values(), STRAIGHT, [f"{end}-{k}" for k in range(5)], unnumbered(end))
    assert [case.name for case in cases_in(tmp_path)] == ["p-111111-axial", "p-222222-axial"]


def test_slices_of_another_plane_are_another_case(tmp_path):
    def coronal(ds, k):
        if k > 3:
            ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
            ds.ImagePositionPatient = [-100, -120 + k, 30]

    write_series(tmp_path / "p", values((7, 6, 8)), STRAIGHT, change=coronal)
    assert {c.name.rsplit("-")[-1]: len(reading.files_of(c.image)) for c in cases_in(tmp_path)} == {"axial": 4, "coronal": 4}


def test_what_is_no_slice_of_a_ct_is_ignored_and_named(tmp_path):
    def kind(uid):
        return lambda ds, k: setattr(ds, "SOPClassUID", uid)

    def localiser(ds, k):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path / "p", values(), STRAIGHT)
    for name, change in (
        ("mr", kind(pydicom.uid.MRImageStorage)), ("rt", kind(pydicom.uid.RTStructureSetStorage)), ("scout", localiser),
        ("screen", kind(pydicom.uid.SecondaryCaptureImageStorage)), ("sr", kind(pydicom.uid.EnhancedSRStorage)),
    ):  # fmt: skip
        write_series(tmp_path / "p", values()[:, :, :1], STRAIGHT, [name], change)
    write_series(tmp_path / "MASKS_DICOM" / "liver", values(), STRAIGHT)  # as in 3D-IRCADb
    (tmp_path / "p" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "p" / "notes.dcm").write_text("no image")
    (tmp_path / "p" / "._000.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (case,), ignored = scan_folder(tmp_path)
    assert case.name == "p" and len(reading.files_of(case.image)) == 5
    assert {why: sorted(p.name for p in files) for why, files in ignored.items()} == {
        "DICOM, MR Image Storage": ["mr"],
        "DICOM, RT Structure Set Storage": ["rt"],
        "DICOM, Secondary Capture Image Storage": ["screen"],
        "DICOM, Enhanced SR Storage": ["sr"],
        "DICOM, localisers of a CT": ["scout"],
        "masks as DICOM, which aren't read": [f"00{k}.dcm" for k in range(5)],
        "no DICOM inside": ["notes.dcm"],
        kinds.INDEX: ["DICOMDIR"],
    }


def test_fingerprint_knows_every_slice(tmp_path):
    paths = write_series(tmp_path / "p", values(), STRAIGHT)
    case = one_case(tmp_path)
    before = case_records.fingerprint(case, [])
    ds = pydicom.dcmread(paths[3])
    ds.PixelData = b"\1" * len(ds.PixelData)
    ds.save_as(paths[3])
    assert case_records.fingerprint(case, []) != before


# ---- a series with something wrong ----


def setting(k, **tags):
    """A change of slice k: tags set to a value, or taken out with None."""

    def change(ds, at):
        for tag, value in tags.items() if at == k else ():
            delattr(ds, tag) if value is None else setattr(ds, tag, value)

    return change


def text_in(k, **texts):
    """A change of slice k, of all for None: what stands in tags, as it is written."""
    return lambda ds, at: as_written(ds, **texts) if k in (None, at) else None


def tilted(ds, k):
    ds.ImagePositionPatient = [-100, -120 + 2.5 * k * np.tan(np.radians(12)), 30 + 2.5 * k]


def undecodable(ds, k):
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no picture \xff\xd9"])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1


def other_shape(ds, k):
    if k == 2:
        ds.Columns, ds.PixelData = 6, ds.PixelData[: 2 * 6 * 6]


WRONG = [
    ("sheared", tilted, "p: was scanned with the gantry tilted by 12.0 degrees"),
    ("compressed", undecodable, r"dcm: is compressed \(JPEG Lossless.*pip install python-gdcm"),
    ("slices-differ", other_shape, r"002.dcm: has shape \(6, 6\), 000.dcm has \(6, 7\)"),
    ("slices-differ", setting(3, PixelSpacing=[0.8, 0.9]), r"003.dcm: has pixel spacing \(0.8, 0.9\), 000.dcm has \(0.8, 0.7\)"),
    ("slices-differ", setting(3, ImageOrientationPatient=[1, 0, 0, 0, 0.995, 0.0999]), "003.dcm: has orientation"),
    ("no-place", setting(2, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0]), "002.dcm: .*no two directions at a right angle"),
    ("no-place", setting(2, ImagePositionPatient=None), "002.dcm: lacks ImagePositionPatient"),
    ("slices-differ", setting(2, ImagePositionPatient=[-90, -120, 35]), "002.dcm: lies 10.0 mm beside the line"),
    ("slices-differ", setting(2, ImagePositionPatient=[-100, -120, 32.5], AcquisitionNumber=4),
     "(001|002).dcm: lies where (001|002).dcm lies and shows something else"),
    ("no-place", setting(2, ImagePositionPatient=[-100, -120]), "002.dcm: its ImagePositionPatient .* isn't 3 numbers"),
    ("spacing-absurd", setting(2, PixelSpacing=[0, 0.7]), r"002.dcm: has PixelSpacing \[0.0, 0.7\]"),
    ("no-numbers", setting(2, RescaleType="Z_EFF"), "002.dcm: its values are Z_EFF, not Hounsfield units"),
    ("no-numbers", setting(2, RescaleSlope=0), "002.dcm: has a rescale slope of 0.0"),
    ("slices-differ", text_in(2, RescaleIntercept=""), "002.dcm: lacks RescaleIntercept, which other slices of it have"),
    ("no-numbers", text_in(2, RescaleIntercept="nan"), "002.dcm: its RescaleIntercept nan isn't 1 numbers"),
    ("no-numbers", text_in(2, RescaleSlope="1\\2"), "002.dcm: its RescaleSlope .* isn't 1 numbers"),
    ("no-place", text_in(2, PixelSpacing="1.000,8\\0.7"), "002.dcm: its PixelSpacing 1.000,8.0.7 isn't 2 numbers"),
    ("no-place", text_in(2, ImageOrientationPatient="1\\0\\0\\0\\1"), "002.dcm: its ImageOrientationPatient .* isn't 6 numbers"),
    ("no-numbers", lambda ds, k: setattr(ds, "ModalityLUTSequence", [pydicom.Dataset()]), r"000.dcm: .*\(ModalityLUTSequence\)"),
    ("truncated", setting(1, PixelData=b"\0\0"), "001.dcm: its pixels can't be read, so it is damaged or cut off"),
    ("truncated", setting(1, PixelData=None), "001.dcm: holds no pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "change", "message"), WRONG)
def test_series_that_cannot_be_read_says_which_file_and_why(tmp_path, code, change, message):
    write_series(tmp_path / "p", values(), STRAIGHT, change=change)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)
    row = quality_control.examine(one_case(tmp_path))[0]
    assert (row["verdict"], row["findings"]) == ("quarantined", code)


UNDERSTOOD = {
    "decimal commas in PixelSpacing": (text_in(None, PixelSpacing="0,8\\0,7"), "PixelSpacing with decimal commas in 5 slices"),
    "decimal commas in a position": (text_in(2, ImagePositionPatient="-100,0\\-120,0\\35,0"), "ImagePositionPatient with decimal commas in 1 slices"),
    "a decimal comma in SliceThickness": (text_in(None, SliceThickness="2,5"), "SliceThickness with decimal commas in 5 slices"),
    "decimal commas in the rescaling": (text_in(None, RescaleSlope="1,0", RescaleIntercept="-1024,0"), "RescaleIntercept with decimal commas"),
    "a unit": (text_in(None, SliceThickness="2.5 mm"), "SliceThickness with a unit in 5 slices"),
    "an empty slope": (text_in(None, RescaleSlope=""), "an empty RescaleSlope as 1 in 5 slices"),
    "Hounsfield Unit": (text_in(None, RescaleType="Hounsfield Unit"), "RescaleType 'Hounsfield Unit' as HU in 5 slices"),
    "HOUNSFIELD UNITS": (text_in(None, RescaleType="HOUNSFIELD UNITS"), "as HU in 5 slices"),
    "hu": (text_in(1, RescaleType="hu"), "RescaleType 'hu' as HU in 1 slices"),
    "CT For Processing": (text_in(None, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.3"), "SOPClassUID 1.2.840.10008.5.1.4.1.1.2.3 as CT Image Storage"),
    "a vendor's class": (text_in(None, SOPClassUID="1.3.12.2.1107.5.99"), "SOPClassUID 1.3.12.2.1107.5.99 as CT Image Storage"),
    "nothing that matters": (text_in(None, SeriesNumber="2a", InstanceNumber="1.0", AcquisitionNumber="x", KVP="", SliceThickness="thin"), ""),
    "spaces and zeros": (text_in(None, PixelSpacing=" 0.80 \\ 7.0E-1 ", RescaleType=" HU"), ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_values_that_are_clear_are_read_with_a_note(tmp_path, kind):
    change, note = UNDERSTOOD[kind]
    hu = values() // 2
    write_series(tmp_path / "p", hu, STRAIGHT, change=change)
    volume = read(tmp_path)
    assert np.array_equal(volume.hu, hu.transpose(2, 1, 0)) and np.allclose(volume.affine, STRAIGHT, atol=1e-6)
    assert [code for code, _ in volume.notes] == (["tags-odd"] if note else []) and note in "".join(text for _, text in volume.notes)
    assert quality_control.examine(one_case(tmp_path))[0]["verdict"] == ("repaired" if note else "ok")


@pytest.mark.parametrize("stored, tag, signed, bits", [(63536, -2000, 0, 16), (63536, -2000, 0, 12), (-2000, 63536, 1, 16), (-2000, -2000, 1, 12)])
def test_padding_is_known_however_its_sign_is_written(tmp_path, stored, tag, signed, bits):
    """63536 and -2000 are the same 16 bits; of 12 they leave 2096, which would be bone."""
    hu = values() // 2

    def change(ds, k):
        pixels = (hu[:, :, k].T.astype(np.int64) + 1024).astype(np.uint16)
        pixels[0, :3] = stored % 65536
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.PixelData = signed, bits, bits - 1, pixels.tobytes()
        ds.add_new("PixelPaddingValue", "SS" if tag < 0 else "US", tag)

    write_series(tmp_path / "p", hu, STRAIGHT, change=change)
    volume = read(tmp_path)
    expected = hu.transpose(2, 1, 0).copy()
    expected[:, 0, :3] = -1024
    assert np.array_equal(volume.hu, expected) and volume.notes == (("padding", "15 voxels became -1024 HU"),)


def test_bits_above_those_stored_are_no_values(tmp_path):
    """Graphics may lie in the upper four of 16 bits."""

    def change(ds, k):
        pixels = np.frombuffer(ds.PixelData, np.uint16) | 0x3000
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.PixelData = 0, 12, 11, pixels.tobytes()

    hu = values() // 2
    write_series(tmp_path / "p", hu, STRAIGHT, change=change)
    assert np.array_equal(read(tmp_path).hu, hu.transpose(2, 1, 0))


def test_a_transfer_syntax_that_is_none_is_named(tmp_path):
    path = write_series(tmp_path / "p", values(), STRAIGHT)[2]
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.9.2.1"))
    row = quality_control.examine(one_case(tmp_path))[0]
    assert row["findings"] == "unreadable" and "002.dcm: its TransferSyntaxUID 1.2.840.10008.9.2.1 is none that is known" in row["reason"]


def missing(folder):
    (folder / "002.dcm").unlink()


def doubled(folder):
    (folder / "copy.dcm").write_bytes((folder / "002.dcm").read_bytes())


def emptied(folder):
    (folder / "004.dcm").write_bytes(b"")


def split(folder):
    (folder.parent / "p2").mkdir()
    (folder / "004.dcm").rename(folder.parent / "p2" / "004.dcm")


def tag_set(**tags):
    def spoil(folder):
        for path in folder.iterdir():
            ds = pydicom.dcmread(path)
            for tag, value in tags.items():
                ds.add_new(tag, "SS", value)
            ds.save_as(path)

    return spoil


def in_hu_already(folder):
    """The stored values are Hounsfield units, and no tag says so."""
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelData = (ds.pixel_array - np.int16(1024)).tobytes()
        del ds.RescaleIntercept
        ds.save_as(path)


def in_hu_with_empty_tag(folder):
    in_hu_already(folder)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        as_written(ds, RescaleIntercept="")
        ds.save_as(path)


FOUND = [
    ("slices-uneven", missing, "quarantined", "5 mm after 001.dcm, 2.5 mm elsewhere"),
    ("slices-duplicate", doubled, "repaired", "copy.dcm is 002.dcm"),
    ("slices-unreadable", emptied, "repaired", "004.dcm"),
    ("series-split", split, "quarantined", "more slices in p2"),
    ("padding", tag_set(PixelPaddingValue=24), "repaired", "1 voxels became -1024 HU"),
    ("padding-kept", tag_set(PixelPaddingValue=1064), "ok", "1 voxels between -900 and 3000 HU"),
    ("rescale-missing", in_hu_already, "ok", "in 5 slices"),
    ("rescale-missing", in_hu_with_empty_tag, "ok", "in 5 slices"),
]


@pytest.mark.parametrize(("code", "spoil", "verdict", "message"), FOUND)
def test_finding_reaches_the_doctor(tmp_path, code, spoil, verdict, message):
    hu = values() // 2  # as bright as tissue
    hu[(hu == -1000) | (hu == 40)] = 7
    hu[3, 3, 1:3] = -1000, 40  # stored as 24 and 1064
    write_series(tmp_path / "p", hu, STRAIGHT)
    spoil(tmp_path / "p")
    row = quality_control.examine(cases_in(tmp_path)[0])[0]
    assert code in row["findings"].split() and message in row["reason"]
    assert findings.FINDINGS[code][0] == verdict == row["verdict"]


def test_copy_of_a_series_in_another_folder_is_no_split_one(tmp_path):
    write_series(tmp_path / "p", values(), STRAIGHT)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "p").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    assert [(case.name, case.notes) for case in cases_in(tmp_path)] == [("copy", ()), ("p", ())]


def test_positions_rounded_to_tenths_are_even_enough(tmp_path):
    def rounded(ds, k):
        ds.ImagePositionPatient = [-100, -120, (30, 30.6, 31.2, 31.9, 32.5)[k]]  # 0.625 mm apart

    write_series(tmp_path / "p", values(), STRAIGHT, change=rounded)
    volume = read(tmp_path)
    assert volume.notes == () and volume.spacing_mm[0] == pytest.approx(0.625)


def test_single_slice_takes_its_thickness(tmp_path):
    (path,) = write_series(tmp_path / "p", values()[:, :, :1], STRAIGHT)
    assert read(tmp_path).spacing_mm[0] == 2.5
    ds = pydicom.dcmread(path)
    ds.SliceThickness = None
    ds.save_as(path)
    with pytest.raises(ValueError, match="single slice without SliceThickness"):
        dicom.read(path)


def test_series_is_described_in_a_line(tmp_path):
    first = write_series(tmp_path / "p", values(), STRAIGHT, number=3)[0]
    assert series.description(first) == "phase 3, axial, 5 files"
