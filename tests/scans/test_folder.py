"""Folders as people have them: which scans are seen, which mask goes with which, and what the grey values become."""

import json
import os
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.scans import folder, reading
from helpers.scans.folder import _volumes, cases_in, in_words, named_once, scan_folder
from helpers.scans.labels import standard_labels


def touched(*files):
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def layouts_in(folder):
    """{name: (layout, image below the folder, mask below the folder or None)}"""
    below = {c.name: (c.image.relative_to(folder), c.mask and c.mask.relative_to(folder)) for c in cases_in(folder)}
    kinds = {c.name: c.layout for c in cases_in(folder)}
    return {name: (kinds[name], image.as_posix(), mask and mask.as_posix()) for name, (image, mask) in below.items()}


def test_lits_split_over_folders_in_natural_order(tmp_path):
    touched(*(tmp_path / "volume_pt1" / f"volume-{n}.nii" for n in (0, 2)), tmp_path / "volume_pt2" / "volume-10.nii.gz")
    touched(*(tmp_path / "segmentations" / f"segmentation-{n}.nii" for n in (0, 2, 10)))
    layouts = layouts_in(tmp_path)
    assert list(layouts) == ["volume-0", "volume-2", "volume-10"]
    assert layouts["volume-10"] == ("LiTS pairs", "volume_pt2/volume-10.nii.gz", "segmentations/segmentation-10.nii")


def test_kaggle_folders_that_are_named_like_files(tmp_path):
    touched(tmp_path / "volume-0.nii" / "volume-0.nii", tmp_path / "segmentation-0.nii" / "segmentation-0.nii")
    files = "volume-0.nii/volume-0.nii", "segmentation-0.nii/segmentation-0.nii"
    assert layouts_in(tmp_path) == {"volume-0": ("LiTS pairs", *files)}


def test_mask_without_its_scan_is_a_case_that_cannot_be_read(tmp_path):
    touched(tmp_path / "volume-0.nii", tmp_path / "segmentation-0.nii", tmp_path / "segmentation-1.nii")
    layouts = layouts_in(tmp_path)
    assert layouts["volume-1"] == ("LiTS pairs", "volume-1.nii", "segmentation-1.nii")
    assert not (tmp_path / "volume-1.nii").exists()


def test_msd_with_nnunet_names_and_other_endings(tmp_path):
    images = ("imagesTr/liver_2.nii.gz", "imagesTr/liver_10_0000.nii.gz", "imagesTs/liver_3.nii.gz")
    labels = ("labelsTr/liver_2.nii", "labelsTr/liver_10.nii.gz", "labelsTr/._liver_2.nii")
    touched(*(tmp_path / name for name in images + labels))
    assert layouts_in(tmp_path) == {
        "liver_2": ("MSD", "imagesTr/liver_2.nii.gz", "labelsTr/liver_2.nii"),
        "liver_3": ("MSD", "imagesTs/liver_3.nii.gz", None),
        "liver_10": ("MSD", "imagesTr/liver_10_0000.nii.gz", "labelsTr/liver_10.nii.gz"),
    }


def test_scans_without_labels_spaces_and_letters_of_all_kinds(tmp_path):
    touched(tmp_path / "Übung 1" / "scan é.nii.gz", tmp_path / "Übung 1" / "SCAN 2.NII", tmp_path / ".hidden" / "no.nii")
    assert layouts_in(tmp_path) == {
        "scan_é": ("scans without labels", "Übung 1/scan é.nii.gz", None),
        "SCAN_2": ("scans without labels", "Übung 1/SCAN 2.NII", None),
    }


def test_linked_folder_is_followed_and_a_circle_ends(tmp_path):
    touched(tmp_path / "elsewhere" / "volume-0.nii")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
    os.symlink(tmp_path / "data", tmp_path / "elsewhere" / "round")
    assert list(layouts_in(tmp_path / "data")) == ["volume-0"]


def test_one_name_in_several_places_gives_several_cases(tmp_path):
    touched(tmp_path / "a" / "ct.nii", tmp_path / "b" / "ct.nii", tmp_path / "b" / "ct.nii.gz", tmp_path / "b" / "other.nii")
    assert list(layouts_in(tmp_path)) == ["a-ct", "b-ct", "b-ct-nii.gz", "other"]


def test_names_whose_masks_would_be_one_file_are_told_apart(tmp_path):
    touched(tmp_path / "volume-3.nii", tmp_path / "images" / "3.nii.gz")
    assert sorted(layouts_in(tmp_path)) == ["images-3", "volume-3"]


