"""Settings of training on labels: schedules, label spreading, alphas of WiSE-FT; nothing is loaded or trained here."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from imu_video.config import Config

Inputs = Literal["imu", "teacher", "fused"]
"""Whose features: the IMU encoder's, the frozen teacher's, or both side by side."""
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Places between probe (0) and fine-tuned network (1) that are looked at."""


def _grid(alphas: tuple[float, ...]) -> tuple[float, ...]:
    if list(alphas) != sorted(set(alphas)) or alphas[0] != 0 or alphas[-1] != 1:
        raise ValueError(f"alphas must rise from 0 to 1, both included, got {list(alphas)}")
    return alphas


Alphas = Annotated[tuple[float, ...], AfterValidator(_grid)]
"""A grid from 0 to 1: both ends are part of every curve."""


class NetworkConfig(Config):
    """How a network is trained on labels: a number of steps whatever the number of labels, or passes over them.

    Args:
        steps: optimiser steps.
        epochs: passes over the labelled windows, in place of ``steps``; null = ``steps``.
        batch: windows a step, at most; smaller supports are taken whole.
        learning_rate: peak of a cosine schedule, AdamW.
        warmup: share of the steps in which the rate rises to it, in [0, 1).
        encoder_factor: learning rate of the encoder over that of the head, above 0.
        weight_decay: of AdamW, on matrices only.
        label_smoothing: share of every target that is spread evenly over the classes, in [0, 1).
        members: networks that are trained alike from other seeds and whose class probabilities are averaged
            (Lakshminarayanan et al. 2017, arXiv 1612.01474), 1 .. 32; the cost grows in proportion.
        precision: ``bf16`` runs the encoder under autocast; on CPUs with bf16 units about twice as fast.
        augment: augmentations of the windows, as in pretraining configs.
    """

    steps: int = Field(default=100, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    encoder_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    members: int = Field(default=1, ge=1, le=32)
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: list[dict[str, Any] | str] = Field(
        default=[{"name": "scale"}, {"name": "jitter"}, {"name": "crop_resize", "min_fraction": 0.8}]
    )

    def steps_for(self, labelled: int) -> int:
        """Optimiser steps with so many labelled windows.

        Example:
            >>> NetworkConfig(epochs=25, batch=8).steps_for(100), NetworkConfig().steps_for(100)
            (313, 100)
        """
        if self.epochs is None:
            return self.steps
        return math.ceil(self.epochs * labelled / min(self.batch, labelled))


class SpreadConfig(Config):
    """How labels are spread: along a graph (`spread_labels`), then, if asked, by `balanced_prototypes`.

    Args:
        inputs: which features say who is a neighbour: ``imu`` (the encoder's), ``teacher`` (the frozen teacher's) or
            ``fused`` (both side by side).
        neighbours: neighbours a window, 3 .. 20.
        alpha: how far labels travel, in [0, 1).
        temperature: of the edge weights, above 0.
        rounds: of `balanced_prototypes` after the graph; 0 = none, 10 is enough. Takes classes to be equally frequent.
        sharpness: temperature of the prototypes, 0.02 .. 0.2.
    """

    inputs: Inputs = "fused"
    neighbours: int = Field(default=8, ge=1)
    alpha: float = Field(default=0.9, ge=0, lt=1)
    temperature: float = Field(default=0.1, gt=0)
    rounds: int = Field(default=0, ge=0)
    sharpness: float = Field(default=0.05, gt=0)
