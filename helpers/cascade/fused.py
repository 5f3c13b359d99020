"""To predict on a CPU: a convolution, its BatchNorm and its ReLU in one pass over memory."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ROW = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)  # what becomes one operation


class ConvolutionReLU(nn.Module):
    """oneDNN's convolution with ReLU, its kernel scaled as the BatchNorm after it scaled; takes
    activations to the kernel's dtype. The bias stays float32: rounded, it would cost precision.
    """

    def __init__(self, convolution, norm, dtype):
        super().__init__()
        whole = fuse_conv_bn_eval(convolution, norm)
        kernel = whole.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", kernel)
        self.register_buffer("bias", whole.bias.detach())
        self.shape = whole.padding, whole.stride, whole.dilation, whole.groups

    def forward(self, x):
        x = x.to(self.weight.dtype)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.shape, "relu", [], ""
        )


def fused(network, dtype):
    """A network that predicts, with every ROW in its Sequentials as one operation, and all else
    computed as before; the network itself where there is none, or torch has no oneDNN.
    """
    if not torch.backends.mkldnn.is_available() or not any(_rows(network)):
        return network
    network = copy.deepcopy(network)
    for layers, k in list(_rows(network)):
        layers[k] = ConvolutionReLU(layers[k], layers[k + 1], dtype)
        layers[k + 1], layers[k + 2] = nn.Identity(), nn.Identity()
    return network


def _rows(network):
    """(Sequential, place of the convolution in it) of each ROW that pads with zeros."""
    for layers in network.modules():
        if type(layers).forward is nn.Sequential.forward:
            inside = list(layers)  # a slice of smp's Sequentials can't be made
            for k, row in enumerate(zip(inside, inside[1:], inside[2:], strict=False)):
                if tuple(map(type, row)) == ROW and _pads_with_zeros(row[0]):
                    yield layers, k


def _pads_with_zeros(convolution):
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