def test_the_nearer_mask_wins_when_two_carry_one_name(tmp_path):
    touched(*(tmp_path / side / f"{kind}-1.nii" for side in ("x", "y") for kind in ("volume", "segmentation")))
    assert {i: m for _, i, m in layouts_in(tmp_path).values()} == {f"{s}/volume-1.nii": f"{s}/segmentation-1.nii" for s in "xy"}


def test_missing_and_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        cases_in(tmp_path / "nowhere")
    touched(tmp_path / "picture.png", tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"no scans found.*there is 1 × pictures that aren't slices of a scan \(picture.png\)"):
        cases_in(tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0], [0, 0]),
        ([0, 255], [0, 2]),
        ([0, 127, 255], [0, 1, 2]),
        ([0, 128], [0, 1]),
        ([255, 255], [2, 2]),
    ],
)
def test_standard_labels(given, expected):
    labels, values = standard_labels(np.array(given, np.uint8).reshape(1, 1, -1))
    assert labels.ravel().tolist() == expected and labels.dtype == np.uint8 and values == sorted(set(given))


@pytest.mark.parametrize("given", [[0, 1, 3], [0, 1, 255], [0, 100, 200]])
def test_labels_of_unknown_meaning_are_refused(given):
    with pytest.raises(ValueError, match="labels are 0 background"):
        standard_labels(np.array(given, np.uint8).reshape(1, 1, -1))


def test_row_of_the_table_is_read_in_each_form_pandas_gives_it(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([-1, -1, 2, 1])), tmp_path / "volume-1.nii")
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "segmentation-1.nii")
    row = {"image": str(tmp_path / "volume-1.nii"), "mask": str(tmp_path / "segmentation-1.nii")}
    table = pd.DataFrame([row | {"window_low": -40.0, "window_high": 160.0, "channel": 1}])
    for form in (table.iloc[0], next(table.itertuples()), table.iloc[0].to_dict()):
        volume, labels = reading.read_row(form)
        assert volume.hu.shape == (5, 4, 3) and labels.sum() == 60
    assert reading.read_row(table.assign(mask="").iloc[0])[1] is None
    assert reading.read_row(table.assign(mask=np.nan).iloc[0])[1] is None


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a 1.nii.gz", "masks/a 1.nii.gz"),
        ("scans/part 2/a_1.nii", "annotations/part 2/a_1.nii.gz"),
        ("train/CT/7.nii", "train/labels/7.nii"),
        ("case_7/imaging.nii.gz", "case_7/segmentation.nii.gz"),
        ("patient7_ct.nii.gz", "patient7_seg.nii.gz"),
        ("Sample-001/Liver.nii", "Sample-001/Liver-mask.nii"),
        ("volume-7.nii", "masks/volume-7.nii"),
        ("volume_pt3/volume-7.nii/volume-7.NII", "ground truth/segmentations/segmentation-7.nii.gz"),
        ("imagesTs/liver_7.nii.gz", "labelsTs/liver_7.nii.gz"),
    ],
)
def test_scan_and_mask_are_known_by_the_words_in_their_paths(tmp_path, image, mask):
    touched(tmp_path / image, tmp_path / mask, tmp_path / "._volume-7.nii")
    (case,), ignored = scan_folder(tmp_path)
    assert (case.image, case.mask, ignored) == (tmp_path / image, tmp_path / mask, {})


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("imagesTs/liver_7.nii.gz", "labelsTr/liver_8.nii.gz"),
        ("test/images/7.nii", "train/masks/7.nii"),
        ("case_7/imaging.nii.gz", "case_8/segmentation.nii.gz"),
        ("imagesTs/liver_7.nii.gz", "labelsTr/liver_7.nii.gz"),
    ],
)
def test_mask_of_another_scan_is_not_taken(tmp_path, image, mask):
    touched(tmp_path / image, tmp_path / mask)
    cases, ignored = scan_folder(tmp_path)
    by_image = {case.image: case.mask for case in cases}
    assert by_image.pop(tmp_path / image) is None
    named = {tmp_path / mask} & {*by_image.values(), *ignored.get("masks whose scan is missing", ())}
    assert named, "a mask that goes with no scan is a case that says so, or is left out by name"


