"""Other people's recipes in the race, as their own examples write them: MONAI's tutorial, smp's."""

import numpy as np
import torch

from helpers.cascade import weights
from helpers.comparing.race_entrants import BOTH, CLASSES, SEED, Entrant, batches_of

# mean and deviation of each channel
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


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
