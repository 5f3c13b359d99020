"""Many scans through the cascade; what is there already, made of the same things, stays."""

import csv
import errno
from collections.abc import Callable
from dataclasses import dataclass

from helpers import files, origins
from helpers.cascade import pipeline
from helpers.intake import admission
from helpers.processes import progress
from helpers.runs import Predictions
from helpers.scans import dicom_seg, names, pictures
from helpers.scans.findings import in_words
from helpers.scans.labels import read_mask
from helpers.scans.reading import read_row, read_row_scan
from helpers.scans.volume import with_likely_spacing, write_mask, write_on_grid

ORGANS = ("liver", "tumour")
LEARNT = "these networks learnt from this scan: its mask looks better than those of others will"
TABLE = "predictions.csv"
COLUMNS = ("case", "outcome", "liver_ml", "tumour_ml", "lesions", "specks", "slices",
           "learnt_from", "seconds", "image", "sentence", "remarks")


@dataclass
class Cohort:
    """Scans, the networks and the rules that segment them, and where the results go.

    A scan is a row of cases.csv (of `itertuples`), or anything with its `case`, `image` and `bytes`
    (what changes when the scan does) that `read` takes; `out` is its mask's file if it is to have
    another name than `run_paths` gives it.

    run_paths           runs.Run or runs.Folder.
    networks            dict of TrainedNetwork.
    save_probabilities  True also writes what the networks said.
    read                function (scan) -> admission.Admitted.
    draw                function (volume, labels, title, path) that writes a preview; None for none.
    dicom_seg           True also writes the mask as DICOM-SEG; a scan of no DICOM series fails.
    """

    run_paths: Predictions
    networks: dict
    rules: pipeline.Rules
    save_probabilities: bool = False
    read: Callable = admission.of_row
    draw: Callable | None = None
    dicom_seg: bool = False

    def __post_init__(self):
        paths = [trained.path for trained in self.networks.values()]
        hashes = [files.short_hash(path) if path else "" for path in paths]
        self.origin = {"rules": str(self.rules), "weights": hashes}
        self.origin["probabilities"] = self.save_probabilities
        self.origin |= {"dicom_seg": True} if self.dicom_seg else {}
        cards = [trained.card.get("data", {}) for trained in self.networks.values()]
        self.learnt = {voxels for data in cards for voxels in data.get("voxels", [])}

    def mask(self, row):
        """The file of a scan's mask."""
        return getattr(row, "out", None) or self.run_paths.prediction(row.case)

    def files_of(self, row):
        """The files of a scan, its mask last: where it is, the scan is done."""
        run_paths, case = self.run_paths, row.case
        maps = [run_paths.probability(case, organ) for organ in ORGANS]
        preview = [run_paths.preview(case)] if self.draw else []
        preview += [run_paths.dicom_seg(case)] if self.dicom_seg else []
        return [*(maps if self.save_probabilities else []), *preview, run_paths.log(case),
                self.mask(row)]

    def made_of(self, row):
        """What the files of a scan are made of, as its log keeps it."""
        return {"origin": self.origin | {"bytes": row.bytes}}

    def is_done(self, row):
        """True when all files of a scan are there, of the same scan, networks and rules."""
        log = files.recorded(self.run_paths.log(row.case))
        return (origins.is_current(log, self.made_of(row), self.files_of(row))
                and not self.is_changed(row, log))

    def is_changed(self, row, log):
        """True when a scan's mask isn't the one that its log, a dict, was written with."""
        mask = self.mask(row)
        return "mask" in log and mask.is_file() and log["mask"] != files.short_hash(mask)

    def is_tried(self, row):
        """True when a scan is done, failed as it is now, or has a mask that was changed since."""
        log = files.recorded(self.run_paths.log(row.case))
        failed = origins.is_current(log, self.made_of(row) | {"outcome": "failed"})
        return failed or self.is_done(row) or self.is_changed(row, log)

    def log(self, case):
        """What was written about a case, a dict."""
        return files.read_json(self.run_paths.log(case))

    def opened(self, row):
        """(Volume, reference labels or None, predicted labels) of a row of cases.csv."""
        volume, reference = read_row(row)
        return volume, reference, read_mask(self.run_paths.prediction(row.case), volume)

    def example(self, rows):
        """(row, Volume as the cascade sees it) of the readable scan with most tumour.

        rows  of cases.csv. Raises ValueError, with what is wrong with each, when none can be read.
        """
        reasons = []
        for row in rows.sort_values("tumour_ml", ascending=False).itertuples():
            try:
                return row, with_likely_spacing(read_row_scan(row))
            except Exception as error:
                reasons.append(f"{row.case}: {in_words(error, row.image)}")
        raise ValueError(f"none of the {len(rows)} scans can be read; {'; '.join(reasons)}")

    def segment_all(self, rows):
        """Segment the rows of cases.csv that aren't done; returns case -> what is wrong with it."""
        waiting = [row for row in rows.itertuples() if not self.is_done(row)]
        errors = {row.case: self.segment(row) for row in progress(waiting, "scans", "scan")}
        return {case: message for case, message in errors.items() if message}

    def segment(self, row):
        """Segment a scan and write its files; returns "" or what is wrong with the scan.

        Raises OSError when nothing can be written: no other scan would fare better.
        """
        mask = self.mask(row)
        if self.is_changed(row, files.recorded(self.run_paths.log(row.case))):
            return (f"{mask}: was changed after it was written, perhaps corrected by hand; move it "
                    "away to have it made anew")
        mask.unlink(missing_ok=True)  # one of other rules isn't to be scored
        try:
            self.write(row, *self.segmented(row, self.read(row)))
        except Exception as error:  # whatever one scan does, it costs no other its mask
            if getattr(error, "errno", None) in (*files.FULL, errno.EROFS):
                raise
            message = in_words(error, row.image)
            log = {"case": row.case, "image": str(row.image), "outcome": "failed"}
            log |= {"sentence": message} | self.made_of(row)
            files.write_json(self.run_paths.log(row.case), log)
            return message
        return ""

    def segmented(self, row, scan):
        """(Volume, pipeline.Segmentation, its log as a dict) of a scan that was admitted."""
        volume = scan.volume
        if self.dicom_seg:
            dicom_seg.check(volume, self.run_paths.dicom_seg(row.case))
        result = pipeline.segment(volume, self.networks, self.rules, self.save_probabilities)
        learnt = origins.voxel_hash(volume.hu) in self.learnt
        remarks = [*scan.remarks, *scan.remarks_on(result.labels), *([LEARNT] if learnt else [])]
        log = {"case": row.case, "image": str(row.image), "learnt_from": learnt}
        return volume, result, log | {"remarks": remarks} | result.log.as_dict()

    def write(self, row, volume, result, log=None):
        """Write the files of a scan, its mask last; without a log none is written."""
        run_paths, case = self.run_paths, row.case
        maps = {organ: run_paths.probability(case, organ) for organ in ORGANS}
        if files.recorded(run_paths.log(case)).get("case") == case:  # of before
            for file in (run_paths.tta_std(case), run_paths.preview(case), *maps.values()):
                file.unlink(missing_ok=True)
        if self.save_probabilities and result.tta_std is not None:
            write_on_grid(result.tta_std, volume, run_paths.tta_std(case))
        for organ, probability in result.probability.items():
            write_on_grid(probability, volume, maps[organ])
        if self.draw:
            self.draw(volume, result.labels, case, run_paths.preview(case))
        if self.dicom_seg:
            made_of = {"weights": " ".join(self.origin["weights"]), "rules": self.origin["rules"]}
            dicom_seg.write(result.labels, volume, run_paths.dicom_seg(case), made_of)
        with files.written_whole(self.mask(row)) as beside:
            if names.is_picture(beside):
                pictures.write_labels(result.labels[0], beside)
            else:
                write_mask(result.labels, volume, beside)
            if log:
                log = log | self.made_of(row) | {"mask": files.short_hash(beside)}
                files.write_json(run_paths.log(case), log)


def check_table(folder):
    """Raise ValueError where predictions.csv of a runs.Folder is a table of somebody else."""
    table = folder.predictions / TABLE
    if not table.is_file():
        return
    with open(table, encoding="utf8", errors="replace") as lines:
        if not lines.readline().startswith("case,outcome,"):
            raise ValueError(f"{table}: is there already and no table of ours; choose another "
                             "folder for the masks")


def write_table(folder):
    """Write predictions.csv of a runs.Folder: a row for each case whose log lies beside it."""
    logs = map(files.recorded, sorted(folder.predictions.glob("*.json"), key=names.natural))
    rows = [log | {"seconds": log.get("seconds", {}).get("all"),
                   "remarks": " · ".join(log.get("remarks", []))}
            for log in logs if "outcome" in log]
    with (
        files.written_whole(folder.predictions / TABLE) as beside,
        open(beside, "w", encoding="utf8", newline="") as out,
    ):
        table = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