def test_masks_alone_in_a_folder_called_labels_are_scans(tmp_path):
    touched(tmp_path / "my labels" / "a.nii")
    assert layouts_in(tmp_path) == {"a": ("scans without labels", "my labels/a.nii", None)}


def test_what_is_not_read_is_said(tmp_path):
    touched(*(tmp_path / name for name in ("a.nii", "b.hdr", "b.img", "c.nrrd", "d.ZIP", "logo.png", "notes.txt")))
    cases, ignored = scan_folder(tmp_path)
    assert len(cases) == 1 and {why: [p.name for p in files] for why, files in ignored.items()} == {
        "another format: save it as .nii.gz": ["b.hdr", "b.img", "c.nrrd"],
        "an archive: unpack it first": ["d.ZIP"],
        "no scan by its name, and none inside": ["notes.txt"],
        "pictures that aren't slices of a scan": ["logo.png"],
    }
    assert "1 × an archive: unpack it first (d.ZIP)" in in_words(ignored)
    with pytest.raises(ValueError, match="c.nrrd: is another format: save it as .nii.gz"):
        reading.read_scan(tmp_path / "c.nrrd")


def test_pipes_and_dead_links_do_not_hang_or_stop_a_survey(tmp_path):
    touched(tmp_path / "a.nii")
    os.mkfifo(tmp_path / "pipe")
    os.symlink(tmp_path / "gone", tmp_path / "link.dcm")
    os.symlink(tmp_path / "gone.nii", tmp_path / "b.nii")
    assert list(layouts_in(tmp_path)) == ["a", "b"]
    with pytest.raises(ValueError, match="b.nii: no such file"):
        reading.read_scan(tmp_path / "b.nii")


def test_what_cannot_be_opened_is_said(tmp_path, monkeypatch):
    touched(tmp_path / "a.nii", tmp_path / "scan.dcm")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder.series, "is_dicom", refuse)
    assert scan_folder(tmp_path)[1] == {"closed to you: can't be opened": [tmp_path / "scan.dcm"]}


def test_thousands_of_cases_are_paired_in_seconds(tmp_path):
    """Half a second; comparing each scan with each mask would take minutes."""
    files = [tmp_path / f"{folder}/p{n}.nii.gz" for folder in ("images", "masks") for n in range(3000)]
    began = time.process_time()
    cases, lonely = _volumes(files, [], tmp_path)
    assert len(named_once(cases, tmp_path)) == 3000 and not lonely and time.process_time() - began < 20
    assert all(case.mask.name == case.image.name for case in cases)


def test_names_that_are_no_utf_8_cost_no_other_case(tmp_path):
    touched(tmp_path / "volume-1.nii", tmp_path / "segmentation-1.nii")
    for name in (b"volume-2\xff.nii", b"gr\xf6\xdfe.dcm", b"M\xfcller"):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(path) if name == b"M\xfcller" else open(path, "wb").close()
    touched(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"M\xfcller", b"volume-3.nii"))))
    cases, ignored = scan_folder(tmp_path)
    assert [case.name for case in cases] == ["volume-1"]
    (why, files), = ignored.items()
    assert "UTF-8: rename it" in why and sorted(file.name for file in files) == [r"M\xfcller", r"gr\xf6\xdfe.dcm", r"volume-2\xff.nii"]
    assert in_words(ignored).encode()  # can be printed
    with pytest.raises(ValueError, match=r"M\\xfcller: its name is no UTF-8; rename it"):
        scan_folder(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"M\xfcller"))))


@pytest.mark.parametrize(("scan", "masks"), [
    ("images/img0001.nii.gz", ["labels/label0001.nii.gz"]),
    ("img0001.nii.gz", ["label0001.nii.gz"]),
    ("CT001.nii.gz", ["Seg001.nii.gz"]),
    ("scan7.nii.gz", ["mask7.nii.gz"]),
    ("p1/ct.nii.gz", ["p1/segmentations/liver.nii.gz", "p1/segmentations/liver_tumor.nii.gz"]),  # TotalSegmentator
    ("p1/ct.nii.gz", ["p1/segmentations/liver.nii.gz"]),
    ("p1/ct.nii.gz", ["p1/liver.nii.gz", "p1/liver_lesions.nii.gz"]),
    ("a_ct.nii.gz", ["a_liver.nii.gz", "a_tumour.nii.gz"]),
    ("images/a.nii.gz", ["masks/a_liver.nii.gz", "masks/a_tumour.nii.gz"]),
    ("scan001.nii.gz", ["scan001_livermask.nii.gz", "scan001_tumormask.nii.gz"]),
    ("p1/PATIENT.nii.gz", ["p1/MASKS/liver.nii.gz", "p1/MASKS/livertumor01.nii.gz", "p1/MASKS/livertumor02.nii.gz"]),
])
def test_masks_are_paired_by_numbers_and_joined_by_organs(tmp_path, scan, masks):
    touched(tmp_path / scan, *(tmp_path / mask for mask in masks))
    (case,), ignored = scan_folder(tmp_path)
    assert case.image == tmp_path / scan and case.mask == tmp_path / masks[0] and not ignored
    assert reading.files_of(case.mask, mask=True) == [tmp_path / mask for mask in masks]


