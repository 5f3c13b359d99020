"""What the doctor knows already, a file per case: an intake goes on where it stopped, and reads again only what changed."""

import hashlib
import json

from helpers import paths, readers


def files_of(case):
    """The files that a case is read from, those of its mask last; a path that leads nowhere stands for itself."""
    parts = filter(None, (case.image, case.mask))
    return [file for path in parts for file in (readers.files_of(path) if path.is_file() else [path])]


def fingerprint(case, how, known=()):
    """A short hash of the bytes of a case's files and of how they are read: it changes when any of them does.

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
        return paths.sha256(file)
    except OSError as error:
        return f"-{type(error).__name__}"


def signs(case):
    """dict file -> `paths.signs` of it, for all files of a case."""
    return {paths.shown(file): paths.signs(file) for file in files_of(case)}


def kept(folder, case, settings, how):
    """What was found out about a case, when neither its bytes nor the settings have changed since; None otherwise.

    As long as the signs of its files are the same they are not read. Where a sign differs the bytes are hashed: a scan that
    was only copied or touched isn't examined again.
    """
    record, now = read(folder, case, settings), signs(case)
    if record is None or record["signs"] == now:
        return record and record["result"]
    if record["signs"].keys() != now.keys() or fingerprint(case, how) != record["bytes"]:
        return None
    paths.write_json(_record(folder, case), record | {"signs": now})
    return record["result"]


def read(folder, case, settings):
    """The record of a case with these settings, or None; a damaged one counts as none."""
    try:
        record = paths.read_json(_record(folder, case))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("settings") == settings else None


def keep(folder, case, settings, before, result):
    """Write a case's result; `before` are the signs of its files before they were read."""
    record = {"settings": settings, "bytes": result[0]["bytes"], "signs": before, "result": result}
    paths.write_json(_record(folder, case), record)


def _record(folder, case):
    return folder / f"{case.name}.json"
