"""The supervised reference: the same architecture with a linear head, learned from an episode's support alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eval.config import SupervisedConfig
from imu_video.hub import EncoderBundle
from imu_video.input_spec import InputSpec
from imu_video.transforms import Compose


class SupervisedReference:
    """Trains encoder and head from scratch on a few labelled windows, always by the same fixed schedule.

    Nothing is selected: no validation set could be spared from a 1-shot support without changing the question.

    Args:
        spec: input specification of the encoder under test (its normalisation is kept: it is a constant scale).
        encoder: constructor arguments of the encoder under test.
        config: schedule and augmentations.
    """

    def __init__(self, *, spec: InputSpec, encoder: Mapping[str, Any], config: SupervisedConfig) -> None:
        self.spec = spec
        self.encoder = dict(encoder)
        self.config = config
        self.augment = Compose.build(config.augment)

    def predict(
        self, support: np.ndarray, labels: np.ndarray, query: np.ndarray, *, classes: int, seed: int
    ) -> np.ndarray:
        """Train on the support and predict the query.

        Args:
            support: (n, C, T) windows in SI units at the spec's rate, NaN where missing.
            labels: (n,) class numbers.
            query: (N, C, T) windows.
            classes: M.
            seed: of initialisation, order and augmentation; the global random state is left as it was.

        Shapes:
            -> (N,) int64 class numbers.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bundle = EncoderBundle(spec=self.spec, encoder=self.encoder)
            model = nn.Sequential(nn.LayerNorm(bundle.feature_dim), nn.Linear(bundle.feature_dim, classes))
            self._train(bundle, model, *_measured(support), torch.from_numpy(labels.astype(np.int64)), seed)
        bundle.eval()
        model.eval()
        out = []
        with torch.inference_mode():
            for i in range(0, len(query), 256):
                out.append(model(bundle(*_measured(query[i : i + 256]))).argmax(dim=1).numpy())
        return np.concatenate(out).astype(np.int64)

    def _train(
        self, bundle: EncoderBundle, head: nn.Module, imu: Tensor, mask: Tensor, labels: Tensor, seed: int
    ) -> None:
        config = self.config
        generator = torch.Generator().manual_seed(seed)
        parameters = [*bundle.encoder.parameters(), *head.parameters()]
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _factor(step, config.steps))
        order = torch.empty(0, dtype=torch.int64)
        size = min(config.batch, len(labels))
        bundle.train()
        head.train()
        for _ in range(config.steps):
            if len(order) < size:
                order = torch.cat([order, torch.randperm(len(labels), generator=generator)])
            rows, order = order[:size], order[size:]
            x, m = self.augment(imu[rows], mask[rows], generator)
            loss = nn.functional.cross_entropy(head(bundle(x, m)), labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()


def at_spec_rate(x: np.ndarray, *, rate_hz: float, spec: InputSpec) -> np.ndarray:
    """Windows (N, C, T) at the encoder's rate; the channels must be the encoder's."""
    if math.isclose(rate_hz, spec.rate_hz, rel_tol=1e-6):
        return x
    from imu_video.recordings.signal import resample_uniform

    return np.asarray(resample_uniform(x, rate_hz, spec.rate_hz), dtype=np.float32)


def _factor(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _measured(x: np.ndarray) -> tuple[Tensor, Tensor]:
    imu = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    mask = imu.isfinite()
    return torch.where(mask, imu, 0), mask
