"""What a batch looks like on its way through a network."""

import pandas as pd
import torch


def shape_table(network, image):
    """A row for each level of a network, in the order in which a batch comes through.

    image    float32 (B, C, H, W).
    returns  DataFrame level, shape (of what comes out), parameters. Nothing in the network changes.
    """
    rows, hooks = [("input", tuple(image.shape), 0)], []

    def noting(name):
        def hook(module, _, output):
            last = output if isinstance(output, torch.Tensor) else output[-1]
            rows.append((name, tuple(last.shape), sum(p.numel() for p in module.parameters())))

        return hook

    for name, child in network.named_children():
        levels = child.named_children() if isinstance(child, torch.nn.ModuleList) else [("", child)]
        for number, level in levels:
            hooks.append(level.register_forward_hook(noting(f"{name} {number}".strip())))
    hooks.append(network.register_forward_hook(noting("whole network")))
    was_training = network.training
    with torch.no_grad():
        network.eval()(image.to(next(network.parameters()).device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows, columns=["level", "shape", "parameters"])
