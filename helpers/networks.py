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


def build(model, in_channels, classes=1, width=16, levels=4, unshuffle=1, encoder_weights=None, slices=1, frozen=0):
    """Make a network by name.

    model            "unet" or "classifier" from this file; of `architectures`: "unet3d", "convlstm", "specialists",
                     "upsampled:resnet50", "smp:Unet:resnet34", that is smp:ARCHITECTURE:ENCODER, "monai:AttentionUnet",
                     "monai:SwinUNETR" and other 2-D networks of MONAI.
    unshuffle        of the "unet" only.
    encoder_weights  "imagenet" for smp's encoders; they are downloaded at first use.
    slices           how many slices the channels are of, for "unet3d" and "convlstm", which tell them apart.
    frozen           stages of a ResNet encoder that stay as they came.
    Raises ValueError for an unknown name, RuntimeError when weights can't be downloaded.
    """
    if model == "unet":
        return UNet(in_channels, classes, width, levels, unshuffle)
    if model == "classifier":
        return SliceClassifier(in_channels, classes, width, levels)
    from helpers import architectures  # which is built of this file's parts

    return architectures.build(model, in_channels, classes, width, levels, encoder_weights, slices, frozen)


def averaged(network, decay=0.995):
    """A moving average of the network's weights (EMA); early steps count more, so that it is useful from the start."""
    from torch.optim.swa_utils import AveragedModel

    @torch.no_grad()
    def blend(kept, new, count):
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        if torch.is_floating_point(kept[0]):
            torch._foreach_lerp_(kept, new, 1 - share)
        else:
            for a, b in zip(kept, new, strict=True):  # BatchNorm counts its batches in whole numbers
                a.copy_(b)

    return AveragedModel(network, multi_avg_fn=blend, use_buffers=True)


def save_weights(path, network, card):
    """Write a network's weights as safetensors, with its card (a dict of plain values) inside.

    network  a module, or its state_dict. A file that holds exactly this already keeps its time, so that nothing that was
             made from it looks out of date.
    """
    import json
    from pathlib import Path

    from safetensors.torch import save

    from helpers.paths import written_whole

    weights = network.state_dict() if isinstance(network, nn.Module) else network
    content = save({name: t.detach().cpu().contiguous() for name, t in weights.items()}, {"card": json.dumps(card)})
    path = Path(path)
    if not path.is_file() or path.stat().st_size != len(content) or path.read_bytes() != content:
        with written_whole(path) as beside:
            beside.write_bytes(content)


def load_weights(path, device="cpu"):
    """The network and the card that `save_weights` wrote, ready to predict.

    Raises ValueError, naming the file, when it is damaged or isn't ours.
    """
    import json

    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            card = json.loads(opened.metadata()["card"])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:
        raise ValueError(f"{path}: can't be read as weights of this project ({error})") from error
    try:
        network = build(**card["network"])
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its weights aren't those of the network that its card names ({error})") from error
    return network.to(device, memory_format=torch.channels_last).eval(), card
