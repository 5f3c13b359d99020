"""By which numbers the cascade decides."""

from dataclasses import dataclass, fields

from helpers.slices.recipe import NEIGHBOUR_MM


@dataclass(frozen=True)
class Rules:
    """What the cascade decides by; every number is a parameter of notebook 05. A scan of one slice
    is looked at whatever gate_threshold and min_liver_ml say.

    gate_threshold, liver_threshold, tumour_threshold  probabilities from which a slice or a pixel
                                                       counts.
    gate_smooth_mm        deviation of a smoothing along z of the gate's probability.
    gate_margin           slices kept beyond the first and last one that the gate's threshold names;
                          all between them are kept.
    min_liver_ml          a smaller liver is no liver.
    neck_widths_mm        what hangs on the liver by a neck that narrow, and whose median is more
                          than `max_hu_difference` from the liver's, is another organ; widths one
                          after another, none keeps all.
    min_lesion_ml         smaller tumour components are specks, no lesions; 0.5 ml: a ball of 10 mm.
                          In a single slice a tenth of it counts.
    smooth_mm             deviation of a smoothing along z of the tumour's probability: true lesions
                          go on in the next slices.
    neighbour_mm          the neighbours of a slice are taken about this far away, so that a dense
                          scan looks like the training's; 0 takes the next slices.
    batch_size            slices that go through a network together.
    flip_tta              a second look: slices in whose liver something passes tumour_threshold are
                          shown to the tumour's network mirrored, too, four views in all. Their mean
                          decides, their standard deviation says how much it contradicts itself.
    """

    gate_threshold: float = 0.3
    liver_threshold: float = 0.5
    tumour_threshold: float = 0.3
    gate_smooth_mm: float = 5.0
    gate_margin: int = 2
    min_liver_ml: float = 200.0
    neck_widths_mm: tuple = (12.0, 18.0, 27.0)
    max_hu_difference: float = 12.0
    min_lesion_ml: float = 0.5
    smooth_mm: float = 2.0
    neighbour_mm: float = NEIGHBOUR_MM
    batch_size: int = 8
    flip_tta: bool = True

    @classmethod
    def from_parameters(cls, parameters):
        """The rules among a notebook's variables, `globals()`; KeyError for one that is missing."""
        values = {rule.name: parameters[rule.name] for rule in fields(cls)}
        return cls(**values | {"neck_widths_mm": tuple(values["neck_widths_mm"])})
