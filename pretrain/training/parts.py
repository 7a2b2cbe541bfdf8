"""The parts that the training loop runs on; prepare/prepare.py builds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imu_video.shards.batches.loader import PairLoader
from pretrain.config import PretrainConfig
from pretrain.training.augment import Augmenter
from pretrain.training.feed import Feed
from pretrain.training.task import PretrainTask


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Model, data and optimiser of a run.

    Args:
        config: resolved.
        task: model and losses.
        feed: training batches by number, read one ahead.
        val_loader: validation pairs, None without a validation split.
        val_batches: number of its batches in the gallery.
        augmenter: augments windows in SI units, and draws for objectives and towers.
        optimizer: of the task's parameters.
        steps: optimiser steps of the whole run.
        begin: first step of the run: 0, or the last step of the finished run that it continues.
    """

    config: PretrainConfig
    task: PretrainTask
    feed: Feed
    val_loader: PairLoader | None
    val_batches: int
    augmenter: Augmenter
    optimizer: torch.optim.Optimizer
    steps: int
    begin: int = 0
