"""The door to networks beside the U-Net and the slice classifier, by name, and those that notebook 07 compares with them."""

import torch
from torch import nn

from helpers.cascade.networks import Doubling, SliceClassifier, UNet

A_ALONE = 0.5  # share of a training batch that specialist A answers alone
RESNET = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))  # its stages, as torchvision and smp name them


def build(model, in_channels, classes, width, levels, encoder_weights, slices, frozen):
    """Make a network by name, as `networks.build` describes them."""
    library, _, name = model.partition(":")
    if frozen and library not in ("smp", "upsampled"):
        raise ValueError(f"model {model!r}: has no encoder of which {frozen} stages could be frozen")
    if library == "smp":
        return from_smp(name, in_channels, classes, encoder_weights, frozen)
    if library == "upsampled":
        return Upsampled(name, in_channels, classes, width, encoder_weights, frozen)
    if library == "monai":
        return from_monai(name, in_channels, classes, width, levels)
    ours = {"unet3d": UNet3d, "convlstm": RecurrentUNet}
    if library in ours:
        return ours[library](in_channels, classes, width, levels, slices)
    if library == "specialists":
        return Specialists(in_channels, classes, width, levels)
    known = "'unet', 'classifier', 'unet3d', 'convlstm', 'specialists', 'upsampled:ENCODER', 'smp:ARCHITECTURE:ENCODER'"
    raise ValueError(f"model {model!r}: choose {known} or 'monai:NETWORK'")


def unfolded(x, slices):
    """Slices that came as channels, one by one: (B, slices · windows, H, W) -> (B · slices, windows, H, W)."""
    return x.unflatten(1, (slices, -1)).flatten(0, 1).contiguous(memory_format=torch.channels_last)


class AcrossSlices(nn.Conv2d):
    """A 3 × 3 × 3 convolution, (B · slices, inside, H, W) -> (B · slices, outside, H, W); zeros lie beyond the ends.

    Its weights have four axes, (outside, 3 · inside, 3, 3), and slices lie along the batch: torch gives a network one memory
    layout, channels last of four axes, which weights of five refuse. Seen as a volume nothing has to be copied.
    """

    def __init__(self, inside, outside, slices):
        super().__init__(3 * inside, outside, 3, padding=1, bias=False)
        self.slices = slices

    def forward(self, x):
        volume = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.slices)).permute(0, 4, 1, 2, 3)  # (B, inside, slices, H, W)
        said = nn.functional.conv3d(volume, self.weight.unflatten(1, (3, -1)).transpose(1, 2), padding=1)
        return said.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


