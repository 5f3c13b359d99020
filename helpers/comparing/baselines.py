"""Other ways to learn from slices, beside ours, for notebook 08: a baseline, float32 and a DataLoader, and MONAI's pipeline."""

import numpy as np
import torch
from lightning_fabric import Fabric

from helpers.cascade import weights
from helpers.learning import losses
from helpers.learning.train_step import TrainStep
from helpers.slices.pixels import stacked

BOTH = ("image", "mask")


def built(model, width, seed=7, **shape):
    """A network for three slices and one class, the same random weights at every call; see `weights.build`."""
    torch.manual_seed(seed)
    return weights.build(model, 3, 1, width, **shape)


def train_step(network, precision="32-true", memory_format=torch.contiguous_format, averaged=False, fused=None):
    """The TrainStep of a network on the CPU; by default a baseline's.

    averaged  keep a moving average of the weights too; fused: AdamW in one operation.
    """
    network = network.to(memory_format=memory_format)
    ema = weights.averaged(network, 0.99) if averaged else None
    optimiser = torch.optim.AdamW(network.parameters(), 0.002, weight_decay=0.01, fused=fused)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    return TrainStep(network, optimiser, losses.loss_named("bce+dice"), fabric, ema=ema, memory_format=memory_format)


def our_step(network, precision, **changes):
    """The TrainStep of a network as notebook 04 takes it, apart from `changes`."""
    return train_step(network, **{"precision": precision, "memory_format": torch.channels_last, "averaged": True} | changes)


def learning(step, batches):
    """A function of the step's number that makes its batch and learns from it."""
    return lambda k: step(batches(k))


def write_slices(store, rows, neighbours, folder):
    """Write slices as others keep them, an .npy for each image float32 (C, H, W) and mask uint8 (1, H, W).

    rows     DataFrame case, z of slices in `store`.
    returns  list of dicts with the two files, "image" and "mask".
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, row in enumerate(rows.itertuples()):
        k = row.z - store.first_z(row.case)
        planes = stacked(store.image(row.case), k, neighbours)
        item = {name: str(folder / f"{number:05d}-{name}.npy") for name in BOTH}
        np.save(item["image"], planes.astype(np.float32) / 255)
        np.save(item["mask"], (store.mask(row.case)[k] >= 1).astype(np.uint8)[None])
        items.append(item)
    return items


class Files(torch.utils.data.Dataset):
    """A plain data set: a file is read when its slice is asked for. Nothing is augmented, which favours the baseline."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return {name: torch.from_numpy(np.load(self.items[k][name])) for name in BOTH}


def baseline_batches(items, batch_size, seed):
    """Batches from a shuffling DataLoader over `Files`: a function of the step, whose number it doesn't care about."""
    order = torch.Generator().manual_seed(seed)
    drop_last = len(items) > batch_size
    loader = torch.utils.data.DataLoader(Files(items), batch_size, shuffle=True, drop_last=drop_last, generator=order)
    return endless(loader, BOTH)


def monai_batches(items, batch_size, seed):
    """Batches from MONAI's CacheDataset with its dictionary transforms, which augment about as far as ours."""
    from monai import data, transforms

    turned = {"rotate_range": [np.deg2rad(15)], "scale_range": [0.2, 0.2], "translate_range": [13, 13]}
    sampled = {"mode": ["bilinear", "nearest"], "padding_mode": "zeros"}
    chain = [
        transforms.LoadImaged(BOTH, reader="NumpyReader", channel_dim=0),
        transforms.EnsureTyped(BOTH, dtype=torch.float32),
        transforms.RandAffined(BOTH, prob=1.0, **turned, **sampled),
        transforms.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.2)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=1.0),
        transforms.RandShiftIntensityd("image", offsets=0.12, prob=1.0),
        transforms.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8)),
        transforms.RandGaussianNoised("image", prob=1.0, std=0.04),
    ]
    cached = data.CacheDataset(items, transforms.Compose(chain).set_random_state(seed), progress=False)
    drop_last = len(items) > batch_size
    return endless(data.DataLoader(cached, batch_size=batch_size, shuffle=True, drop_last=drop_last), BOTH)


def endless(loader, names):
    """Batches of a loader, epoch after epoch: a function of the step, whose number it doesn't care about.

    names  of image and target in the dicts that the loader gives.
    """

    def epochs():
        while True:
            yield from loader

    stream = epochs()

    def batch(_=0):
        image, target = (values.as_subclass(torch.Tensor) for values in map(next(stream).get, names))
        return image, target.long()

    return batch
