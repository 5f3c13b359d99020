"""Whether a scan is fit to be segmented: what notebook 01 would quarantine isn't."""

from dataclasses import dataclass, field

from helpers.intake import checks, verdicts
from helpers.scans import pictures, reading
from helpers.scans.findings import FINDINGS
from helpers.scans.volume import Volume


@dataclass
class Admitted:
    """A scan that can be segmented, and what a person should know of it, a sentence each.

    hu_ends  (lowest, highest) HU, None where the values are no HU or weren't looked at.
    """

    volume: Volume
    remarks: list = field(default_factory=list)
    hu_ends: tuple | None = None

    def remarks_on(self, labels):
        """What only the predicted labels (z, y, x) show: does it lie as it should?"""
        if self.hu_ends is None:
            return []
        turned, _ = checks.orientation(self.volume, *self.hu_ends, labels)
        return [f"{FINDINGS[code][1]}: {detail}" for code, detail in turned]


def of_row(row):
    """The Admitted of a row of cases.csv, which notebook 01 has looked at."""
    return Admitted(reading.read_row_scan(row))


def admitted(case, window, channel):
    """The Admitted of a folder.Case; window and channel are of pictures, as `read_scan` takes them.

    Raises ValueError, with the words of notebook 01, for a scan that it would quarantine.
    """
    picture = case.layout == reading.ONE_PICTURE
    try:
        volume = (pictures.stack([case.image], window, channel) if picture
                  else reading.read_scan(case.image, window, channel, case.acquisition))
        findings, low, high, _ = verdicts.scan_findings(case, volume)
    except Exception as error:  # whatever a bad file makes a reader do
        findings = [verdicts.fault(error, case)]
    row = verdicts.judged({}, findings)
    if row["verdict"] == "quarantined":
        to_do = f"; what to do: {row['to_do']}" if row["to_do"] else ""
        raise ValueError(f"{source_of(case)}: {row['reason']}{to_do}")
    remarks = [verdicts.judged({}, [finding])["reason"] for finding in findings]
    in_hu = not verdicts.NOT_HU.intersection(code for code, _ in findings)
    return Admitted(volume, remarks, (low, high) if in_hu and not picture else None)


def source_of(case):
    """What a person knows a case by: its file, or the folder of a DICOM series."""
    return case.image.parent if case.layout == "DICOM" else case.image
