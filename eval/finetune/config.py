"""Configs of training on labels: schedules, label spreading, alphas of WiSE-FT; loads and trains nothing."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from imu_video.arguments import LARGEST_FLOAT, LARGEST_INTEGER
from imu_video.config import Config

Inputs = Literal["imu", "teacher", "fused"]
"""Source of features: the IMU encoder, the frozen teacher, or both concatenated."""
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Evaluated positions between linear probe (0) and fine-tuned network (1)."""


def _grid(alphas: tuple[float, ...]) -> tuple[float, ...]:
    if list(alphas) != sorted(set(alphas)) or alphas[0] != 0 or alphas[-1] != 1:
        raise ValueError(f"alphas must increase from 0 to 1, both included, got {list(alphas)}")
    return alphas


Alphas = Annotated[tuple[float, ...], AfterValidator(_grid)]
"""A grid from 0 to 1 with both ends, so that every curve contains the probe and the fine-tuned network."""


class NetworkConfig(Config):
    """Training of a network on labels: a fixed number of steps, or a number of passes over the labelled windows.

    Args:
        steps: optimiser steps.
        epochs: passes over the labelled windows, used instead of ``steps``; null = use ``steps``.
        batch: windows per step; a smaller support is one batch.
        learning_rate: peak learning rate of AdamW.
        warmup: fraction of the steps with a linear warm-up, in [0, 1).
        decay: learning rate after the warm-up: ``cosine`` (to zero) or ``constant``.
        encoder_factor: learning rate of the encoder divided by that of the head, above 0.
        weight_decay: weight decay of AdamW, applied to matrices only; with 0 it is Adam.
        clip: largest norm of the gradient; null = no limit.
        norm: layer norm of the features before the head; without it the head is the linear layer alone.
        label_smoothing: fraction of every target that is distributed evenly over the classes, in [0, 1).
        members: number of networks, trained with different seeds, whose class probabilities are averaged
            (Lakshminarayanan et al. 2017, arXiv 1612.01474), in [1, 32]; the cost is proportional.
        precision: ``bf16`` runs the encoder under autocast; about twice as fast on CPUs with bf16 units.
        augment: augmentations of the windows, as in pretraining configs.
    """

    steps: int = Field(default=100, ge=1, le=LARGEST_INTEGER)
    epochs: int | None = Field(default=None, ge=1, le=LARGEST_INTEGER)
    batch: int = Field(default=64, ge=2, le=2**20)
    learning_rate: float = Field(default=1e-3, gt=0, le=1e3)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay: Literal["cosine", "constant"] = "cosine"
    encoder_factor: float = Field(default=1.0, gt=0, le=1e6)
    weight_decay: float = Field(default=0.05, ge=0, le=1e3)
    clip: float | None = Field(default=1.0, gt=0, le=LARGEST_FLOAT)
    norm: bool = True
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    members: int = Field(default=1, ge=1, le=32)
    precision: Literal["fp32", "bf16"] = "fp32"
    augment: list[dict[str, Any] | str] = Field(
        default=[{"name": "scale"}, {"name": "jitter"}, {"name": "crop_resize", "min_fraction": 0.8}]
    )

    def identity(self) -> dict[str, Any]:
        """The schedule as part of a key: keys that earlier versions did not have are left out at their defaults.

        Example:
            >>> sorted(NetworkConfig(clip=None).identity().keys() & {"clip", "decay", "norm"})
            ['clip']
        """
        later = {name: type(self).model_fields[name].default for name in ("clip", "decay", "norm")}
        stated = self.model_dump(mode="json")
        return {key: value for key, value in stated.items() if key not in later or value != later[key]}

    def steps_for(self, labelled: int) -> int:
        """Number of optimiser steps for a number of labelled windows.

        Example:
            >>> NetworkConfig(epochs=25, batch=8).steps_for(100), NetworkConfig().steps_for(100)
            (313, 100)
        """
        if self.epochs is None:
            return self.steps
        return math.ceil(self.epochs * labelled / min(self.batch, labelled))


class SpreadConfig(Config):
    """Label spreading: along a graph (`spread_labels`), then optionally by `balanced_prototypes`.

    Args:
        inputs: features that define the neighbours: ``imu`` (of the encoder), ``teacher`` (of the frozen teacher) or
            ``fused`` (both concatenated).
        neighbours: neighbours per window, at least 1; typically 3 .. 20.
        alpha: fraction of a label that is taken from neighbours, in [0, 1).
        temperature: temperature of the edge weights, above 0.
        rounds: rounds of `balanced_prototypes` after the graph; 0 = off, 10 is enough. Assumes balanced classes.
        sharpness: temperature of the prototypes, above 0; typically 0.02 .. 0.2.
    """

    inputs: Inputs = "fused"
    neighbours: int = Field(default=8, ge=1, le=2**20)
    alpha: float = Field(default=0.9, ge=0, lt=1)
    temperature: float = Field(default=0.1, gt=0, le=LARGEST_FLOAT)
    rounds: int = Field(default=0, ge=0, le=10**6)
    sharpness: float = Field(default=0.05, gt=0, le=LARGEST_FLOAT)
