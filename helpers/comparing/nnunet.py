"""nnU-Net 2-D beside ours: its trainer as an entrant of the race, its predictor for the speed."""

import os
import shutil

import nibabel as nib
import numpy as np
import torch

from helpers import files, origins
from helpers.comparing import race_entrants
from helpers.scans import reading
from helpers.scans.volume import in_our_axes, write_on_grid

LABELS = {"background": 0, "liver": 1, "tumour": 2}
DATASET = {"channel_names": {"0": "CT"}, "labels": LABELS, "file_ending": ".nii.gz"}
NUMBER, NAME = 3, "Dataset003_Liver"


class Entrant:
    """nnU-Net's own 2-D plans, preprocessing, augmentation, network, loss and optimiser.

    It has what the race asks of an entrant, as `race_entrants.Entrant` has it.

    folder  where its raw, preprocessed and result folders are, made once.
    rows    rows of cases.csv to learn from.
    Its rate falls to 0 over the race as it usually does over 1,000 epochs, whose sequence is kept
    and whose length is not.
    """

    start = "random weights"

    def __init__(self, folder, rows):
        plans = prepared(folder, rows)
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        self.seed(0)
        os.environ |= {"nnUNet_n_proc_DA": "0"}  # no workers: they would outlive a killed race
        plans = plans | {"continue_training": False}
        dataset = DATASET | {"numTraining": len(rows)}
        self.trainer = nnUNetTrainer(plans, "2d", "all", dataset, torch.device("cpu"))
        self.trainer.on_train_start()

    def seed(self, steps):
        """Seed what it draws by, anew after a pause: not the first patches over again."""
        self.steps = steps
        torch.manual_seed(race_entrants.SEED + steps)
        np.random.seed(race_entrants.SEED + steps)

    def step(self, share):
        trainer = self.trainer
        self.steps += 1
        trainer.network.train()
        trainer.lr_scheduler.step(min(int(share * trainer.num_epochs), trainer.num_epochs - 1))
        return float(trainer.train_step(next(trainer.dataloader_train))["loss"])

    def predict(self, volume):
        """Labels uint8 (z, y, x); of one view, as all in the race predict: four would take
        longer.
        """
        trainer = self.trainer
        predictor = predictor_of(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            trainer.dataset_json,
            trainer.inference_allowed_mirroring_axes,
        )
        trainer.set_deep_supervision_enabled(False)
        trainer.network.eval()
        properties = {"spacing": list(volume.spacing_mm)}
        labels = predictor.predict_single_npy_array(volume.hu[None].astype(np.float32), properties)
        trainer.set_deep_supervision_enabled(True)
        return race_entrants.with_one_liver(labels.astype(np.uint8))

    def state_dict(self):
        network, optimiser = self.trainer.network.state_dict(), self.trainer.optimizer.state_dict()
        return {"network": network, "optimiser": optimiser, "steps": self.steps}

    def load_state_dict(self, state):
        self.trainer.network.load_state_dict(state["network"])
        self.trainer.optimizer.load_state_dict(state["optimiser"])
        self.seed(state["steps"])


def prepared(folder, rows):
    """Write cases as nnU-Net wants them, plan and preprocess them, once; returns its plans.

    Sets the environment variables by which nnU-Net finds its folders. Raises ModuleNotFoundError
    where it isn't installed.
    """
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    raw, done = folder / "raw" / NAME, folder / "done.json"
    plans = folder / "preprocessed" / NAME / "nnUNetPlans.json"
    made_of = {"cases": dict(zip(rows.case, rows.bytes, strict=True))}
    if not origins.is_current(done, made_of):
        shutil.rmtree(folder, ignore_errors=True)
        for row in rows.to_dict("records"):
            volume, labels = reading.read_row(row)
            grid = in_our_axes(volume.hu, volume.spacing_mm)
            write_on_grid(volume.hu, grid, raw / "imagesTr" / f"{row['case']}_0000.nii.gz")
            write_on_grid(labels, grid, raw / "labelsTr" / f"{row['case']}.nii.gz")
        files.write_json(raw / "dataset.json", DATASET | {"numTraining": len(rows)})
        api.extract_fingerprints([NUMBER], num_processes=1)
        api.plan_experiments([NUMBER])
        api.preprocess([NUMBER], configurations=["2d"], num_processes=[1])
        files.write_json(done, made_of)
    return files.read_json(plans)


def predictor_of(network, plans, configuration, dataset, mirror_axes, mirror=False):
    """nnU-Net's own predictor with a network's weights; `mirror` predicts four views of a slice."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    made_of = network, plans, configuration, [network.state_dict()], dataset
    predictor.manual_initialization(*made_of, "nnUNetTrainer", mirror_axes)
    return predictor


def predict_untrained(scan, out, mirror):
    """nnU-Net's untrained 2-D configuration for LiTS through its own predictor, file to file."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    header = nib.load(scan).header
    spacing = [float(mm) for mm in header.get_zooms()]
    manager = PlansManager(plans_2d(header.get_data_shape(), spacing))
    configuration = manager.get_configuration("2d")
    names = ("class_name", "init_kwargs", "init_kwargs_req_import")
    architecture = [getattr(configuration, f"network_arch_{name}") for name in names]
    network = get_network_from_plans(*architecture, 1, len(LABELS), deep_supervision=False)
    predictor = predictor_of(network, manager, configuration, DATASET, (0, 1), mirror)
    predictor.predict_from_files_sequential([[str(scan)]], [str(out).removesuffix(".nii.gz")])


def plans_2d(shape_xyz, spacing_xyz):
    """nnU-Net's plans for whole slices of this size, with the network that it plans for LiTS.

    The network has eight levels, from 32 channels.
    """
    levels = min(8, int(np.log2(min(shape_xyz[:2]))) - 1)
    network = {
        "n_stages": levels,
        "features_per_stage": [min(512, 32 * 2**k) for k in range(levels)],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * levels,
        "strides": [[1, 1]] + [[2, 2]] * (levels - 1),
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": network,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    planned = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 12,
        "patch_size": [n - n % 2 ** (levels - 1) for n in shape_xyz[1::-1]],
        "median_image_size_in_voxels": list(shape_xyz[1::-1]),
        "spacing": spacing_xyz[1::-1],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": True,
        "architecture": architecture,
    }
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    changed = {"data": {"order": 3}, "seg": {"is_seg": True}, "probabilities": {}}
    for what, changes in changed.items():
        planned[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        planned[f"resampling_fn_{what}_kwargs"] = linear | changes
    grey = {"mean": 100.0, "median": 100.0, "std": 40.0, "min": -1000.0, "max": 3000.0}
    grey |= {"percentile_00_5": -20.0, "percentile_99_5": 200.0}
    return {
        "dataset_name": NAME,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIO",
        "original_median_spacing_after_transp": spacing_xyz[::-1],
        "original_median_shape_after_transp": list(shape_xyz[::-1]),
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": planned},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": grey},
    }
