"""Other people's recipes in the race, as their own examples write them: MONAI's tutorial, smp's Unet."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from helpers.cascade import liver, weights
from helpers.comparing import baselines
from helpers.files import written_whole
from helpers.learning.train_step import TrainStep
from helpers.scans import reading
from helpers.slices import recipe

CLASSES, BATCH, SEED = 3, 8, 7
AIR = -1024  # HU beyond the scan's edge
BOTH = ["image", "label"]
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # mean and deviation of each channel


@dataclass
class Entrant:
    """A recipe for 2-D slices and three classes, with what the race asks of it.

    batches  Batches of image (B, C, H, W) and target (B, 1, H, W).
    logits   function from HU float32 (B, 1, H, W) to logits (B, 3, H, W).
    rate     function from the share of the time gone, 0…1, to the learning rate.
    size     pixels along the slices, which are those of `slices_of`; start: what the weights were before the first step.
    """

    network: torch.nn.Module
    loss_of: object
    optimiser: torch.optim.Optimizer
    batches: object
    logits: object
    rate: object
    size: int
    start: str = "random weights"
    steps: int = 0

    def __post_init__(self):
        fabric, layout = Fabric(accelerator="cpu", devices=1), torch.contiguous_format
        self.learn = TrainStep(self.network, self.optimiser, self.loss_of, fabric, memory_format=layout)

    def step(self, share):
        for group in self.optimiser.param_groups:
            group["lr"] = float(self.rate(share))  # numpy's numbers would keep the state from being read again
        self.steps += 1
        return self.learn(self.batches.draw())

    @torch.inference_mode()
    def predict(self, volume):
        """Labels uint8 (z, y, x) of a Volume: the likeliest class of each pixel, and of the livers the largest."""
        self.network.eval()
        grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, self.size)
        labels = np.zeros(volume.hu.shape, np.uint8)
        for start in range(0, len(labels), BATCH):
            planes = np.stack([grid.cut(plane.astype(np.float32), fill=AIR) for plane in volume.hu[start : start + BATCH]])
            probability = self.logits(torch.from_numpy(planes)[:, None]).softmax(1).numpy()
            for k, classes in enumerate(probability, start=start):
                labels[k] = np.argmax([grid.back(c, np.zeros(labels.shape[1:], np.float32)) for c in classes], axis=0)
        return with_one_liver(labels)

    def state_dict(self):
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(), "steps": self.steps}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
        self.batches.reseed(SEED + self.steps)  # other slices than after the start


class Batches:
    """Batches of MONAI's CacheDataset, for ever: image (B, C, H, W), target (B, 1, H, W)."""

    def __init__(self, items, chain, batch_size):
        from monai import data, transforms

        warnings.filterwarnings("ignore", message="Num (foregrounds|backgrounds)")  # slices without liver are no mistake
        self.cached = data.CacheDataset(items, transforms.Compose(chain).set_random_state(SEED), progress=False)
        drop_last = len(items) > batch_size
        loader = data.DataLoader(self.cached, batch_size=batch_size, shuffle=True, drop_last=drop_last)
        self.draw = baselines.endless(loader, BOTH)

    def reseed(self, seed):
        """Set the random numbers that order and transforms are drawn by."""
        torch.manual_seed(seed)
        self.cached.transform.set_random_state(seed)


def with_one_liver(labels):
    """Labels without all that isn't part of the largest component of liver and tumour together."""
    return np.where(liver.largest_component(labels >= 1)[0], labels, 0).astype(np.uint8)


def slices_of(folder, rows, size):
    """Slices of some cases, with and without liver, written once to a folder and mapped from there.

    rows     rows of cases.csv; size: pixels along the edge of a slice, whose longer side the scan fills.
    returns  list of dicts: "image" HU int16 and "label" uint8, both (1, size, size).
    """
    items = []
    for row in rows.to_dict("records"):
        paths = {name: folder / f"{row['case']}-{size}-{row['bytes']}.{name}.npy" for name in BOTH}
        if not all(path.is_file() for path in paths.values()):
            volume, labels = reading.read_row(row)
            grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, size)
            stacks = {"image": grid.stack(volume.hu, fill=AIR), "label": grid.stack(labels, labels=True)}
            for name, stack in stacks.items():
                with written_whole(paths[name]) as beside:
                    np.save(beside, stack[:, None])
        arrays = {name: np.load(path, mmap_mode="c") for name, path in paths.items()}
        items += [{name: array[k] for name, array in arrays.items()} for k in range(len(arrays["image"]))]
    return items


