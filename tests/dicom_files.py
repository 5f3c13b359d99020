"""Writes DICOM series for the tests."""

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(folder, hu, affine, names=None, change=lambda ds, k: None, slope=1, intercept=-1024, number=1, preamble=True):
    """Write HU (column, row, slice) with a NIfTI affine (right, front, head) as one CT file a slice.

    names    file names in the order of the slices; `change(ds, k)` may spoil slice k before it is written.
    returns  the paths in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, float)
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    uid, study = generate_uid(), generate_uid()
    paths = []
    for k in range(hu.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128 if preamble else None)
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, generate_uid(), "CT"
        meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.SeriesNumber, ds.SeriesDescription = uid, study, number, f"phase {number}"
        ds.ImageType, ds.InstanceNumber, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1, "HFS"
        ds.ImagePositionPatient = [f"{v:.6f}" for v in lps[:3, 3] + k * lps[:3, 2]]
        ds.ImageOrientationPatient = [f"{v:.6f}" for v in (*(lps[:3, 0] / edges[0]), *(lps[:3, 1] / edges[1]))]
        ds.PixelSpacing, ds.SliceThickness = [float(edges[1]), float(edges[0])], float(edges[2])
        ds.Rows, ds.Columns = hu.shape[1], hu.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "HU"
        stored = np.rint((hu[:, :, k].T - float(intercept)) / slope).astype(np.int16)
        ds.PixelData = np.ascontiguousarray(stored).tobytes()
        change(ds, k)
        path = folder / (names[k] if names else f"{k:03d}.dcm")
        if preamble:
            ds.save_as(path, enforce_file_format=True)
        else:
            ds.file_meta = FileMetaDataset()
            pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=True)
        paths.append(path)
    return paths


def as_written(ds, **texts):
    """Put texts into tags as another program may have written them, whatever pydicom thinks of it."""
    for name, text in texts.items():
        tag, value = Tag(tag_for_keyword(name)), text.encode() + b" " * (len(text) % 2)
        ds._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