class UNet3d(UNet):
    """The U-Net with 3 × 3 × 3 convolutions (Çiçek et al. 2016, arXiv 1606.06650) over a slice's neighbours.

    Slices are few and thick, so only the plane is halved; the answer is the middle slice's.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, slices=1):
        super().__init__(in_channels // slices, classes, width, levels)
        self.slices = slices
        for block in (*self.down, *self.up):
            for k in (0, 3):
                block[k] = AcrossSlices(block[k].in_channels, block[k].out_channels, slices)

    def forward(self, x):  # (B, slices · windows, H, W)
        return super().forward(unfolded(x, self.slices)).unflatten(0, (-1, self.slices))[:, self.slices // 2]


class ConvLSTM(nn.Module):
    """An LSTM whose products are convolutions (Shi et al. 2015, arXiv 1506.04214); gives its last state, (B, outside, H, W)."""

    def __init__(self, inside, outside):
        super().__init__()
        self.gates = nn.Conv2d(inside + outside, 4 * outside, 3, padding=1)
        nn.init.ones_(self.gates.bias[outside : 2 * outside].data)  # to begin with, nothing is forgotten

    def forward(self, sequence):  # pictures (B, inside, H, W), in the order in which they are read
        batch, _, height, width = sequence[0].shape
        memory = said = torch.zeros(batch, self.gates.out_channels // 4, height, width, device=sequence[0].device)
        for x in sequence:
            enter, keep, show, new = self.gates(torch.cat([x, said.to(x.dtype)], dim=1)).chunk(4, dim=1)
            memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
            said = show.sigmoid() * memory.tanh()
        return said


class RecurrentUNet(UNet):
    """A U-Net that reads its neighbours one after the other: at its deepest level one ConvLSTM comes from the first slice, one
    from the last, and they meet at the middle one, which alone is drawn (after Chen et al. 2016, arXiv 1609.01006).
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4, slices=1):
        super().__init__(in_channels // slices, classes, width, levels)
        self.slices, deepest = slices, width * 2**levels
        self.upwards, self.downwards = ConvLSTM(deepest, deepest // 2), ConvLSTM(deepest, deepest - deepest // 2)
        self.heard = nn.BatchNorm2d(deepest)  # an LSTM's states are small at first, and would be lost beside the skips

    def forward(self, x):  # (B, slices · windows, H, W)
        x, middle, seen = unfolded(x, self.slices), self.slices // 2, []
        for level in self.down[:-1]:
            x = level(x)
            seen.append(x.unflatten(0, (-1, self.slices))[:, middle])
            x = nn.functional.max_pool2d(x, 2)
        read = self.down[-1](x).unflatten(0, (-1, self.slices)).unbind(1)
        x = self.heard(torch.cat([self.upwards(read[: middle + 1]), self.downwards(read[middle:][::-1])], dim=1))
        for lift, level in zip(self.lift, self.up, strict=True):
            x = level(torch.cat([seen.pop(), lift(x)], dim=1))
        return self.head(x)


class Specialists(nn.Module):
    """Two U-Nets gated against each other: A sees whole slices, with liver or without, B what A's box cuts out, enlarged.

    A slice classifier says of each slice how far B is believed inside that box; outside it A's word stands. Where A finds
    nothing, B sees the whole slice. In training A answers half of the slices alone, or it would leave all to B.
    """

    def __init__(self, in_channels, classes=1, width=16, levels=4):
        super().__init__()
        self.a, self.b = (UNet(in_channels, classes, width, levels) for _ in range(2))
        self.chooser = SliceClassifier(in_channels, 1, max(1, width // 2), levels)

    def forward(self, x):  # (B, in_channels, H, W)
        whole = self.a(x)
        middle, reach = boxes((whole[:, 0] > 0) if whole.shape[1] == 1 else whole.argmax(1) > 0)
        there = nn.functional.affine_grid(_placing(reach, middle), x.shape, align_corners=False)
        back = nn.functional.affine_grid(_placing(1 / reach, -middle / reach), x.shape, align_corners=False)
        crop = nn.functional.grid_sample(x, there, align_corners=False).contiguous(memory_format=torch.channels_last)
        inside = nn.functional.grid_sample(self.b(crop).float(), back, padding_mode="border", align_corners=False)
        trust = self.chooser(x).float().sigmoid()[..., None, None] * (back.abs().amax(-1) <= 1)[:, None]
        if self.training:
            trust = trust * (torch.rand(len(x), 1, 1, 1, device=x.device) >= A_ALONE)
        return whole + trust * (inside - whole)


def boxes(found, margin=0.1, least=0.25):
    """The box round what is found in each plane, bool (B, H, W): middle and reach, float (B, 2) as (x, y) in -1…1.

    margin, least  added to the reach, and the smallest one, as shares of the plane's half. Nothing found gives the whole plane.
    """
    low, high = [], []
    for axis in (1, 2):  # over y for the columns, over x for the rows
        line = found.any(axis)
        n = line.shape[1]
        at = (2 * torch.arange(n, device=line.device) + 1) / n - 1
        low.append(torch.where(line, at, 1.0).amin(1))
        high.append(torch.where(line, at, -1.0).amax(1))
    low, high = torch.stack(low, 1), torch.stack(high, 1)
    empty = ~found.any(2).any(1, keepdim=True)
    middle, reach = (low + high) / 2, ((high - low) / 2 + margin).clamp(least, 1.0)
    return torch.where(empty, 0.0, middle), torch.where(empty, 1.0, reach)


def _placing(scale, shift):
    """Matrices (B, 2, 3) for `affine_grid` from scale and shift, both (B, 2) as (x, y)."""
    return torch.cat([torch.diag_embed(scale), shift[..., None]], dim=2)


def from_smp(name, in_channels, classes, encoder_weights, frozen=0):
    """A network of segmentation_models_pytorch, "Unet:resnet34"."""
    import segmentation_models_pytorch as smp

    architecture, _, encoder = name.partition(":")
    if not hasattr(smp, architecture):
        raise ValueError(f"smp has no architecture {architecture!r}; it has Unet, UnetPlusPlus, FPN …")
    how = {"encoder_weights": encoder_weights, "in_channels": in_channels, "classes": classes}
    network = _asked_of_smp(getattr(smp, architecture), encoder or "resnet34", encoder_weights, how)
    freeze(network.encoder, frozen)
    return network


def _asked_of_smp(make, encoder, encoder_weights, how):
    try:
        return make(encoder, **how)
    except KeyError as error:
        raise ValueError(f"smp has no encoder {encoder!r} ({error})") from error
    except OSError as error:  # every kind of failed download is one
        message = f"the {encoder_weights} weights of {encoder} can't be downloaded; leave encoder_weights empty"
        raise RuntimeError(message) from error


def from_monai(name, in_channels, classes, width, levels):
    """A 2-D network of MONAI. SwinUNETR needs einops, and H and W in multiples of 32, from 64 pixels on."""
    from monai.networks import nets

    widths = [width * 2**level for level in range(levels + 1)]
    known = {
        "BasicUNet": {"features": (*(widths + widths[-1:] * 5)[:5], width)},
        "AttentionUnet": {"channels": widths, "strides": [2] * levels},
        "UNet": {"channels": widths, "strides": [2] * levels, "num_res_units": 2},
        "SwinUNETR": {"feature_size": max(12, width - width % 12)},
        "SegResNet": {"init_filters": width},
    }
    if name not in known:
        raise ValueError(f"MONAI network {name!r} is not known here; choose one of {', '.join(known)}")
    return getattr(nets, name)(spatial_dims=2, in_channels=in_channels, out_channels=classes, **known[name])


class StillNorm(nn.BatchNorm2d):
    """BatchNorm that keeps the statistics it came with while the rest of its network trains."""

    def train(self, mode=True):
        return super().train(False)


def freeze(encoder, stages):
    """Keep the first `stages` of a ResNet as they came, the statistics of their BatchNorm too; 1 is the stem, 5 is all of it.

    Raises ValueError for more stages than there are, or an encoder of another kind.
    """
    if stages and not (stages <= len(RESNET) and all(hasattr(encoder, name) for names in RESNET for name in names)):
        raise ValueError(f"{stages} stages of {type(encoder).__name__} can't be frozen: a ResNet has {len(RESNET)}, others can't")
    for name in sum(RESNET[:stages], ()):
        getattr(encoder, name).requires_grad_(False)
        for place, layer in list(encoder.named_modules()):
            if isinstance(layer, nn.BatchNorm2d) and place.split(".")[0] == name:
                still = StillNorm(layer.num_features, layer.eps, layer.momentum)
                still.load_state_dict(layer.state_dict())
                encoder.set_submodule(place, still.requires_grad_(False).eval())


class Upsampled(nn.Module):
    """An encoder of smp whose deepest picture is doubled five times, without skips (Xiao et al. 2018, arXiv 1804.06208)."""

    def __init__(self, encoder, in_channels, classes=1, width=16, encoder_weights=None, frozen=0):
        super().__init__()
        from segmentation_models_pytorch.encoders import get_encoder

        how = {"in_channels": in_channels, "depth": 5, "weights": encoder_weights}
        self.encoder = _asked_of_smp(get_encoder, encoder, encoder_weights, how)
        freeze(self.encoder, frozen)
        widths = [self.encoder.out_channels[-1], *(width * 2**level for level in reversed(range(5)))]
        steps = [nn.Sequential(Doubling(a, b), nn.BatchNorm2d(b), nn.ReLU(inplace=True)) for a, b in zip(widths, widths[1:])]
        self.head = nn.Sequential(*steps, nn.Conv2d(width, classes, 1))

    def forward(self, x):  # (B, in_channels, H, W), both multiples of 32
        return self.head(self.encoder(x)[-1])
