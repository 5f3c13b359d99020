"""Cascade Liver CT: what a notebook or a script of yours needs, by one import. Nothing is loaded
before it is asked for.

>>> from helpers import Run, plots, read_volume  # modules and what is asked for most, by name
>>> volume = read_volume("volume-3.nii.gz")
"""

import importlib
import os

# torch's threads wait for each other many times a step: where a core is busy with something else,
# they give theirs up after half a millisecond instead of spinning for fourteen
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("KMP_BLOCKTIME", "1")  # milliseconds, of the other OpenMP
# numpy would take memory in pages of 2 MB: a mask of few voxels took as much as a full one
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

__version__ = "0.2.0"

ROOMS = {
    "scans": "acquisitions affines boxes dicom dicom_seg findings folder grids hounsfield kinds "
             "label_meaning labels names nifti organs pictures planes reading series tags volume",
    "intake": "admission anatomy arrivals case_records case_table checks duplicates inputs masks "
              "phantom placement quality_control verdicts",
    "running": "inline jobs report_page run_parameters side_by_side steps",
    "slices": "lists patients pixels recipe splits store",
    "cascade": "architectures cohort decisions engines folders fused inference liver networks "
               "onnx_engine pipeline precision rules tumour unet_variants weights",
    "learning": "augmentation batches checkpoints examples fine_tuning global_batch losses machine "
                "plans schedules shapes sittings synthetic threads train_step training validation",
    "scoring": "attribution case_scores detection false_positives lesions mask_pairs "
               "matching metrics probabilities provenance run_scores sentences statistics summary",
    "looking": "case_pages figures lesion_charts measure_tables overlays plots preview report "
               "slice_panels viewer views",
    "comparing": "answers baselines benchmark disturbances nnunet race race_curve "
                 "race_entrants race_ours race_rules rule_trials sites timing transfer "
                 "trial_figures trial_scores trials",
}
NAMES = {
    "runs": "HERE Run",
    "scans.volume": "Volume read_volume write_mask",
    "scans.folder": "scan_folder",
    "scans.reading": "read_row read_scan",
    "scans.labels": "read_mask",
    "intake.case_table": "cases_of_split",
    "slices.pixels": "level",
    "slices.recipe": "Recipe",
    "slices.store": "Store",
    "cascade.networks": "SliceClassifier UNet",
    "cascade.weights": "TrainedNetwork load_networks load_weights note_voxels paths_of "
                       "save_weights",
    "cascade.liver": "clean_liver",
    "cascade.tumour": "keep_lesions",
    "cascade.rules": "Rules",
    "cascade.pipeline": "segment",
    "cascade.cohort": "Cohort",
    "learning.augmentation": "Augmentation",
    "learning.batches": "Batches",
    "learning.losses": "loss_named",
    "learning.train_step": "TrainStep",
}
_MODULES = {
    module: f"{room}.{module}" for room, modules in ROOMS.items() for module in modules.split()
}
_HOMES = {name: module for module, names in NAMES.items() for name in names.split()}


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"helpers.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"helpers.{_HOMES[name]}"), name)
    raise AttributeError(f"helpers has no {name!r}")


def __dir__():
    return sorted({*globals(), *_MODULES, *_HOMES})
