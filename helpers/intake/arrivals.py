"""Scans that arrive in a watched folder: those whose files have stopped changing."""

from helpers import files
from helpers.intake.inputs import keep_names
from helpers.scans.folder import scan_folder

MANY_FILES = ("DICOM", "2-D slices")  # layouts of scans whose folder has to be quiet


class Arrivals:
    """What has arrived whole in a folder; asked again and again.

    name_of  as `inputs.keep_names` takes it: a scan keeps its name, whatever comes beside it.
    """

    def __init__(self, folder, name_of=None):
        self.folder, self.before, self.cases, self.was_quiet = folder, {}, [], False
        self.name_of = name_of or {}

    def whole(self):
        """The cases none of whose files has changed since the last call, in which none is new or
        gone: none at the first call.
        """
        now = {path: files.file_signature(path) for path in files.files_below(self.folder)}
        changing = {path for path in now.keys() | self.before.keys()
                    if self.before.get(path) != now.get(path)}
        if changing or not self.was_quiet:  # what a half-written file is shows when it is whole
            self.cases = self._cases() if now else []
        self.before, self.was_quiet = now, not changing
        busy = {path.parent for path in changing}
        return [case for case in self.cases
                if case.image not in changing
                and not (case.layout in MANY_FILES and case.image.parent in busy)]

    def _cases(self):
        try:
            cases = scan_folder(self.folder)[0]
        except ValueError:  # no scan yet
            return []
        return keep_names(cases, self.name_of)
