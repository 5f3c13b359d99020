"""The networks: a U-Net and a slice classifier written out, a door to others by name, and how weights are kept."""

import torch
from torch import nn


def two_convolutions(inside, outside):
    """Conv–BatchNorm–ReLU twice: (B, inside, H, W) -> (B, outside, H, W)."""
    layers = []
    for channels in (inside, outside):
        layers += [nn.Conv2d(channels, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class _Doubled(torch.autograd.Function):
    """A transposed convolution of kernel and stride 2, whose gradients are two matrix products.

    The patches of the result don't overlap, so each is its pixel's channels times one matrix. oneDNN's own backward takes the
    general way: half precision on a CPU spends a tenth of a whole training step there.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):  # (B, C, H, W), (C, O, 2, 2), (O,) -> (B, O, 2 H, 2 W)
        ctx.save_for_backward(x, weight)
        return nn.functional.conv_transpose2d(x, weight, bias, stride=2)

    @staticmethod
    def backward(ctx, above):
        x, weight = ctx.saved_tensors
        (b, c, h, w), out = x.shape, weight.shape[1]
        patches = above.permute(0, 2, 3, 1).reshape(b, h, 2, w, 2, out).transpose(2, 3).reshape(-1, 4 * out)
        x, matrix = x.permute(0, 2, 3, 1).reshape(-1, c).to(above.dtype), weight.permute(2, 3, 1, 0).reshape(-1, c)
        of_x = (patches @ matrix.to(above.dtype)).view(b, h, w, c).permute(0, 3, 1, 2)
        of_weight = (x.t() @ patches).view(c, 2, 2, out).permute(0, 3, 1, 2)
        return of_x, of_weight, patches.view(-1, 4, out).sum((0, 1))


class Doubling(nn.ConvTranspose2d):
    """Twice the height and width: (B, inside, H, W) -> (B, outside, 2 H, 2 W)."""

    def __init__(self, inside, outside):
        super().__init__(inside, outside, 2, stride=2)

    def forward(self, x):
        return _Doubled.apply(x, self.weight, self.bias) if torch.is_grad_enabled() else super().forward(x)


class UNet(nn.Module):
    """The U-Net (Ronneberger et al. 2015, arXiv 1505.04597): down, up, and what was seen on the way down beside it.

    in_channels  windows × (2 · neighbours + 1).
    classes      1 for a binary head (sigmoid), 3 for background, liver and tumour (softmax); logits come out.
    width        channels of the first level; each level below has twice as many.
    levels       how many times the picture is halved; H and W must be multiples of unshuffle · 2**levels.
    unshuffle    2 makes squares of 2 × 2 pixels into channels on the way in and into pixels again on the way out: the
                 costly first level is left out, the outline keeps its full resolution.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, unshuffle=1):
        super().__init__()
        self.unshuffle = unshuffle
        in_channels, classes = in_channels * unshuffle**2, classes * unshuffle**2
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(two_convolutions(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.lift = nn.ModuleList(Doubling(2 * w, w) for w in reversed(widths[:-1]))
        self.up = nn.ModuleList(two_convolutions(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):  # (B, in_channels, H, W)
        x, seen = nn.functional.pixel_unshuffle(x, self.unshuffle), []
        for level in self.down[:-1]:
            x = level(x)  # (B, width · 2**level, H / 2**level, W / 2**level)
            seen.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.down[-1](x)
        for lift, level in zip(self.lift, self.up, strict=True):
            x = level(torch.cat([seen.pop(), lift(x)], dim=1))
        return nn.functional.pixel_shuffle(self.head(x), self.unshuffle)  # (B, classes, H, W)


class SliceClassifier(nn.Module):
    """Says of each slice whether it shows liver: half-size picture in, four levels down, mean over the plane, one logit."""

    def __init__(self, in_channels, classes=1, width=8, levels=4):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.levels = nn.ModuleList(two_convolutions(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):  # (B, in_channels, H, W)
        x = nn.functional.avg_pool2d(x, 2)
        for level in self.levels:
            x = nn.functional.max_pool2d(level(x), 2)
        return self.head(x.mean((2, 3)))  # (B, classes)
