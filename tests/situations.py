"""What goes wrong around an intake or a prediction besides the files; `SITUATIONS` does each, and says what is seen."""

import contextlib
import io
import os
import subprocess
import sys
import time
from unittest import mock

import numpy as np
from conftest import command
from corpus import Place

from helpers import predict, run, runs
from helpers.intake import case_table, quality_control
from helpers.scans.folder import cases_in
from helpers.slices import patients

SITUATIONS = []  # functions (root) -> (exit codes as text, what a person sees, True when all is as it should be)


def situation(done, needs_mount=False):
    def note(function):
        function.done, function.needs_mount = done, needs_mount
        SITUATIONS.append(function)
        return function

    return note


class Disk:
    """A disk of its own at a folder, which root may mount."""

    def __init__(self, folder, size):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.size = folder, size

    def __enter__(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", self.folder], check=True, capture_output=True)
        return self

    def grow(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    def fill(self):
        with open(self.folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], check=True)


def can_mount(root):
    with contextlib.suppress(OSError, subprocess.CalledProcessError), Disk(root / "try", "1m"):
        return True
    return False


def sound(folder, numbers=range(1, 7)):
    for number in numbers:
        Place(folder / str(number), number).save()
    return folder


def intake(root, data, *words):
    """`helpers.run --only 01` or more on a folder; returns the finished process."""
    return command(root, "helpers.run", "--run", "r", "--data", data, *(words or ("--only", "01")))


def half_files(*folders):
    """Files that can't be whole: temporary ones, and those of the kinds that a reader chokes on."""
    return [path for folder in folders for path in folder.rglob("*") if ".part." in path.name or path.name.endswith(".tmp")]


def last_line(text, words=""):
    return next((line for line in reversed(text.splitlines()) if words in line), "")


def refused(main, words):
    """Call a command in this process; returns (exit code, what it printed on stderr)."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        code = main([str(word) for word in words])
    return code, err.getvalue().strip()


@situation("a folder in which every case is bad")
def only_bad(root):
    place = Place(root / "scans", 3)
    place.change(place.image, lambda data: data[:-99])
    done = intake(root, root / "scans")
    seen = last_line(done.stderr, "quarantined")
    table = case_table.read_table(root / "data_lists" / "r" / "cases.csv")
    held = done.returncode == 1 and "volume-3.nii.gz" in seen and "download it again" in seen and len(table) == 1
    return "1", seen, held and not half_files(root)


@situation("an empty folder, a folder of other things, a file for a folder, a folder that isn't there")
def nothing_to_read(root):
    (root / "empty").mkdir()
    (root / "other").mkdir()
    (root / "other" / "notes.txt").write_text("see you")
    (root / "other" / "scan.nrrd").write_text("NRRD")
    (root / "file.nii.gz").write_bytes(b"")
    before = sorted(root.rglob("*"))
    said = [refused(run.main, ["--run", "r", "--data", root / name]) for name in ("empty", "other", "file.nii.gz", "nowhere")]
    named = all(name in text for name, (_, text) in zip(("empty", "scan.nrrd", "file.nii.gz", "nowhere"), said, strict=True))
    return "2", said[1][1], {code for code, _ in said} == {2} and named and sorted(root.rglob("*")) == before


@situation("`--data` with `..` in it")
def dotted(root):
    sound(root / "scans", [1])
    asked = run.asked(["--run", "r", "--only", "01", "--data", str(root / "scans" / ".." / "scans")])
    (job,) = run.planned(asked, runs.Run("r"))
    return "–", f"data={job.parameters['data']}".replace(str(root), "…"), ".." not in job.parameters["data"]


@situation("the disk is full while 01 writes; then there is room", needs_mount=True)
def full_disk(root):
    data = sound(root / "scans", [1, 2])
    with Disk(root / "own", "1m") as disk:
        (disk.folder / "data_lists").mkdir()
        disk.fill()
        done = intake(disk.folder, data)
        seen = last_line(done.stderr, "No space left")
        held = done.returncode == 1 and "make room" in seen and not half_files(disk.folder)
        held &= not (disk.folder / "reports" / "r" / "stages" / "01_exploration.json").exists()
        (disk.folder / "filler").unlink()
        disk.grow("50m")
        again = intake(disk.folder, data)
        held &= again.returncode == 0 and len(case_table.read_table(disk.folder / "data_lists" / "r" / "cases.csv")) == 2
    return "1, then 0", seen, held


@situation("the disk is full while `helpers.predict` writes", needs_mount=True)
def full_disk_for_a_mask(root):
    scan = Place(root / "scans", 1).save()
    with Disk(root / "own", "64k") as disk:
        disk.fill()
        code, seen = refused(predict.main, [scan, "--run", "known", "-o", disk.folder / "mask.nii"])
        held = code == 1 and "mask.nii" in seen and "make room" in seen
        return "1", seen, held and sorted(p.name for p in disk.folder.iterdir()) == ["filler"]


@situation("`helpers.predict -o` names a folder")
def folder_for_a_mask(root):
    (root / "mask.nii.gz").mkdir()
    code, seen = refused(predict.main, [Place(root / "scans", 1).save(), "--run", "known", "-o", root / "mask.nii.gz"])
    return "2", seen, code == 2 and "mask.nii.gz: is a folder; name the file" in seen and not half_files(root)


@situation("cases.csv was emptied, or cut by another program")
def emptied_table(root):
    lists = root / "data_lists" / "r"
    lists.mkdir(parents=True)
    said = []
    for text in ("", "case;verdict\nvolume-1;ok\n"):
        (lists / "cases.csv").write_text(text)
        try:
            case_table.read_table(lists / "cases.csv")
        except ValueError as error:
            said.append(str(error))
    return "1", said[-1] if said else "", len(said) == 2 and all("cases.csv" in s and "run 01" in s for s in said)


def refused_groups(root, listed, cases, encoding="utf8"):
    """What `patient_groups` says of a groups_csv with these names, each of the patient p."""
    (root / "groups.csv").write_bytes("".join(["case,group\n", *(f"{name},p\n" for name in listed)]).encode(encoding))
    try:
        return str(patients.patient_groups(cases, root / "groups.csv"))
    except ValueError as error:
        return f"refused: {error}"


@situation("groups_csv without the leading zeros that a spreadsheet took")
def groups_without_zeros(root):
    seen = refused_groups(root, ["7", "8"], ["007", "008", "009"])
    return "–", seen, "'7' (perhaps '007'), '8' (perhaps '008')" in seen


@situation("groups_csv with a slip in a name")
def groups_with_a_slip(root):
    seen = refused_groups(root, ["livre_3", "liver_4"], ["liver_3", "liver_4"])
    return "–", seen, "'livre_3' (perhaps 'liver_3')" in seen


@situation("groups_csv in Windows' encoding, with umlauts")
def groups_in_cp1252(root):
    seen = refused_groups(root, ["Müller", "Jäger"], ["Müller", "Jäger"], "cp1252")
    return "–", seen, seen == "{'Müller': 'p', 'Jäger': 'p'}"


@situation("01 in a terminal that knows ASCII only, where another Python's kernel is registered")
def poor_terminal(root):
    kernel = root / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text('{"argv": ["/usr/bin/false", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}')
    env = os.environ | {"CASCADE_LIVER_ROOT": str(root), "PYTHONIOENCODING": "ascii", "JUPYTER_PATH": str(root / "jupyter")}
    words = [sys.executable, "-m", "helpers.run", "--run", "r", "--data", sound(root / "scans", [1, 2]), "--only", "01"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    return done.returncode, last_line(done.stdout, "cases: "), done.returncode == 0 and "2 cases: 2 ok" in done.stdout


@situation("`helpers.predict -o` where nothing can be written")
def nowhere_to_write(root):
    code, seen = refused(predict.main, [Place(root / "scans", 1).save(), "--run", "known", "-o", "/proc/mask.nii.gz"])
    return code, seen, code == 1 and "/proc/mask.nii.gz" in seen and "choose another folder" in seen


@situation("a virus scanner denies the rename of a mask once, and the disk can't flush")
def denied_once(root):
    denials = [PermissionError(13, "Permission denied"), OSError(22, "Invalid argument")]

    def once(real, error):
        def call(*words):
            if error in denials:
                denials.remove(error)
                raise error
            return real(*words)

        return call

    with mock.patch("os.replace", once(os.replace, denials[0])), mock.patch("os.fsync", once(os.fsync, denials[1])):
        code, seen = refused(predict.main, [Place(root / "scans", 1).save(), "--run", "known", "-o", root / "mask.nii.gz"])
    return code, seen or "wrote the mask", code == 0 and not denials and (root / "mask.nii.gz").is_file() and not half_files(root)


@situation("two processes at once on one run: 01 and 02")
def two_at_once(root):
    data = sound(root / "scans")
    env = os.environ | {"CASCADE_LIVER_ROOT": str(root)}
    words = [sys.executable, "-m", "helpers.run", "--run", "r", "--data", data, "--only", "01,02", "--set", "val_share=0.2",
             "test_share=0.2", "chunk_slices=64"]  # fmt: skip
    both = []
    for _ in range(2):
        both.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        time.sleep(0.3)
    texts = [process.communicate()[0] for process in both]
    codes = [process.returncode for process in both]
    single, *_ = quality_control.examine_all(cases_in(data), workers=1)
    table = case_table.read_table(root / "data_lists" / "r" / "cases.csv")
    held = set(codes) <= {0, 1, 75} and 0 in codes and table.equals(case_table.table(single))
    again = command(root, *words[2:])  # whatever happened, the run is whole, or made whole by the same command
    held &= again.returncode == 0 and not half_files(root) and stores_are_whole(root / "data" / "stores" / "r")
    return f"{codes[0]} and {codes[1]}", last_line(texts[codes.index(max(codes))], ": "), held


def stores_are_whole(folder):
    names = [path.name.removesuffix(".json") for path in (folder / "liver").glob("*.json")]
    return len(names) == 6 and all(np.load(folder / "liver" / f"{name}.image.npy").any() for name in names)
