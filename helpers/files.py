"""Files that are written whole or not at all, what lies below a folder, and by what a change of a
file shows.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from helpers import together

FULL = (errno.ENOSPC, errno.EDQUOT)  # what an OSError of a full disk says
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)  # of a disk that can't flush
NO_TEXT = re.compile("[\ud800-\udfff]")  # bytes of a name that Python couldn't decode
PATIENCE_S = 4.0  # for how long a rename that is denied is tried again


def files_below(folder, closed=lambda error: None):
    """Every file below a folder but hidden ones; linked folders are followed, each folder is
    visited once.

    closed  called with the OSError of a folder that can't be opened; with one of errno EILSEQ for
            files and folders whose name is no text: no list, log or message could hold them.
    """
    visited = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=closed):
        if (real := os.path.realpath(parent)) in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add(real)
        for name in filter(not_text, [*folders, *files]):
            closed(OSError(errno.EILSEQ, "its name is no UTF-8", os.path.join(parent, name)))
        folders[:] = [name for name in folders if not (name.startswith(".") or not_text(name))]
        yield from (Path(parent, name) for name in files
                    if not (name.startswith(".") or not_text(name)))


def not_text(name):
    """True for a file's name whose bytes are no text: Python keeps them as halves of characters."""
    return NO_TEXT.search(str(name)) is not None


def as_text(name):
    """A name that can be printed and written: bytes that are no text become \\xff."""
    return os.fsencode(name).decode(errors="backslashreplace") if not_text(name) else str(name)


@contextlib.contextmanager
def written_whole(path):
    """Give a temporary path beside `path`; on leaving, flush it to disk and rename it, or remove it
    after an error.

    The temporary name keeps the suffixes (".nii.gz"), because writers choose the format by them,
    and says which process writes it, so that `remove_leftovers` knows the files of killed ones.
    Of processes that train together the first alone writes.
    """
    path = Path(path)
    if together.rank():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part.{path.name}")
    try:
        yield beside
        _flush(beside, os.O_RDWR)
        _put_in_place(beside, path)
        # the file is whole; Windows and some network drives can't flush a folder
        with contextlib.suppress(OSError):
            _flush(path.parent, os.O_RDONLY)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        full = "; make room, then run again" if error.errno in FULL else ""
        raise OSError(error.errno, f"{error.strerror}{full}", str(path)) from error
    finally:
        with contextlib.suppress(PermissionError):  # who holds it open lets it go some time
            beside.unlink(missing_ok=True)


def _flush(path, mode):
    """Have what is written go to the disk, where the disk can be asked to."""
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(handle)


def _put_in_place(beside, path):
    """Rename a finished file. Windows denies it while a virus scanner, an indexer or a viewer holds
    one of the two open: it is tried for PATIENCE_S.
    """
    wait = 0.05
    while True:
        try:
            return os.replace(beside, path)
        except PermissionError:
            if wait > PATIENCE_S / 2:
                raise
            time.sleep(wait)
            wait *= 2


def check_writable(path):
    """Raise OSError, naming it, when no file can be written at `path`: for before the work.

    A file is written to its folder, or where there is none yet to the next above, and removed.
    """
    path = Path(path).absolute()
    folder = next(folder for folder in path.parents if folder.exists())
    trial = folder / f".{os.getpid()}-{secrets.token_hex(4)}.part.trial"
    try:
        trial.write_bytes(b"")
    except OSError as error:
        advice = "make room, then run again" if error.errno in FULL else "choose another folder"
        raise OSError(error.errno, f"{error.strerror}; {advice}", str(path)) from error
    with contextlib.suppress(OSError):
        trial.unlink(missing_ok=True)


def remove_leftovers(folder):
    """Remove the temporary files in a folder whose processes were killed while writing them;
    returns their names.
    """
    leftovers = []
    for file in Path(folder).glob(".*-*.part.*"):
        process = file.name[1:].partition("-")[0]
        if process.isdigit() and (int(process) == os.getpid()
                                  or not psutil.pid_exists(int(process))):
            file.unlink(missing_ok=True)
            leftovers.append(file.name)
    return leftovers


def link(source, target):
    """Give a file a second name, or copy it where the disk has no links."""
    try:
        # there at once and whole, so nothing is flushed: it is done for thousands of files
        os.link(source, target)
    except OSError:
        with written_whole(target) as beside:
            shutil.copyfile(source, beside)


def write_text(path, text):
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf8"))


def recorded(file):
    """The dict that a JSON file holds; an empty one where there is no such file, or a damaged
    one.
    """
    try:
        record = read_json(file)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_csv(path, frame):
    """Write a pandas DataFrame without its index."""
    with written_whole(path) as beside:
        frame.to_csv(beside, index=False)


def file_signature(path):
    """Size, times and inode of a file as text, "missing" for none.

    The time of change (ctime) and the inode differ for a file that was put in place of another,
    even one of the same size whose time of modification was copied with it (`cp -p`, `rsync -t`).
    """
    try:
        stat = os.stat(path)
    except OSError:  # also a link that leads nowhere
        return "missing"
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def sha256(path):
    """Hex digest of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def short_hash(path):
    """The first 16 digits of `sha256`: what settings, cards and stamps keep of a file."""
    return sha256(path)[:16]
