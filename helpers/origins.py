"""What a thing was made of, plain values and signatures of files, kept as JSON with it: is it
current, and if not, why?
"""

import csv
import json
import platform
import subprocess
import zlib
from pathlib import Path

import numpy as np

from helpers import files, runs
from helpers.processes import cores

HASHED_BYTES = 1 << 20  # of larger files size and time count


def plain(values):
    """Values as JSON keeps them: a tuple equals the list that it becomes."""
    return json.loads(json.dumps(values))


def differing(old, new):
    """Names under which two dicts of plain values differ: those of the new one, then those that
    only the old one has.
    """
    new = plain(new)
    names = [*new, *sorted(old.keys() - new.keys())]
    return [name for name in names if name not in old or name not in new or old[name] != new[name]]


def differences(old, new):
    """`differing` in words: ["size was 1, is 2"]; empty when nothing differs."""
    return [f"{name} was {old.get(name)!r}, is {plain(new).get(name)!r}"
            for name in differing(old, new)]


def is_current(record, made_of, whole=()):
    """True when a record holds each value of `made_of` under its name, and all files of `whole` are
    there.

    record  a dict, or the JSON file that holds it; it may hold other names too.
    """
    record = record if isinstance(record, dict) else files.recorded(record)
    noted = {name: record[name] for name in made_of if name in record}
    same = bool(record) and not differing(noted, made_of)
    return same and all(Path(file).is_file() for file in whole)


def remembered(file, made_of, make):
    """make(), a dict of plain values, kept in `file`; made anew when `made_of`, the values that it
    depends on, changes.
    """
    if not is_current(file, {"made_of": made_of}):
        files.write_json(file, {"made_of": made_of, "result": make()})
    return files.recorded(file)["result"]


def signature(path):
    """What changes when a file's or a folder's content does.

    Lists and other files under 1 MB are hashed, so that writing the same list again changes
    nothing; of larger ones size and time count. A folder gives a dict of its files, links followed,
    whose time of change and inode count too: they distinguish a file that was put in place of
    another of the same size and with its time.
    """
    path = Path(path)
    if path.is_dir():
        return {p.relative_to(path).as_posix(): files.file_signature(p)
                for p in sorted(files.files_below(path))}
    if not path.exists():
        return "missing"
    stat = path.stat()
    return (files.short_hash(path) if stat.st_size < HASHED_BYTES
            else f"{stat.st_size}-{stat.st_mtime_ns}")


def changes(path, old, new):
    """How two `signature`s of a path differ, a sentence a file: "scans/b.nii is new"."""
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [f"{path} has changed"]
    kinds = {(False, True): "is new", (True, False): "is gone", (True, True): "has changed"}
    return shortened([f"{path}/{name} {kinds[name in old, name in new]}"
                      for name in sorted(differing(old, new))])


def shortened(sentences):
    """At most five: of more the first four, and how many follow."""
    return sentences if len(sentences) < 6 else [*sentences[:4], f"… and {len(sentences) - 4} more"]


def voxel_hash(hu):
    """A short checksum of a scan's voxels int16 (z, y, x) and their shape, whatever its file."""
    return f"{zlib.crc32(np.ascontiguousarray(hu), zlib.crc32(repr(hu.shape).encode())):08x}"


def hashes_of(cases_csv, cases):
    """The voxel hashes that notebook 01 found of some cases, sorted: what a card keeps of the scans
    that its weights learnt from, to know them again under other names and in other formats.
    """
    with open(cases_csv, encoding="utf8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return sorted({row.get("voxels", "") for row in rows if row["case"] in cases} - {""})


def processor():
    """The processor's name and its cores: "AMD EPYC 7R13, 2 cores"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {cores()} cores"


def commit():
    """The commit of this copy, "-dirty" after it when files were changed since; empty where there
    is no git.
    """
    words = ["git", "-C", str(runs.HERE), "describe", "--always", "--dirty"]
    words += ["--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