@pytest.mark.parametrize("files", [
    ["liver_0.nii.gz", "liver_1.nii.gz"],  # scans called after the organ that they show
    ["hospital/ct.nii.gz", "hospital/liver.nii.gz"],  # no word for masks, no tumour: not guessed
    ["a_ct.nii.gz", "b_liver.nii.gz"],
    ["liver_tumor_1.nii.gz", "liver_tumor_2.nii.gz"],
])
def test_names_of_organs_alone_make_no_masks(tmp_path, files):
    touched(*(tmp_path / file for file in files))
    assert [case.mask for case in cases_in(tmp_path)] == [None, None]


def test_masks_of_other_organs_are_named(tmp_path):
    touched(*(tmp_path / "p1" / "segmentations" / f"{organ}.nii.gz" for organ in ("liver", "spleen", "aorta")), tmp_path / "p1" / "ct.nii.gz")
    (case,), ignored = scan_folder(tmp_path)
    assert case.mask.name == "liver.nii.gz"
    assert [file.name for file in ignored["masks whose scan is missing"]] == ["aorta.nii.gz", "spleen.nii.gz"]


def test_one_file_an_organ_is_read_as_one_mask(tmp_path):
    """Liver 1, tumour 2, whatever the files' own numbers; a tumour beyond the liver's mask stays tumour."""
    liver, tumour = np.zeros((2, 6, 5, 4), np.uint8)
    liver[1:4, 1:4, 1:3], tumour[3:5, 2, 1] = 255, 1
    (tmp_path / "masks").mkdir()
    for name, array in (("ct", liver.astype(np.int16)), ("masks/liver", liver), ("masks/liver_tumor", tumour)):
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), tmp_path / f"{name}.nii.gz")
    (case,) = cases_in(tmp_path)
    labels = reading.read_labels(case.mask, reading.read_scan(case.image))
    assert np.array_equal(labels, np.where(tumour, 2, liver > 0).transpose(2, 1, 0))
    nib.save(nib.Nifti1Image(tumour * 3 + np.uint8(liver > 0), np.eye(4)), tmp_path / "masks" / "liver_tumor.nii.gz")
    with pytest.raises(ValueError, match="liver_tumor.nii.gz: holds the values"):
        reading.read_labels(case.mask, reading.read_scan(case.image))


@pytest.mark.parametrize(("labels", "note"), [
    ({"0": "background", "1": "Vessel", "2": "Tumour"}, "1 is 'Vessel'"),  # MSD's HepaticVessel
    ({"0": "background", "1": "liver", "2": "cancer"}, ""),  # MSD's Liver
    ({"background": 0, "liver": 1, "tumor": 2}, ""),  # nnU-Net
    ({"background": 0, "liver": [1, 2], "tumor": 2}, ""),
    ({"background": 0, "tumor": 1, "liver": 2}, "1 is 'tumor', 2 is 'liver'"),
    ({"0": "background", "1": "spleen"}, "1 is 'spleen'"),
    ({"0": "background", "1": "label1", "2": "label2"}, ""),  # says nothing
    (["background", "liver"], ""),
    (None, ""),
])
@pytest.mark.parametrize("below", ["", "Task08_HepaticVessel"])
def test_dataset_json_is_believed(tmp_path, labels, note, below):
    touched(tmp_path / below / "imagesTr" / "a_001.nii.gz", tmp_path / below / "labelsTr" / "a_001.nii.gz", tmp_path / below / "imagesTs" / "a_002.nii.gz")
    (tmp_path / below / "dataset.json").write_text("{" if labels is None else json.dumps({"name": "x", "labels": labels}))
    first, second = cases_in(tmp_path)
    assert first.notes == ((("labels-other", note),) if note else ()) and second.notes == ()
