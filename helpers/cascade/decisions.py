"""What the cascade decided about a scan, in how many seconds, and the line that a person reads."""

import time
from dataclasses import asdict, dataclass, field

import psutil

from helpers.scans.findings import counted


@dataclass
class CascadeLog:
    """Every decision about one scan in plain values; as a context it turns NaN into an outcome.

    outcome      "ok", "no liver found" or "not a number"; error says whose NaN it was.
    spacing_mm   (z, y, x) that the rules went by; header_mm: what the file says.
    gate_slices  first slice that the gate kept and the one after the last; gate_probability: one a
                 slice, [] without a gate.
    roi          the region of interest, [[z0, z1], [y0, y1], [x0, x1]].
    *_slice_score    highest probability of each slice, the tumour's as the rules read it.
    adjacent_organs  what was cut off the liver, a dict each.
    specks       how many findings were too small for lesions.
    dropped      every finding that is no lesion, a dict each: its middle (slice, y, x), ml, reason.
    seconds      of each step, by its name, and "all" of them.
    """

    slices: int
    rules: dict
    spacing_mm: list
    header_mm: list
    outcome: str = "ok"
    error: str = ""
    gate_slices: list = (0, 0)
    gate_probability: list = field(default_factory=list)
    liver_slice_score: list = field(default_factory=list)
    tumour_slice_score: list = field(default_factory=list)
    liver_ml: float = 0.0
    liver_components: int = 0
    adjacent_organs: list = field(default_factory=list)
    roi: list | None = None
    lesions: int = 0
    specks: int = 0
    dropped: list = field(default_factory=list)
    tumour_ml: float = 0.0
    seconds: dict = field(default_factory=dict)

    def __post_init__(self):
        self.liver_slice_score, self.tumour_slice_score = [0.0] * self.slices, [0.0] * self.slices

    def __enter__(self):
        self._began = self._noted = time.perf_counter()
        return self

    def __exit__(self, kind, error, trace):
        self.seconds["all"] = round(time.perf_counter() - self._began, 2)
        if isinstance(error, FloatingPointError):
            self.outcome, self.error = "not a number", str(error)
            return True

    def note(self, step, **decisions):
        """A step is done: keep what it decided, and the seconds since the last note under its
        name.
        """
        unknown = decisions.keys() - vars(self).keys()
        if unknown:
            raise TypeError(f"the log has no {', '.join(sorted(unknown))}")
        vars(self).update(decisions)
        now = time.perf_counter()
        self.seconds[step], self._noted = round(now - self._noted, 3), now

    @property
    def gate_kept(self):
        """How many slices the gate let through."""
        return self.gate_slices[1] - self.gate_slices[0]

    @property
    def sentence(self):
        """One line that a person reads: what every step kept."""
        parts = [f"gate kept {self.gate_kept} of {counted(self.slices, 'slice')}"]
        if self.outcome != "ok":
            return "; ".join([*parts, self.outcome + (f" ({self.error})" if self.error else "")])
        count = self.liver_components
        largest = f" (largest of {count} components)" if count > 1 else ""
        organs_ml = sum(organ["volume_ml"] for organ in self.adjacent_organs)
        cut_off = f", {organs_ml:,.0f} ml of other organs cut off" if self.adjacent_organs else ""
        parts.append(f"liver {self.liver_ml:,.0f} ml{largest}{cut_off}")
        parts.append("region " + " × ".join(str(end - start) for start, end in self.roi))
        if self.spacing_mm != self.header_mm:
            z, y, x = self.spacing_mm
            parts.append(f"{x:g} × {y:g} × {z:g} mm a voxel, not 1 × 1 × 1 as its header says")
        removed = f", {self.specks} removed as too small" if self.specks else ""
        parts.append(f"{counted(self.lesions, 'lesion')}, {self.tumour_ml:,.1f} ml{removed}")
        return "; ".join(parts)

    def as_dict(self):
        """All of it for JSON, the sentence too."""
        return asdict(self) | {"gate_kept": self.gate_kept, "sentence": self.sentence}


def lap(spent, name):
    """Note under a name the seconds that this process has lived and that aren't in `spent`, a dict
    of seconds, yet.
    """
    spent[name] = time.time() - psutil.Process().create_time() - sum(spent.values())
