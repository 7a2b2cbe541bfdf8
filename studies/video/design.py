"""What the video study compares: scales, arms, recipes, targets and the order of the grid; nothing is run here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imu_video.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a scale adds to the next smaller one.

    Args:
        block: name of the block that it adds.
        watch: simulated subjects with the device `watch` in this block.
        research: simulated subjects with the device `research` in this block.
        takes: share of the takes of motion capture in this block and all smaller ones.
        epochs: passes of the teacher's fit over the training windows of the scale: about 80,000 windows at each scale.
    """

    block: str
    watch: int
    research: int
    takes: float
    epochs: int

    @property
    def subjects(self) -> tuple[str, str]:
        """Overrides that build the simulated subjects of the block."""
        groups = [group(f"{self.block}w", self.watch, "watch"), group(f"{self.block}r", self.research, "research")]
        return f"dataset.groups=[{', '.join(groups)}]", "splits.fractions={train: 1.0}"


SCALES: Mapping[str, Scale] = {
    "1k5": Scale(block="a", watch=6, research=5, takes=0.01875, epochs=53),
    "5k": Scale(block="b", watch=13, research=13, takes=0.0625, epochs=16),
    "20k": Scale(block="c", watch=56, research=55, takes=0.25, epochs=4),
    "80k": Scale(block="d", watch=222, research=222, takes=1.0, epochs=1),
}
"""Scale -> its last block; the name is the number of training windows, rounded."""

SMALLEST, LARGEST = "1k5", "80k"

TRIALS = "trials"
"""The scale of UTD-MHAD: one window per trial."""

TRUE = "video"
"""The arm with true pairs, which is also the first recipe."""

ARMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    TRUE: ("video", ()),
    "permuted": ("video", ("data.control=permuted_pairs",)),
    "redrawn": ("video", ("data.control=redrawn_pairs",)),
    "imu": ("imu", ()),
}
"""Arm -> its row and what it changes in it."""

RECIPES: Mapping[str, str] = {
    TRUE: "InfoNCE + two views",
    "info_nce": "InfoNCE",
    "sigmoid": "sigmoid pair loss",
    "comodo": "COMODO",
    "hard_negative": "hard negatives",
    "multi_device": "multi-device",
    "masked": "masked patches",
    "imu": "two views, IMU only",
}
"""Row -> its name in the table of recipes."""

OWN_STUDENT = ("masked",)
"""Recipes with a student of their own: the same network untrained is evaluated beside them."""

RECORDED = ("hapt", "umafall")
"""Targets with recordings of real sensors that every scale is evaluated on."""

FURTHER = ("pdiot", "wisdm51")
"""Targets with recordings of real sensors that only the largest scale is evaluated on, after the grid."""

CONFIG_OF = {"hapt": "hapt", "umafall": "umafall", "pdiot": "pdiot", "wisdm51": "wisdm51_watch"}
"""Target with recordings -> the shipped data config that builds it."""

PLACES = {**{name: f"data/{name}" for name in CONFIG_OF}, "world": "blocks/world-heldout", "utd": "data/utd-trials"}
"""Evaluation config -> data folder of the study."""

TARGETS = (*RECORDED, "world")
"""What the encoders of simulated subjects and motion capture are evaluated on."""

CLIPS = ("window.clip_fps=4", "window.clip_size=64")
"""What changes in a block whose clips are rendered."""

UTD = ("data.batch_size=64", "encoder.segments=4")
"""What changes in a row on UTD-MHAD: 323 training windows of 4 s, each a gesture whose order in time matters."""

LAYERS: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = (
    (("1k5", "20k"), (0, 1, 2)),
    (("5k", "80k"), (0, 1, 2)),
    (("1k5", "5k", "20k", "80k"), (3, 4)),
)
"""Scales and seeds of the grid, in this order; after each layer its scales are evaluated."""


def group(prefix: str, count: int, device: str) -> str:
    """Simulated subjects of one device, as an entry of ``dataset.groups``."""
    return f"{{prefix: {prefix}, count: {count}, devices: [{device}], seconds_per_activity: 8}}"


VALIDATION = (f"dataset.groups=[{group('v', 8, 'watch')}]", "splits.fractions={val: 1.0}")
"""Overrides that build the validation subjects."""


def scale_named(name: str) -> Scale:
    """The scale of this name.

    Raises:
        ConfigError: no such scale.
    """
    if name not in SCALES:
        raise ConfigError(f"unknown scale {name!r}", hint=f"one of: {', '.join(SCALES)}")
    return SCALES[name]


def up_to(name: str) -> list[Scale]:
    """The scales whose blocks a scale consists of, itself last."""
    scale_named(name)
    names = list(SCALES)
    return [SCALES[smaller] for smaller in names[: names.index(name) + 1]]


def takes(roots: Sequence[Path]) -> list[Path]:
    """BVH files of all folders in an order that depends on their names alone, so that a share of them is a sample.

    Raises:
        ConfigError: no such file in any folder.
    """
    files = [path for root in roots for path in root.rglob("*.bvh")]
    if not files:
        raise ConfigError(
            f"no .bvh file in {', '.join(map(str, roots))}", hint="name the folders of the motion capture"
        )
    return sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
