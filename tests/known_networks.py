"""Networks whose answers are known, and a scan to try them on."""

import numpy as np
import pytest
import torch

from helpers.cascade import pipeline, weights
from helpers.scans.volume import Volume
from helpers.slices import recipe


class Says(torch.nn.Module):
    """A network that answers from the grey value of the middle channel: logit 8 where `rule` holds, else −8."""

    def __init__(self, rule, plane=True):
        super().__init__()
        self.rule, self.plane = rule, plane
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        grey = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1] * 255
        said = self.rule(grey).float() * 16 - 8
        return said if self.plane else said.amax((2, 3))


def loaded(**rules):
    card = {"neighbours": 1, "norm": (0.0, 255.0), "recipe": recipe.Recipe(windows=((0, 255),), size=64).as_dict()}
    found = {"liver": lambda g: g > 90, "tumour": lambda g: (g > 190) & (g < 245)} | rules
    return {stage: weights.TrainedNetwork(Says(rule, stage != "gate"), card | {"stage": stage}) for stage, rule in found.items()}


@pytest.fixture
def scan():
    """A liver of 100 HU with a lesion of 200 HU and a speck, a second bright thing elsewhere, in a file with axes R A S."""
    hu = np.zeros((20, 64, 64), np.int16)
    hu[5:15, 10:40, 10:40] = 100
    hu[8:11, 20:28, 20:28] = 200  # the lesion: 3 × 8 × 8 voxels
    hu[13, 12, 12] = 200  # a speck
    hu[6:9, 50:56, 50:56] = 200  # looks like tumour, lies outside the liver
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    return Volume(hu, (2.0, 1.0, 1.0), affine, (64, 64, 20), "RAS")


RULES = pipeline.Rules(gate_threshold=0.5, min_liver_ml=1.0, min_lesion_ml=0.05, smooth_mm=0.0)
