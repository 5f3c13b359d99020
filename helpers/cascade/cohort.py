"""Many scans through the cascade; what is there already, made of the same things, stays."""

import errno
from dataclasses import dataclass

from helpers import files, origins
from helpers.cascade import pipeline
from helpers.processes import progress
from helpers.runs import Run
from helpers.scans.findings import in_words
from helpers.scans.reading import read_row_scan
from helpers.scans.volume import with_likely_spacing, write_mask, write_on_grid

ORGANS = ("liver", "tumour")


@dataclass
class Cohort:
    """Scans of a run, the networks and the rules that segment them, and where the results go.

    weights             paths of the networks' files.
    save_probabilities  True also writes what the networks said.
    """

    run_paths: Run
    networks: dict
    weights: list
    rules: pipeline.Rules
    save_probabilities: bool

    def __post_init__(self):
        hashes = [files.short_hash(file) for file in self.weights]
        self.origin = {"rules": str(self.rules), "weights": hashes}
        self.origin["probabilities"] = self.save_probabilities

    def files_of(self, case):
        """The files of a case, its mask last: where it is, the case is done."""
        organs = ORGANS if self.save_probabilities else ()
        maps = [self.run_paths.probability(case, organ) for organ in organs]
        return [*maps, self.run_paths.log(case), self.run_paths.prediction(case)]

    def made_of(self, row):
        """What the files of a row of cases.csv are made of, as its log keeps it."""
        return {"origin": self.origin | {"bytes": row.bytes}}

    def is_done(self, row):
        """True when all files of a row are there, of the same scan, networks and rules."""
        log = self.run_paths.log(row.case)
        return origins.is_current(log, self.made_of(row), self.files_of(row.case))

    def log(self, case):
        """What was written about a case, a dict."""
        return files.read_json(self.run_paths.log(case))

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
        """Segment a row of cases.csv and write its files; returns "" or what is wrong with the
        scan.

        Raises OSError when nothing can be written: no other scan would fare better.
        """
        run_paths, case = self.run_paths, row.case
        run_paths.prediction(case).unlink(missing_ok=True)  # one of other rules isn't to be scored
        try:
            volume = read_row_scan(row)
            result = pipeline.segment(volume, self.networks, self.rules, self.save_probabilities)
            maps = [run_paths.probability(case, organ) for organ in ORGANS]
            for file in (run_paths.tta_std(case), *maps):
                file.unlink(missing_ok=True)
            if result.tta_std is not None:
                write_on_grid(result.tta_std, volume, run_paths.tta_std(case))
            for organ in result.probability:
                write_on_grid(result.probability[organ], volume, run_paths.probability(case, organ))
            log = {"case": case} | self.made_of(row) | result.log.as_dict()
            files.write_json(run_paths.log(case), log)
            write_mask(result.labels, volume, run_paths.prediction(case))
        except Exception as error:  # whatever one scan does, it costs no other its mask
            if getattr(error, "errno", None) in (*files.FULL, errno.EROFS):
                raise
            message = in_words(error, row.image)
            log = {"case": case, "outcome": "failed", "sentence": message}
            files.write_json(run_paths.log(case), log)
            return message
        return ""
