"""Other people's recipes in the race, as their own examples write them, MONAI's tutorial and smp's:
what the race asks of them, and the slices and batches that they learn from.
"""

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
BOTH = ("image", "label")
# mean and deviation of each channel
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


@dataclass
class Entrant:
    """A recipe for 2-D slices and three classes, with what the race asks of it.

    batches  as `batches_of` gives them.
    logits   function from HU float32 (B, 1, H, W) to logits (B, 3, H, W).
    rate     function from the share of the time gone, 0…1, to the learning rate.
    size     pixels along the slices, which are those of `slices_of`.
    start    what the weights were before the first step.
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
        self.learn = TrainStep(
            self.network,
            self.optimiser,
            self.loss_of,
            Fabric(accelerator="cpu", devices=1),
            memory_format=torch.contiguous_format,
        )

    def step(self, share):
        for group in self.optimiser.param_groups:
            group["lr"] = float(self.rate(share))  # numpy's can't be read from a state
        self.steps += 1
        return self.learn(self.batches.draw())

    @torch.inference_mode()
    def predict(self, volume):
        """Labels uint8 (z, y, x): the likeliest class of each pixel, and of livers the largest."""
        self.network.eval()
        grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, self.size)
        labels = np.zeros(volume.hu.shape, np.uint8)
        back = np.zeros((CLASSES, *labels.shape[1:]), np.float32)
        for start in range(0, len(labels), BATCH):
            hu = volume.hu[start : start + BATCH].astype(np.float32)
            planes = np.stack([grid.cut(plane, fill=AIR) for plane in hu])
            probability = self.logits(torch.from_numpy(planes)[:, None]).softmax(1).numpy()
            for k, classes in enumerate(probability, start=start):
                for plane, of_class in zip(back, classes, strict=True):
                    grid.back(of_class, plane)
                labels[k] = back.argmax(0)
        return with_one_liver(labels)

    def state_dict(self):
        network, optimiser = self.network.state_dict(), self.optimiser.state_dict()
        return {"network": network, "optimiser": optimiser, "steps": self.steps}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
        self.batches.reseed(SEED + self.steps)  # other slices than after the start


def batches_of(items, chain, batch_size):
    """The CachedBatches of an entrant: image (B, C, H, W), target (B, 1, H, W)."""
    # slices without liver are no mistake
    warnings.filterwarnings("ignore", message="Num (foregrounds|backgrounds)")
    return baselines.CachedBatches(items, BOTH, chain, batch_size, SEED)


def monai(items, size):
    """MONAI's spleen tutorial in 2-D: its window, network, patches, loss, optimiser; a class more.

    Its 1.5 mm in-plane are 256 pixels of a LiTS scan. What it validates with, a sliding window of
    160, predicts; a largest component, which it lacks, is kept as well.
    Source: github.com/Project-MONAI/tutorials, 3d_segmentation/spleen_segmentation_3d.
    """
    from monai import inferers, losses, transforms
    from monai.networks import layers, nets

    window = {"a_min": -57, "a_max": 164, "b_min": 0.0, "b_max": 1.0, "clip": True}
    chain = [
        transforms.EnsureTyped(BOTH),
        transforms.ScaleIntensityRanged("image", **window),
        transforms.CropForegroundd(BOTH, source_key="image", allow_smaller=True),
        transforms.SpatialPadd(BOTH, (96, 96)),
        transforms.RandCropByPosNegLabeld(
            BOTH, "label", (96, 96), pos=1, neg=1, num_samples=4, image_key="image"
        ),
    ]
    torch.manual_seed(SEED)
    channels, strides = (16, 32, 64, 128, 256), (2, 2, 2, 2)
    residual = {"num_res_units": 2, "norm": layers.Norm.BATCH}
    network = nets.UNet(2, 1, CLASSES, channels, strides, **residual)
    windowed = transforms.ScaleIntensityRange(**window)

    def logits(hu):
        return inferers.sliding_window_inference(windowed(hu).as_tensor(), (160, 160), 4, network)

    return Entrant(
        network,
        loss_of=losses.DiceLoss(to_onehot_y=True, softmax=True),
        optimiser=torch.optim.Adam(network.parameters(), 1e-4),
        batches=batches_of(items, chain, batch_size=2),
        logits=logits,
        rate=lambda share: 1e-4,
        size=size,
    )


def smp(items, size, window):
    """smp's Unet with ResNet-34 as its CamVid example trains it, cross-entropy beside its Dice.

    Without ImageNet's weights, where they can't be downloaded, it starts at a higher rate: 0.001,
    not 0.0002. Its augmentations are MONAI's transforms of the same kind, on whole slices:
    mirrored, scaled, shifted, noisy, brighter, darker, blurred or sharpened.
    window  (low, high) in HU.
    Source: github.com/qubvel-org/segmentation_models.pytorch,
    examples/camvid_segmentation_multiclass.
    """
    import segmentation_models_pytorch as library
    from monai import transforms

    def coloured(image):
        mean, deviation = IMAGENET[:, :, None, None]
        return (image - mean) / deviation  # one channel becomes three

    colours = [
        transforms.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.2)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=1.0),
        transforms.RandShiftIntensityd("image", offsets=0.2, prob=1.0),
    ]
    edges = [
        transforms.RandGaussianSmoothd("image", prob=1.0),
        transforms.RandGaussianSharpend("image", prob=1.0),
    ]
    moved, shift = {"prob": 1.0, "mode": ["bilinear", "nearest"]}, [0.1 * size] * 2
    chain = [
        transforms.EnsureTyped(BOTH),
        transforms.ScaleIntensityRanged("image", *window, 0.0, 1.0, clip=True),
        transforms.RandFlipd(BOTH, prob=0.5, spatial_axis=1),
        transforms.RandZoomd(BOTH, min_zoom=0.5, max_zoom=1.5, padding_mode="constant", **moved),
        transforms.RandAffined(BOTH, translate_range=shift, padding_mode="zeros", **moved),
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
    dice = library.losses.DiceLoss("multiclass", from_logits=True)
    entropy = torch.nn.CrossEntropyLoss()
    windowed = transforms.ScaleIntensityRange(*window, 0.0, 1.0, clip=True)

    def loss_of(logits, target):
        return dice(logits, target[:, 0]) + entropy(logits, target[:, 0])

    return Entrant(
        network,
        loss_of=loss_of,
        optimiser=torch.optim.Adam(network.parameters(), highest),
        batches=batches_of(items, chain, batch_size=8),
        logits=lambda hu: network(coloured(windowed(hu).as_tensor())),
        rate=lambda share: 1e-5 + (highest - 1e-5) * (1 + np.cos(np.pi * share)) / 2,
        size=size,
        start=start,
    )


def with_one_liver(labels):
    """Labels without all that isn't part of the largest component of liver and tumour together."""
    return np.where(liver.largest_component(labels >= 1)[0], labels, 0).astype(np.uint8)


def slices_of(folder, rows, size):
    """Slices of some cases, with and without liver, written once to a folder and mapped from there.

    rows     rows of cases.csv.
    size     pixels along the edge of a slice, whose longer side the scan fills.
    returns  list of dicts: "image" HU int16 and "label" uint8, both (1, size, size).
    """
    items = []
    for row in rows.to_dict("records"):
        paths = {name: folder / f"{row['case']}-{size}-{row['bytes']}.{name}.npy" for name in BOTH}
        if not all(path.is_file() for path in paths.values()):
            volume, labels = reading.read_row(row)
            grid = recipe.whole_grid(volume.hu.shape, volume.spacing_mm, size)
            stacks = grid.stack(volume.hu, fill=AIR), grid.stack(labels, labels=True)
            for name, stack in zip(BOTH, stacks, strict=True):
                with written_whole(paths[name]) as beside:
                    np.save(beside, stack[:, None])
        arrays = {name: np.load(path, mmap_mode="c") for name, path in paths.items()}
        slices = zip(*arrays.values(), strict=True)
        items += [dict(zip(BOTH, pair, strict=True)) for pair in slices]
    return items
