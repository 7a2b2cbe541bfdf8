"""Domain generalisation algorithms, one file each; importing this package registers all of them."""

from eval.algorithms import (
    andmask,
    coral,
    dann,
    ddlearn,
    erm,
    ermpp,
    fish,
    fishr,
    fusion,
    groupdro,
    lag,
    mixup,
    mldg,
    mmd,
    rsc,
    urm,
    vrex,
)
from eval.algorithms.base import AdamSettings, Algorithm, DomainBatch, Network, algorithms

__all__ = [
    "AdamSettings",
    "Algorithm",
    "DomainBatch",
    "Network",
    "algorithms",
    "andmask",
    "coral",
    "dann",
    "ddlearn",
    "erm",
    "ermpp",
    "fish",
    "fishr",
    "fusion",
    "groupdro",
    "lag",
    "mixup",
    "mldg",
    "mmd",
    "rsc",
    "urm",
    "vrex",
]


def __dir__() -> list[str]:
    """The public names, as `dir` and tab completion list them."""
    return sorted(__all__)
