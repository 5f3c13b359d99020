"""The one table of what can be wrong with a case: code, verdict, what it means, what to do."""

VERDICTS = ("ok", "repaired", "quarantined")
# code: (verdict, what it means, what to do); the worst verdict of a case's findings is the case's
# verdict
FINDINGS = {
    # the file; the sentence of the finding names which one, the scan or its mask
    "missing": ("quarantined", "there is no such file",
                "put the file beside the others, or take its partner away"),
    "no-file": ("quarantined", "under this name lies a folder, a pipe or a device",
                "put the scan itself there"),
    "no-access": ("quarantined", "the file can't be opened",
                  "give yourself the right to read it, or copy it to a sound disk"),
    "empty-file": ("quarantined", "the file has 0 bytes", "copy or download it again"),
    "web-page": ("quarantined", "the file is a web page, no scan",
                 "download it again, logged in where the site asks for it"),
    "not-nifti": ("quarantined", "the file is no NIfTI file, whatever its name says",
                  "convert the scan again, or rename it"),
    "truncated": ("quarantined", "the file ends before its data do", "copy or download it again"),
    "damaged": ("quarantined", "the file's bytes are not those that were written",
                "copy or download it again"),
    "unreadable": ("quarantined", "the file can't be read",
                   "the sentence says why; mend the file or take it away"),
    "wrong-ending": ("repaired",
                     "the file's ending doesn't tell how it is packed; it was read all the same",
                     "rename it"),
    "killed": ("quarantined", "reading it killed the worker",
               "most often memory is short: free some, and run again"),
    # the grid
    "not-3-d": ("quarantined", "the file isn't one 3-D scan",
                "take out the one series you mean and save it alone"),
    "affine-nan": ("quarantined", "the affine holds NaN or Inf, so no voxel has a place",
                   "convert it again from its source"),
    "affine-singular": ("quarantined", "the affine is singular: two axes run the same way",
                        "convert it again from its source"),
    "spacing-absurd": ("quarantined", "an edge of a voxel is not between 0.05 and 50 mm",
                       "put the right one into the header"),
    "sheared": ("quarantined", "the axes aren't at right angles: gantry tilt?",
                "resample it straight (dcm2niix does)"),
    "no-affine": ("repaired", "the header says no orientation; L A S and its spacing are taken",
                  "look whether it is upright"),
    "header-mended": ("repaired", "the header holds values that can't be; the nearest that can "
                      "were taken", "look whether it is upright, and convert it again"),
    "forms-differ": ("repaired", "the header describes two different grids; one was taken",
                     "make both alike"),
    "spacing-1-1-1": ("ok",
                      "spacing is exactly 1 × 1 × 1 mm, often a stand-in: don't trust millimetres",
                      "look it up"),
    "spacing-stand-in": ("ok", "pictures carry no spacing: millimetres are stand-ins", ""),
    "one-slice": ("ok", "the scan has a single slice", ""),
    "slices-missing": ("ok", "the numbers of the slices have gaps",
                       "look for the missing pictures"),
    "slices-uneven": ("quarantined", "slices are missing, so the rest has no sure place",
                      "export it again"),
    "two-spacings": ("quarantined", "the distance between slices changes on the way",
                     "resample it to one, or put the part you need into a folder of its own"),
    "acquisitions": ("quarantined", "which of the acquisitions in its series is meant isn't known",
                     "choose by `--acquisition` of helpers.predict, or `acquisitions` of notebook "
                     "01"),
    "slices-differ": ("quarantined", "slices of one scan contradict each other",
                      "take out the one named, or export it again"),
    "no-place": ("quarantined", "a slice doesn't say where it lies",
                 "export the original series, with all of its tags"),
    "compressed": ("quarantined", "its compression can't be undone here",
                   "decompress it: gdcmconv --raw, or dcmdjpeg"),
    "slices-duplicate": ("repaired", "slices that are there twice were used once", ""),
    "slices-unreadable": ("repaired",
                          "files among the slices that can't be read as DICOM were left out",
                          "copy them again"),
    "slices-left-out": ("repaired", "files of the series that aren't slices of a CT were left out",
                        "look whether the liver is whole; export those again as CT images"),
    "begins-late": ("ok", "the first slices may be missing: their numbers begin late",
                    "look whether the liver is whole"),
    "tags-odd": ("repaired", "values that aren't written as DICOM wants them were understood",
                 "look whether they are right"),
    "series-split": ("quarantined", "the series lies in several folders",
                     "put its slices into one"),
    # header against content; nothing is turned unless notebook 01 is asked to
    "spine-front": ("ok", "bone lies in the front half: upside down, or prone",
                    "look at it; if it is mirrored, set `flips`"),
    "liver-left": ("ok", "the liver lies on the patient's left: mirrored?",
                   "look at it; if it is mirrored, set `flips`"),
    "lungs-below": ("ok", "the lungs lie below the liver: upside down?",
                    "look at it; if it is mirrored, set `flips`"),
    "mask-mirrored": ("quarantined", "the mask fits the scan only when mirrored",
                      "look, then set `mask_flips`"),
    "mask-turned": ("quarantined", "the mask fits the scan only with axes exchanged",
                    "turn it in the program that made it, and save it with the scan's affine"),
    "mask-misfit": ("ok", "the mask doesn't lie on one organ, or lies beside its edges",
                    "look: another patient's mask, or a shifted one?"),
    "axes-exchanged": ("quarantined", "the array is stored in another order than its affine says",
                       "save it with its own affine: (z, y, x) is no order of NIfTI's identity"),
    "liver-unlike": ("ok", "what the mask calls liver has no liver's extent",
                     "look: what do its labels mean?"),
    "liver-hu": ("ok", "what the mask calls liver isn't as bright as liver",
                 "look: another patient's mask, or a shifted one?"),
    "flipped": ("repaired", "turned over on request", ""),
    # intensities
    "no-numbers": ("quarantined", "the values are complex or coloured, no Hounsfield units",
                   "convert it again from its source"),
    "not-finite": ("quarantined", "voxels are NaN or infinite",
                   "convert the scan again, or fill them in knowingly"),
    "constant": ("quarantined", "all voxels have one value", "copy or convert the scan again"),
    "not-hu": ("quarantined", "the values are no Hounsfield units (0–255, 0–1 or a narrow range)",
               "convert it again, unscaled"),
    "not-rescaled": ("quarantined",
                     "an offset (rescale intercept) is in it: soft tissue is far from 0 HU",
                     "take it off"),
    "clipped": ("repaired", "values outside the range of tissue were clipped", ""),
    "padding": ("repaired", "pixels that the scanner marks as outside of its circle became air",
                ""),
    "padding-kept": ("ok", "the value for pixels outside of the circle may be tissue, so it stayed",
                     "look at the corners"),
    "rescale-missing": ("ok", "no rescale intercept: stored values were taken as Hounsfield units",
                        "look at the histogram"),
    # labels
    "no-labels": ("ok", "there is no mask; the case can be predicted, not trained or scored", ""),
    "mask-shape": ("quarantined", "the mask's shape isn't the scan's: they don't belong together",
                   "find the right mask"),
    "mask-affine": ("repaired",
                    "the mask's affine isn't the scan's; its voxels were taken as aligned",
                    "look at it once"),
    "mask-axes": ("repaired",
                  "the mask is stored in another axis order and was turned by its own affine",
                  "look at it once"),
    "mask-slices": ("quarantined", "slices have no mask of their own",
                    "add the missing masks, or take those slices out"),
    "labels-rounded": ("repaired", "label values were off whole numbers by rounding", ""),
    "labels-mapped": ("repaired", "label values were brought to 0, 1 and 2",
                      "check that this is what they mean"),
    "labels-unexpected": ("quarantined", "the mask holds values that are no labels",
                          "make them 0 background, 1 liver, 2 tumour"),
    "labels-other": ("quarantined", "dataset.json gives the labels another meaning",
                     "make them 0 background, 1 liver, 2 tumour, and dataset.json say so"),
    "labels-exchanged": ("quarantined", "liver and tumour are exchanged in the mask",
                         "make them 1 liver, 2 tumour"),
    "tumour-large": ("ok", "there is more tumour than liver around it",
                     "look: are the labels 1 liver, 2 tumour?"),
    "no-liver": ("ok", "the mask is all 0: gate and liver learn from it what a liver isn't",
                 "take the mask away if there is a liver in the scan"),
    "no-tumour": ("ok", "the mask holds no tumour", ""),
    "tumour-unknown": ("ok", "the mask takes tumours for liver, as `by_folder` says", ""),
    "tumour-only": ("ok",
                    "the mask marks tumours and no liver: don't train or score the liver with it",
                    "add the liver as 1"),
    "tumour-outside": ("ok", "tumours lie outside the liver",
                       "look at them: stray clicks, or metastases elsewhere?"),
    "liver-islands": ("ok", "the liver's mask has several components",
                      "small ones are stray clicks: remove them"),
    # between cases; both of a pair stay on one side of the split
    "duplicate-image": ("ok", "the same voxels as another case",
                        "keep one, unless the masks are two readers' of one scan"),
    "near-duplicate": ("ok", "as good as the same picture as another case",
                       "keep one, or tell them apart in groups_csv"),
}


class Unfit(ValueError):
    """A file or case that can't be used; `code` is its row in FINDINGS, the message names it."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code

    def __reduce__(self):  # so that it travels between processes
        return type(self), (self.code, str(self))


def counted(number, noun):
    """ "1 lesion", "1,200 lesions": a whole number and what is counted."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def advised(error):
    """The message of an error; for Unfit with what to do, where it doesn't say so itself."""
    to_do = FINDINGS[error.code][2] if isinstance(error, Unfit) else ""
    return f"{error}; {to_do}" if to_do and to_do not in str(error) else str(error)


def in_words(error, path):
    """The sentence that an error of a reader is, with the file's name, whatever its type."""
    if isinstance(error, (ValueError, OSError)) and str(error):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{path}: there is not enough memory"
    return f"{path}: can't be read ({type(error).__name__}: {error})"


def verdict_of(codes):
    """The worst verdict of some findings; "ok" for none."""
    return VERDICTS[max((VERDICTS.index(FINDINGS[code][0]) for code in codes), default=0)]
