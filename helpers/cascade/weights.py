"""Networks built by name, averaged while they learn, saved with their card and loaded again."""

import torch
from torch import nn

from helpers.cascade import architectures
from helpers.cascade.networks import SliceClassifier, UNet
from helpers.files import written_whole


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