def monai(items, size):
    """MONAI's spleen tutorial in 2-D: the same window, network, patches, loss and optimiser, with a class more.

    Source: github.com/Project-MONAI/tutorials, 3d_segmentation/spleen_segmentation_3d. Its 1.5 mm in-plane are 256 pixels of a
    LiTS scan. What it validates with, a sliding window of 160, predicts; a largest component, which it lacks, is kept as well.
    """
    from monai import inferers, losses, transforms
    from monai.networks import layers, nets

    window = {"a_min": -57, "a_max": 164, "b_min": 0.0, "b_max": 1.0, "clip": True}
    chain = [
        transforms.EnsureTyped(BOTH),
        transforms.ScaleIntensityRanged("image", **window),
        transforms.CropForegroundd(BOTH, source_key="image", allow_smaller=True),
        transforms.SpatialPadd(BOTH, (96, 96)),
        transforms.RandCropByPosNegLabeld(BOTH, "label", (96, 96), pos=1, neg=1, num_samples=4, image_key="image"),
    ]
    torch.manual_seed(SEED)
    network = nets.UNet(2, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm=layers.Norm.BATCH)
    windowed = transforms.ScaleIntensityRange(**window)
    return Entrant(
        network,
        loss_of=losses.DiceLoss(to_onehot_y=True, softmax=True),
        optimiser=torch.optim.Adam(network.parameters(), 1e-4),
        batches=Batches(items, chain, batch_size=2),
        logits=lambda hu: inferers.sliding_window_inference(windowed(hu).as_tensor(), (160, 160), 4, network),
        rate=lambda share: 1e-4,
        size=size,
    )


def smp(items, size, window):
    """smp's Unet with a ResNet-34 encoder on whole slices, as its CamVid example trains it, with cross-entropy beside its Dice.

    Without ImageNet's weights, where they can't be downloaded, it starts at a higher rate: 0.001, not 0.0002. Its augmentations
    are MONAI's transforms of the same kind: mirrored, scaled, shifted, noisy, brighter, darker, blurred or sharpened.
    window  (low, high) in HU.
    Source: github.com/qubvel-org/segmentation_models.pytorch, examples/camvid_segmentation_multiclass.
    """
    import segmentation_models_pytorch as library
    from monai import transforms

    def coloured(image):
        return (image - IMAGENET[0][:, None, None]) / IMAGENET[1][:, None, None]  # one channel becomes three

    colours = [
        transforms.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.2)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=1.0),
        transforms.RandShiftIntensityd("image", offsets=0.2, prob=1.0),
    ]
    edges = [transforms.RandGaussianSmoothd("image", prob=1.0), transforms.RandGaussianSharpend("image", prob=1.0)]
    moved = {"prob": 1.0, "mode": ["bilinear", "nearest"]}
    chain = [
        transforms.EnsureTyped(BOTH),
        transforms.ScaleIntensityRanged("image", *window, 0.0, 1.0, clip=True),
        transforms.RandFlipd(BOTH, prob=0.5, spatial_axis=1),
        transforms.RandZoomd(BOTH, min_zoom=0.5, max_zoom=1.5, padding_mode="constant", **moved),
        transforms.RandAffined(BOTH, translate_range=[0.1 * size] * 2, padding_mode="zeros", **moved),
        transforms.RandGaussianNoised("image", prob=0.2, std=0.05),
        transforms.OneOf([*colours, transforms.Identityd("image")]),
        transforms.OneOf([*edges, transforms.Identityd("image")]),
        transforms.Lambdad("image", coloured),
    ]
    torch.manual_seed(SEED)
    start, highest = "ImageNet's weights", 2e-4
    try:
        network = weights.build("smp:Unet:resnet34", 3, CLASSES, encoder_weights="imagenet")
    except RuntimeError as error:
        start, highest = "random weights", 1e-3
        print(f"smp Unet resnet34: {error}; it starts from {start}", flush=True)
        network = weights.build("smp:Unet:resnet34", 3, CLASSES)
    dice, entropy = library.losses.DiceLoss("multiclass", from_logits=True), torch.nn.CrossEntropyLoss()
    windowed = transforms.ScaleIntensityRange(*window, 0.0, 1.0, clip=True)
    return Entrant(
        network,
        loss_of=lambda logits, target: dice(logits, target[:, 0].long()) + entropy(logits, target[:, 0].long()),
        optimiser=torch.optim.Adam(network.parameters(), highest),
        batches=Batches(items, chain, batch_size=8),
        logits=lambda hu: network(coloured(windowed(hu).as_tensor())),
        rate=lambda share: 1e-5 + (highest - 1e-5) * (1 + np.cos(np.pi * share)) / 2,
        size=size,
        start=start,
    )
