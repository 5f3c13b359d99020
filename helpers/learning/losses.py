"""Losses by name, from MONAI and torch, all with the signature loss(logits, target)."""

import torch
from torch import nn

from helpers.scans.labels import UNKNOWN

SURE = 30.0  # a logit whose probability is 1, for float32


def loss_named(name, classes=1, class_weights=()):
    """A loss for logits (B, classes, H, W) and targets (B, 1, H, W) of whole numbers; the gate's
    are (B, 1).

    name           "bce" · "bce+dice" · "ce+dice" · "dice" · "focal" · "tversky". Dice is taken over
                   the whole batch, because a single slice without tumour would make it jump.
    class_weights  one a class; with a binary head a single number that weighs the foreground. Empty
                   for none.
    Where the target is UNKNOWN nothing is learnt, whatever the logits are.
    Raises ValueError for an unknown name, a wrong number of weights, and weights for a loss that
    has none.
    """
    from monai import losses

    weights = torch.tensor([float(w) for w in class_weights]) if len(class_weights) else None
    if weights is not None and len(weights) != classes:
        raise ValueError(f"{len(weights)} class weights for {classes} classes")
    if weights is not None and (name in ("dice", "tversky") or name == "focal" and classes == 1):
        raise ValueError(f"loss {name!r} of {classes} classes takes no class weights")
    head = {"sigmoid": True} if classes == 1 else {"softmax": True, "to_onehot_y": True}
    known = {
        "bce": lambda: nn.BCEWithLogitsLoss(pos_weight=weights),
        "ce+dice": lambda: losses.DiceCELoss(batch=True, weight=weights, **head),
        "dice": lambda: losses.DiceLoss(batch=True, **head),
        "focal": lambda: losses.FocalLoss(
            to_onehot_y=classes > 1, weight=weights, use_softmax=classes > 1
        ),
        "tversky": lambda: losses.TverskyLoss(alpha=0.3, beta=0.7, batch=True, **head),
    }
    known["bce+dice"] = known["ce+dice"]
    if name not in known:
        raise ValueError(f"loss {name!r}: choose one of {', '.join(known)}")
    chosen = known[name]()

    def loss_of(logits, target):
        logits, target = known_alone(logits.float(), target)
        return chosen.to(logits.device)(logits, target.float())

    return loss_of


def known_alone(logits, target):
    """(logits, target) in which every UNKNOWN pixel is background and answered so: no loss, no
    gradient.
    """
    unknown = target == UNKNOWN  # (B, 1, H, W)
    surely_background = torch.full_like(logits, -SURE)
    if logits.shape[1] > 1:
        surely_background[:, 0] = SURE
    return torch.where(unknown, surely_background, logits), target.masked_fill(unknown, 0)
