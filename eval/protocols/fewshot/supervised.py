"""The supervised reference: the same architecture with a linear head, trained on an episode's support alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from eval.config import SupervisedConfig
from eval.finetune.network import Network, measured, member_seeds, train_network
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec


class SupervisedReference:
    """Trains encoder and head from scratch on a few labelled windows, always by the same fixed schedule.

    No checkpoint is selected: a 1-shot support leaves no windows for validation.

    Args:
        spec: input specification of the encoder under test (its normalisation is kept: it is a constant scale).
        encoder: constructor arguments of the encoder under test.
        config: schedule and augmentations.
    """

    def __init__(self, *, spec: InputSpec, encoder: Mapping[str, Any], config: SupervisedConfig) -> None:
        self.spec = spec
        self.encoder = dict(encoder)
        self.config = config

    def predict(
        self, support: np.ndarray, labels: np.ndarray, query: np.ndarray, *, classes: int, seed: int
    ) -> np.ndarray:
        """Train on the support and predict the query.

        Args:
            support: (n, C, T) windows in SI units at the spec's rate, NaN where missing.
            labels: (n,) class numbers.
            query: (N, C, T) windows.
            classes: M.
            seed: seed of initialisation, order and augmentation; the global random state is not changed.

        Shapes:
            -> (N,) int64 class numbers.
        """
        targets = torch.eye(classes)[torch.from_numpy(labels.astype(np.int64))]
        total = np.zeros((len(query), classes))
        for own in member_seeds(seed, self.config.members):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(own)
                bundle = EncoderBundle(spec=self.spec, encoder=self.encoder)
                network = Network(
                    bundle=bundle, classes=classes, norm=self.config.norm, precision=self.config.precision
                )
                train_network(network, *measured(support), targets, config=self.config, seed=own)
            total += network.probabilities(*measured(query))
        return np.asarray(total.argmax(axis=1))
