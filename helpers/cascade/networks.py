"""The cascade's own networks: a U-Net for liver and tumour, a slice classifier for the gate."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class UNet(nn.Module):
    """The U-Net (Ronneberger et al. 2015, arXiv 1505.04597): down, up, skips between.

    in_channels  windows × (2 · neighbours + 1).
    classes      1 for a binary head (sigmoid), 3 for background, liver and tumour
                 (softmax); logits come out.
    width        channels of the first level; each level below has twice as many.
    levels       how many times the picture is halved; H and W must be multiples of
                 unshuffle · 2**levels.
    unshuffle    2 makes squares of 2 × 2 pixels into channels on the way in and into
                 pixels again on the way out: the costly first level is left out, the
                 outline keeps its full resolution.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, unshuffle=1):
        super().__init__()
        self.unshuffle = unshuffle
        widths = [width * 2**level for level in range(levels + 1)]  # 16, 32, 64 …
        pairs = pairwise([in_channels * unshuffle**2, *widths])
        self.down = nn.ModuleList(two_convolutions(a, b) for a, b in pairs)
        self.lift = nn.ModuleList(Doubling(2 * w, w) for w in reversed(widths[:-1]))
        up_again = reversed(widths[:-1])
        self.up = nn.ModuleList(two_convolutions(2 * w, w) for w in up_again)
        self.head = nn.Conv2d(width, classes * unshuffle**2, 1)

    def forward(self, x):  # (B, in_channels, H, W)
        x = functional.pixel_unshuffle(x, self.unshuffle)
        skips = []
        for level in self.down[:-1]:
            skips.append(level(x))  # (B, width · 2**level, H / 2**level, W / 2**level)
            x = functional.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)  # (B, width · 2**levels, H / 2**levels, W / 2**levels)
        x = self.decoded(x, skips)
        return functional.pixel_shuffle(x, self.unshuffle)  # (B, classes, H, W)

    def decoded(self, x, skips):
        """Logits from the deepest level and those above it."""
        for lift, level in zip(self.lift, self.up, strict=True):
            x = level(torch.cat([skips.pop(), lift(x)], dim=1))  # twice as high, wide
        return self.head(x)


class SliceClassifier(nn.Module):
    """Whether a slice shows liver: half-size picture, levels down, mean, one logit."""

    def __init__(self, in_channels, classes=1, width=8, levels=4):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]  # 8, 16, 32, 64
        pairs = pairwise([in_channels, *widths])
        self.levels = nn.ModuleList(two_convolutions(a, b) for a, b in pairs)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):  # (B, in_channels, H, W)
        x = functional.avg_pool2d(x, 2)
        for level in self.levels:
            x = functional.max_pool2d(level(x), 2)
        return self.head(x.mean((2, 3)))  # (B, classes)


def two_convolutions(in_channels, out_channels):
    """Conv–BatchNorm–ReLU twice: (B, in_channels, H, W) -> (B, out_channels, H, W)."""
    layers = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Doubling(nn.ConvTranspose2d):
    """Twice the height and width: (B, in_channels, H, W) -> (B, out_channels, 2 H, 2 W)."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x):
        learns = torch.is_grad_enabled()
        return _Doubled.apply(x, self.weight, self.bias) if learns else super().forward(x)


class _Doubled(torch.autograd.Function):
    """A transposed convolution of kernel and stride 2, whose gradients are two matrix products.

    The patches of the result don't overlap, so each is its pixel's channels times one matrix.
    oneDNN's own backward takes the general way: half precision on a CPU spends a tenth of a whole
    training step there.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):  # (B, C, H, W), (C, O, 2, 2), (O,) -> (B, O, 2 H, 2 W)
        ctx.save_for_backward(x, weight)
        return functional.conv_transpose2d(x, weight, bias, stride=2)

    @staticmethod
    def backward(ctx, gradient):  # (B, O, 2 H, 2 W)
        x, weight = ctx.saved_tensors
        (b, c, h, w), out = x.shape, weight.shape[1]
        patches = gradient.permute(0, 2, 3, 1).reshape(b, h, 2, w, 2, out)
        patches = patches.transpose(2, 3).reshape(-1, 4 * out)  # (B · H · W, 4 · O)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, c).to(gradient.dtype)  # (B · H · W, C)
        matrix = weight.permute(2, 3, 1, 0).reshape(-1, c).to(gradient.dtype)  # (4 · O, C)
        of_x = (patches @ matrix).view(b, h, w, c).permute(0, 3, 1, 2)
        of_weight = (pixels.t() @ patches).view(c, 2, 2, out).permute(0, 3, 1, 2)
        return of_x, of_weight, patches.view(-1, 4, out).sum((0, 1))
