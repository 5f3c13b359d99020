"""What notebook 01 found in a case, kept until its files or the settings change."""

import hashlib
import json

from helpers import files, origins, runs
from helpers.scans import reading


def files_of(case):
    """The files that a case is read from, those of its mask last."""
    return [*_beside(case.image), *(_beside(case.mask, mask=True) if case.mask else [])]


def _beside(path, mask=False):
    """The files that are read with this one; itself where they can't be listed."""
    try:
        return reading.files_of(path, mask) if path.is_file() else [path]
    except Exception:  # whatever a bad file makes a reader do
        return [path]


def fingerprint(case, how, known=()):
    """A short hash of the bytes of a case's files and of how they are read.

    how    settings that change the voxels: the flips, and of pictures window and channel.
    known  dict path -> hex digest, for files that have been read already.
    """
    together = hashlib.sha256(json.dumps(how).encode())
    for file in files_of(case):
        together.update((known[file] if file in known else _digest(file)).encode())
    return together.hexdigest()[:16]


def _digest(file):
    if not file.is_file():
        return "-no file"
    try:
        return files.sha256(file)
    except OSError as error:
        return f"-{type(error).__name__}"


def signatures(case):
    """dict file -> `files.file_signature` of it, for all files of a case."""
    return {runs.relative(file): files.file_signature(file) for file in files_of(case)}


def recall(folder, case, settings, how=None):
    """The result that was kept of a case, when neither its bytes nor the settings have changed
    since; None otherwise.

    how   as in `fingerprint`: where a signature differs the bytes are hashed, so that a scan that
          was only copied or touched isn't examined again. None doesn't read them: other signatures
          are a change.
    """
    record, now = files.recorded(record_of(folder, case)), signatures(case)
    if not origins.is_current(record, {"settings": settings}):
        return None
    if not origins.is_current(record, {"signatures": now}):
        if (how is None or record["signatures"].keys() != now.keys()
            or record["bytes"] != fingerprint(case, how)):
            return None
        files.write_json(record_of(folder, case), record | {"signatures": now})
    return record["result"]


def keep(folder, case, settings, before, result):
    """Write a case's result; `before` are the signatures of its files before they were read."""
    made_of = {"settings": settings, "bytes": result[0]["bytes"], "signatures": before}
    files.write_json(record_of(folder, case), made_of | {"result": result})


def record_of(folder, case):
    """Where the result of a case is kept."""
    return folder / f"{case.name}.json"
