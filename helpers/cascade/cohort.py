"""Many scans through the cascade, a case's files at a time; what is there already, made of the same things, stays."""

import errno
from dataclasses import dataclass

from helpers import files, origins
from helpers.cascade import pipeline
from helpers.runs import Run
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
        hashes = [files.sha256(file)[:16] for file in self.weights]
        self.origin = {"rules": str(self.rules), "weights": hashes, "probabilities": self.save_probabilities}

    def files_of(self, case):
        """The files of a case, its mask last: a log with its mask beside it means that the case is done."""
        maps = [self.run_paths.probability(case, organ) for organ in ORGANS] if self.save_probabilities else []
        return [*maps, self.run_paths.log(case), self.run_paths.prediction(case)]

    def made_of(self, row):
        """What the files of a row of cases.csv are made of, as its log keeps it."""
        return {"origin": self.origin | {"bytes": row.bytes}}

    def is_done(self, row):
        """True when all files of a row are there, made of the same scan by the same networks and rules."""
        return origins.is_current(self.run_paths.log(row.case), self.made_of(row), self.files_of(row.case))

    def log(self, case):
        """What was written about a case, a dict."""
        return files.read_json(self.run_paths.log(case))

    def example(self, rows):
        """(row, Volume as the cascade sees it) of the scan with most tumour among those that can be read.

        rows  of cases.csv. Raises ValueError, with what is wrong with each, when none can be read.
        """
        reasons = []
        for row in rows.sort_values("tumour_ml", ascending=False).itertuples():
            try:
                return row, with_likely_spacing(read_row_scan(row))
            except (ValueError, OSError) as error:
                reasons.append(f"{row.case}: {error}")
        raise ValueError(f"none of the {len(rows)} scans can be read; {'; '.join(reasons)}")

    def segment(self, row):
        """Segment a row of cases.csv and write its files; returns "", or what was wrong with the scan.

        Raises OSError when nothing can be written: no other scan would fare better.
        """
        run_paths, case = self.run_paths, row.case
        run_paths.prediction(case).unlink(missing_ok=True)  # of other weights or rules: not to be scored as these
        try:
            volume = read_row_scan(row)
            result = pipeline.segment(volume, self.networks, self.rules, self.save_probabilities)
            for file in (run_paths.tta_std(case), *(run_paths.probability(case, organ) for organ in ORGANS)):
                file.unlink(missing_ok=True)
            if result.tta_std is not None:
                write_on_grid(result.tta_std, volume, run_paths.tta_std(case))
            for organ in result.probability:
                write_on_grid(result.probability[organ], volume, run_paths.probability(case, organ))
            files.write_json(run_paths.log(case), {"case": case} | self.made_of(row) | result.log.as_dict())
            write_mask(result.labels, volume, run_paths.prediction(case))
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            if getattr(error, "errno", None) in (*files.FULL, errno.EROFS):
                raise
            message = str(error) or "there is not enough memory"
            files.write_json(run_paths.log(case), {"case": case, "outcome": "failed", "sentence": message})
            return message
        return ""
