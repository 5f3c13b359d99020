"""The U-Net across slices, read one after the other, and doubled: for notebook 07."""

import torch
from torch import nn

from helpers.cascade.networks import SliceClassifier, UNet

A_ALONE = 0.5  # share of a training batch that specialist A answers alone


def unfolded(x, slices):
    """Slices that came as channels, one by one: (B, slices · windows, H, W) -> (B · slices,
    windows, H, W).
    """
    return x.unflatten(1, (slices, -1)).flatten(0, 1).contiguous(memory_format=torch.channels_last)


class AcrossSlices(nn.Conv2d):
    """A 3 × 3 × 3 convolution, (B · slices, inside, H, W) -> (B · slices, outside, H, W); zeros lie
    beyond the ends.

    Its weights have four axes, (outside, 3 · inside, 3, 3), and slices lie along the batch: torch
    gives a network one memory layout, channels last of four axes, which weights of five refuse.
    Seen as a volume nothing has to be copied.
    """

    def __init__(self, inside, outside, slices):
        super().__init__(3 * inside, outside, 3, padding=1, bias=False)
        self.slices = slices

    def forward(self, x):
        # (B, inside, slices, H, W)
        volume = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.slices)).permute(0, 4, 1, 2, 3)
        out = nn.functional.conv3d(volume, self.weight.unflatten(1, (3, -1)).transpose(1, 2),
                                   padding=1)
        return out.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


class UNet3d(UNet):
    """The U-Net with 3 × 3 × 3 convolutions (Çiçek et al. 2016, arXiv 1606.06650) over a slice's
    neighbours.

    Slices are few and thick, so only the plane is halved; the answer is the middle slice's.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, slices=1):
        super().__init__(in_channels // slices, classes, width, levels)
        self.slices = slices
        for block in (*self.down, *self.up):
            for k in (0, 3):
                block[k] = AcrossSlices(block[k].in_channels, block[k].out_channels, slices)

    def forward(self, x):  # (B, slices · windows, H, W)
        return (
            super()
            .forward(unfolded(x, self.slices))
            .unflatten(0, (-1, self.slices))[:, self.slices // 2]
        )


class ConvLSTM(nn.Module):
    """An LSTM whose products are convolutions (Shi et al. 2015, arXiv 1506.04214); gives its last
    state, (B, outside, H, W).
    """

    def __init__(self, inside, outside):
        super().__init__()
        self.gates = nn.Conv2d(inside + outside, 4 * outside, 3, padding=1)
        # to begin with, nothing is forgotten
        nn.init.ones_(self.gates.bias[outside : 2 * outside].data)

    def forward(self, sequence):  # pictures (B, inside, H, W), in the order in which they are read
        batch, _, height, width = sequence[0].shape
        memory = state = torch.zeros(batch, self.gates.out_channels // 4, height, width,
                                     device=sequence[0].device)
        for x in sequence:
            enter, keep, show, new = self.gates(torch.cat([x, state.to(x.dtype)], dim=1)).chunk(
                4, dim=1
            )
            memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
            state = show.sigmoid() * memory.tanh()
        return state


class RecurrentUNet(UNet):
    """A U-Net that reads its neighbours one after the other: at its deepest level one ConvLSTM
    comes from the first slice, one from the last, and they meet at the middle one, which alone is
    drawn (after Chen et al. 2016, arXiv 1609.01006).
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, slices=1):
        super().__init__(in_channels // slices, classes, width, levels)
        self.slices, deepest = slices, width * 2**levels
        self.upwards, self.downwards = (ConvLSTM(deepest, deepest // 2),
                                        ConvLSTM(deepest, deepest - deepest // 2))
        # an LSTM's states are small at first, and would be lost beside the skips
        self.heard = nn.BatchNorm2d(deepest)

    def forward(self, x):  # (B, slices · windows, H, W)
        x, middle, skips = unfolded(x, self.slices), self.slices // 2, []
        for level in self.down[:-1]:
            x = level(x)
            skips.append(x.unflatten(0, (-1, self.slices))[:, middle])
            x = nn.functional.max_pool2d(x, 2)
        read = self.down[-1](x).unflatten(0, (-1, self.slices)).unbind(1)
        x = self.heard(torch.cat([self.upwards(read[: middle + 1]),
                                  self.downwards(read[middle:][::-1])], dim=1))
        return self.decoded(x, skips)


class Specialists(nn.Module):
    """Two U-Nets gated against each other: A sees whole slices, with liver or without, B what A's
    box cuts out, enlarged.

    A slice classifier says of each slice how far B is believed inside that box; outside it A's word
    stands. Where A finds nothing, B sees the whole slice. In training A answers half of the slices
    alone, or it would leave all to B.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4):
        super().__init__()
        self.a, self.b = (UNet(in_channels, classes, width, levels) for _ in range(2))
        self.chooser = SliceClassifier(in_channels, 1, max(1, width // 2), levels)

    def forward(self, x):  # (B, in_channels, H, W)
        whole = self.a(x)
        middle, reach = boxes((whole[:, 0] > 0) if whole.shape[1] == 1 else whole.argmax(1) > 0)
        grid = {"size": x.shape, "align_corners": False}
        to_box = nn.functional.affine_grid(_affine_matrix(reach, middle), **grid)
        from_box = nn.functional.affine_grid(_affine_matrix(1 / reach, -middle / reach), **grid)
        crop = nn.functional.grid_sample(x, to_box, align_corners=False).contiguous(
            memory_format=torch.channels_last
        )
        inside = self.b(crop).float()
        inside = nn.functional.grid_sample(inside, from_box, padding_mode="border",
                                           align_corners=False)
        trust = (
            self.chooser(x).float().sigmoid()[..., None, None]
            * (from_box.abs().amax(-1) <= 1)[:, None]
        )
        if self.training:
            trust = trust * (torch.rand(len(x), 1, 1, 1, device=x.device) >= A_ALONE)
        return whole + trust * (inside - whole)


def boxes(mask, margin=0.1, least=0.25):
    """The box round each plane of a mask, bool (B, H, W): middle and reach, float (B, 2) as (x, y)
    in -1…1.

    margin, least  added to the reach, and the smallest one, as shares of the plane's half. An empty
                   mask gives the whole plane.
    """
    low, high = [], []
    for axis in (1, 2):  # over y for the columns, over x for the rows
        line = mask.any(axis)
        n = line.shape[1]
        at = (2 * torch.arange(n, device=line.device) + 1) / n - 1
        low.append(torch.where(line, at, 1.0).amin(1))
        high.append(torch.where(line, at, -1.0).amax(1))
    low, high = torch.stack(low, 1), torch.stack(high, 1)
    empty = ~mask.any(2).any(1, keepdim=True)
    middle, reach = (low + high) / 2, ((high - low) / 2 + margin).clamp(least, 1.0)
    return torch.where(empty, 0.0, middle), torch.where(empty, 1.0, reach)


def _affine_matrix(scale, shift):
    """Matrices (B, 2, 3) for `affine_grid` from scale and shift, both (B, 2) as (x, y)."""
    return torch.cat([torch.diag_embed(scale), shift[..., None]], dim=2)
