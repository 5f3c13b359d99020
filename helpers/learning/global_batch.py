"""One batch for all processes that train together: each takes its slices, and all learn as one."""

import functools

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from helpers import together


def part_of(batch):
    """This process's slices of (image, target), the same number for each.

    Raises ValueError where they can't be shared evenly.
    """
    size, processes = len(batch[0]), together.count()
    if size % processes:
        raise ValueError(f"batch_size={size} can't be shared evenly by {processes} processes: "
                         "take a multiple")
    mine = slice(together.rank() * size // processes, (together.rank() + 1) * size // processes)
    return tuple(tensor[mine] for tensor in batch)


def of_all(tensor):
    """The tensors (B, …) of all processes one after the other; only this one's has a gradient."""
    if together.count() == 1:
        return tensor
    tensors = _gathered(tensor.detach())
    tensors[together.rank()] = tensor
    return torch.cat(tensors)


def share_statistics(network):
    """Let BatchNorm, where it learns its statistics, take those of all processes' slices.

    torch's own SyncBatchNorm does that on GPUs only.
    """
    if together.count() == 1:
        return
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = functools.partial(_normalised, layer)


def _normalised(layer, x):
    if not layer.training:
        return _BatchNorm.forward(layer, x)
    count = x.numel() // x.shape[1] * together.count()
    y, mean, var = _SharedNorm.apply(x, layer.weight, layer.bias, layer.eps)
    with torch.no_grad():
        layer.num_batches_tracked += 1
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(var * (count / (count - 1)), layer.momentum)
    return y


class _SharedNorm(torch.autograd.Function):
    """BatchNorm over the slices of all processes (Ioffe and Szegedy 2015, arXiv 1502.03167).

    Its backward gives x the gradient through mean and variance of all; those of weight and bias are
    of this process's slices, like every other gradient before the processes take their mean.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, eps):  # (B, C, …), (C,), (C,)
        over = [axis for axis in range(x.ndim) if axis != 1]
        var, mean = torch.var_mean(_wide(x), over, correction=0)
        # (processes, C), of equally many pixels
        means, variances = torch.stack(_gathered(mean)), torch.stack(_gathered(var))
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.over = over
        ctx.mark_non_differentiable(mean, var)
        return nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var

    @staticmethod
    def backward(ctx, gradient, *_):
        x, weight, mean, scale = ctx.saved_tensors
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean, scale = mean.view(shape), scale.view(shape)
        normalised, gradient = (_wide(x) - mean) * scale, _wide(gradient)
        of_bias, of_weight = gradient.sum(ctx.over), (gradient * normalised).sum(ctx.over)
        sums = torch.stack([of_bias, of_weight])
        torch.distributed.all_reduce(sums)
        of_bias_all, of_weight_all = (sums * (x.shape[1] / x.numel() / together.count()))[:, None]
        through = of_bias_all.view(shape) + normalised * of_weight_all.view(shape)
        of_x = (gradient - through) * (weight.view(shape) * scale)
        return of_x.to(x.dtype), of_weight, of_bias, None


def _wide(tensor):
    """float32, where it isn't wider."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _gathered(tensor):
    """The tensors of all processes, a list in the order of their ranks."""
    tensors = [torch.empty_like(tensor) for _ in range(together.count())]
    torch.distributed.all_gather(tensors, tensor.contiguous())
    return tensors
