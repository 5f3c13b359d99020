"""Other ways to train and to predict, beside ours, for notebook 08: the usual loop, MONAI's pipeline, nnU-Net's predictor."""

import numpy as np
import torch

from helpers import batches, losses, networks


def learning(network, batch_of, half=False, layout=torch.contiguous_format, averaged=False, fused=None):
    """A function of the step number that makes a batch and learns from it, and gives the loss; as notebook 04 does it.

    batch_of  function of the step that gives (image float32 (B, C, H, W), target int64 (B, 1, H, W)).
    half      True computes in bfloat16 where autocast does; `averaged` True keeps the moving average too.
    """
    network = network.to(memory_format=layout).train()
    kept = networks.averaged(network, 0.99) if averaged else None
    optimiser = torch.optim.AdamW(network.parameters(), 0.002, weight_decay=0.01, fused=fused)
    loss_of = losses.loss_named("bce+dice")

    def step(k):
        image, target = batch_of(k)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            said = network(image.contiguous(memory_format=layout))
        loss = loss_of(said, target)
        loss.backward()
        optimiser.step()
        if averaged:
            kept.update_parameters(network)
        return float(loss.detach())

    return step


def write_slices(store, rows, neighbours, folder):
    """Write slices as others keep them, an .npy for each image float32 (C, H, W) and mask uint8 (1, H, W).

    rows     DataFrame case, z of slices in `store`.
    returns  list of dicts with the two files, "image" and "mask".
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, row in enumerate(rows.itertuples()):
        k = row.z - store.first_z(row.case)
        planes = batches.stacked(store.image(row.case), k, neighbours)
        item = {part: str(folder / f"{number:05d}-{part}.npy") for part in ("image", "mask")}
        np.save(item["image"], planes.astype(np.float32) / 255)
        np.save(item["mask"], (store.mask(row.case)[k] >= 1).astype(np.uint8)[None])
        items.append(item)
    return items


class Files(torch.utils.data.Dataset):
    """The usual data set: a file is read when its slice is asked for. Nothing is augmented, which favours this side."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return tuple(torch.from_numpy(np.load(self.items[k][part])) for part in ("image", "mask"))


def usual_batches(items, batch_size, seed):
    """Batches from a shuffling DataLoader over `Files`: a function of the step, whose number it doesn't care about."""
    order = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(Files(items), batch_size, shuffle=True, drop_last=True, generator=order)
    return _endless(loader, lambda batch: (batch[0], batch[1].long()))


def monai_batches(items, batch_size, seed):
    """Batches from MONAI's CacheDataset with its dictionary transforms, bent about as far as ours are."""
    from monai import data, transforms

    both = ["image", "mask"]
    chain = [
        transforms.LoadImaged(both, reader="NumpyReader", channel_dim=0),
        transforms.EnsureTyped(both, dtype=torch.float32),
        transforms.RandAffined(
            both, prob=1.0, rotate_range=[np.deg2rad(15)], scale_range=[0.2, 0.2], translate_range=[13, 13],
            mode=["bilinear", "nearest"], padding_mode="zeros",
        ),
        transforms.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.2)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=1.0),
        transforms.RandShiftIntensityd("image", offsets=0.12, prob=1.0),
        transforms.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8)),
        transforms.RandGaussianNoised("image", prob=1.0, std=0.04),
    ]  # fmt: skip
    cached = data.CacheDataset(items, transforms.Compose(chain).set_random_state(seed), progress=False)
    loader = data.DataLoader(cached, batch_size=batch_size, shuffle=True, drop_last=True)
    return _endless(loader, lambda batch: (batch["image"].as_tensor(), batch["mask"].as_tensor().long()))


def _endless(loader, taken):
    def rounds():
        while True:
            yield from loader

    stream = rounds()
    return lambda _: taken(next(stream))


def predict_with_nnunet(scan, out, mirror):
    """nnU-Net's 2-D configuration as it is planned for LiTS, untrained, through its own predictor, from file to file."""
    import nibabel as nib
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    header = nib.load(scan).header
    manager = PlansManager(plans_2d(header.get_data_shape(), [float(mm) for mm in header.get_zooms()]))
    configuration = manager.get_configuration("2d")
    data = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}
    network = get_network_from_plans(
        configuration.network_arch_class_name, configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import, 1, 3, deep_supervision=False,
    )  # fmt: skip
    predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    weights = [network.state_dict()]
    predictor.manual_initialization(network, manager, configuration, weights, data, "nnUNetTrainer", (0, 1))
    predictor.predict_from_files_sequential([[str(scan)]], [str(out).removesuffix(".nii.gz")])


def plans_2d(shape_xyz, spacing_xyz):
    """nnU-Net's plans for whole slices of this size, with the network that it plans for LiTS: eight levels, from 32 channels."""
    levels = min(8, int(np.log2(min(shape_xyz[:2]))) - 1)
    network = {
        "n_stages": levels, "features_per_stage": [min(512, 32 * 2**k) for k in range(levels)],
        "conv_op": "torch.nn.modules.conv.Conv2d", "kernel_sizes": [[3, 3]] * levels,
        "strides": [[1, 1]] + [[2, 2]] * (levels - 1), "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1), "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    name = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    planned = {
        "data_identifier": "nnUNetPlans_2d", "preprocessor_name": "DefaultPreprocessor", "batch_size": 12,
        "patch_size": [n - n % 2 ** (levels - 1) for n in shape_xyz[1::-1]], "spacing": spacing_xyz[1::-1],
        "median_image_size_in_voxels": list(shape_xyz[1::-1]), "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False], "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1}, "batch_dice": True,
        "architecture": {"network_class_name": name, "arch_kwargs": network,
                         "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
    }  # fmt: skip
    grey = {"mean": 100.0, "std": 40.0, "percentile_00_5": -20.0, "percentile_99_5": 200.0, "min": -1000.0, "max": 3000.0}
    return {
        "dataset_name": "Dataset003_Liver", "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIO",
        "original_median_spacing_after_transp": spacing_xyz[::-1], "original_median_shape_after_transp": list(shape_xyz[::-1]),
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "configurations": {"2d": planned},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": grey | {"median": 100.0}},
    }  # fmt: skip
