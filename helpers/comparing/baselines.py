"""Other ways to learn from slices: a baseline, float32 and a DataLoader; MONAI's pipeline."""

import numpy as np
import torch

from helpers.cascade import weights
from helpers.learning import losses, machine
from helpers.learning.train_step import TrainStep
from helpers.slices.pixels import stacked

BOTH, PLAIN = ("image", "mask"), torch.contiguous_format


def built(model, width, seed=7, **shape):
    """A network for three slices and one class, with the same random weights at every call."""
    torch.manual_seed(seed)
    return weights.build(model, 3, 1, width, **shape)


def train_step(network, precision="32-true", layout=PLAIN, averaged=False, fused=None):
    """The TrainStep of a network on the CPU; by default a baseline's.

    layout    torch's memory format of weights and batches.
    averaged  keep a moving average of the weights too; fused: AdamW in one operation.
    """
    network = network.to(memory_format=layout)
    ema = weights.averaged(network, 0.99) if averaged else None
    optimiser = torch.optim.AdamW(network.parameters(), 0.002, weight_decay=0.01, fused=fused)
    fabric = machine.fabric_of(torch.device("cpu"), precision)
    loss_of = losses.loss_named("bce+dice")
    return TrainStep(network, optimiser, loss_of, fabric, ema=ema, memory_format=layout)


def our_step(network, precision, **changes):
    """The TrainStep of a network as notebook 04 takes it, apart from `changes`."""
    usual = {"precision": precision, "layout": torch.channels_last, "averaged": True}
    return train_step(network, **usual | changes)


def learning(step, batches):
    """A function of the step's number that makes its batch and learns from it."""
    return lambda k: step(batches(k))


def write_slices(store, rows, neighbours, folder):
    """Write slices as others keep them, an .npy each.

    rows     DataFrame case, z of slices in `store`: image float32 (C, H, W), mask uint8 (1, H, W).
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
    """A file is read when its slice is asked for; nothing is augmented, in a baseline's favour."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return {name: torch.from_numpy(np.load(self.items[k][name])) for name in BOTH}


def baseline_batches(items, batch_size, seed):
    """Batches from a shuffling DataLoader over `Files`: a function as `endless` gives it."""
    order = torch.Generator().manual_seed(seed)
    return endless(torch.utils.data.DataLoader, Files(items), batch_size, BOTH, generator=order)


class CachedBatches:
    """Batches of MONAI's CacheDataset, for ever: `draw` is a function as `endless` gives it."""

    def __init__(self, items, names, chain, batch_size, seed):
        from monai import data, transforms

        composed = transforms.Compose(chain).set_random_state(seed)
        self.cached = data.CacheDataset(items, composed, progress=False)
        self.draw = endless(data.DataLoader, self.cached, batch_size, names)

    def reseed(self, seed):
        """Set the random numbers that order and transforms are drawn by."""
        torch.manual_seed(seed)
        self.cached.transform.set_random_state(seed)


def monai_batches(items, batch_size, seed):
    """Batches from MONAI's CacheDataset, whose transforms augment about as far as ours."""
    from monai import transforms

    turned = {"rotate_range": [np.deg2rad(15)], "scale_range": [0.2, 0.2]}
    sampled = {"mode": ["bilinear", "nearest"], "padding_mode": "zeros"}
    chain = [
        transforms.Lambdad(BOTH, np.load),  # LoadImaged tries every reader, and warns of one
        transforms.EnsureTyped(BOTH, dtype=torch.float32),
        transforms.RandAffined(BOTH, prob=1.0, translate_range=[13, 13], **turned, **sampled),
        transforms.RandAdjustContrastd("image", prob=1.0, gamma=(0.8, 1.2)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=1.0),
        transforms.RandShiftIntensityd("image", offsets=0.12, prob=1.0),
        transforms.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.3, 0.8), sigma_y=(0.3, 0.8)),
        transforms.RandGaussianNoised("image", prob=1.0, std=0.04),
    ]
    return CachedBatches(items, BOTH, chain, batch_size, seed).draw


def endless(loader_of, items, batch_size, names, **how):
    """Shuffled batches of a DataLoader class, epoch after epoch: a function of the step, whose
    number is ignored; fewer items than a batch are one.

    names  of image and target in the dicts that the loader gives.
    """
    loader = loader_of(items, batch_size=batch_size, shuffle=True,
                       drop_last=len(items) > batch_size, **how)

    def epochs():
        while True:
            yield from loader

    stream = epochs()

    def batch(_=0):
        image, target = map(next(stream).get, names)
        return image.as_subclass(torch.Tensor), target.as_subclass(torch.Tensor).long()

    return batch
