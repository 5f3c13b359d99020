"""Other ways to train, beside ours, for notebook 08: the usual loop, MONAI's pipeline."""

import numpy as np
import torch

from helpers.cascade import weights
from helpers.learning import losses
from helpers.slices import recipe


def learning(network, batch_of, half=False, layout=torch.contiguous_format, averaged=False, fused=None):
    """A function of the step number that makes a batch and learns from it, and gives the loss; as notebook 04 does it.

    batch_of  function of the step that gives (image float32 (B, C, H, W), target int64 (B, 1, H, W)).
    half      True computes in bfloat16 where autocast does; `averaged` True keeps the moving average too.
    """
    network = network.to(memory_format=layout).train()
    kept = weights.averaged(network, 0.99) if averaged else None
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
        planes = recipe.stacked(store.image(row.case), k, neighbours)
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


def baseline_batches(items, batch_size, seed):
    """Batches from a shuffling DataLoader over `Files`: a function of the step, whose number it doesn't care about."""
    order = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        Files(items), batch_size, shuffle=True, drop_last=len(items) > batch_size, generator=order
    )
    return endless(loader, lambda batch: (batch[0], batch[1].long()))


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
    loader = data.DataLoader(cached, batch_size=batch_size, shuffle=True, drop_last=len(items) > batch_size)
    return endless(loader, lambda batch: (batch["image"].as_tensor(), batch["mask"].as_tensor().long()))


def endless(loader, taken):
    """Batches of a loader round after round: a function of the step, whose number it doesn't care about."""

    def rounds():
        while True:
            yield from loader

    stream = rounds()
    return lambda _=0: taken(next(stream))
