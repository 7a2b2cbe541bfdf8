"""Recipes as loops written from their papers: forward of the heads, loss, optimiser and schedule; encoders are shared.

A recipe's twin starts from the weights of a prepared run, in double precision. It calls the modules of the student and
of a tower, and looks everything else up as plain tensors. Its settings are those of the paper, not of a config.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from imu_video.types import PairBatch
from pretrain.observe.reporter import Reporter, StopSignal
from pretrain.prepare.prepare import Prepared
from pretrain.training.engine import Engine
from pretrain.training.state import step_seed
from pretrain.training.task import PretrainTask
from tests.reference.naive_adam import NaiveAdam


def doubled(batch: PairBatch) -> PairBatch:
    """The batch with every floating-point array in double precision."""

    def wide(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: wide(value) for name, value in x.items()}
        return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x

    fields = {f.name: wide(getattr(batch, f.name)) for f in dataclasses.fields(batch) if f.name != "meta"}
    return dataclasses.replace(batch, **fields)


class DoubleFeed:
    """Training batches in double precision."""

    def __init__(self, feed: Any) -> None:
        self.feed, self.loader = feed, feed.loader

    def get(self, number: int) -> PairBatch:
        return doubled(self.feed.get(number))


def engine_and_start(prepared: Prepared) -> tuple[Engine, PretrainTask]:
    """The engine of a run in double precision, and a copy of its initial task."""
    task = prepared.parts.task.double()
    feed: Any = DoubleFeed(prepared.parts.feed)
    engine = Engine(
        parts=dataclasses.replace(prepared.parts, feed=feed),
        accelerator=prepared.accelerator,
        store=prepared.folder.store,
        reporter=Reporter(),
        stop=StopSignal(),
        lineage={},
    )
    return engine, copy.deepcopy(task)


def normalised(x: Tensor) -> Tensor:
    return x / (x * x).sum(1, keepdim=True).sqrt()


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


class Recipe:
    """A recipe of a paper: ``loss`` of a batch, ``rate`` of a step, ``after`` a step, settings of Adam.

    Augmented windows and the random numbers of dropout are those of the run.

    Attributes:
        adam: settings of `NaiveAdam`.
        descent: plain gradient descent in place of Adam.
        clip: largest norm of all gradients together.
        fixed: beginnings of the names of parameters that are not trained.
    """

    adam: dict[str, Any] = {}
    descent = False
    clip = math.inf

    def __init__(self, start: PretrainTask, prepared: Prepared) -> None:
        self.task, self.prepared = start.train(), prepared
        self.student = start.model.student
        self.p = dict(start.named_parameters())
        self.b = dict(start.named_buffers())
        self.steps = prepared.parts.steps

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        raise NotImplementedError

    def rate(self, step: int) -> float:
        raise NotImplementedError

    def after(self, loss: float, step: int) -> None:
        """Called with the loss of an update and its number, from 0."""

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        """Batch statistics, as in training; running statistics have no part in a training loss."""
        mean = x.mean(0)
        variance = ((x - mean) ** 2).mean(0)
        return (x - mean) / (variance + 1e-5).sqrt() * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def trained(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.p.items() if p.requires_grad}

    def losses(self) -> Iterator[float]:
        """Train step by step; yields each loss."""
        trained = list(self.trained().values())
        adam, parts = NaiveAdam(trained, **self.adam), self.prepared.parts
        size, seed = parts.config.optim.accumulate, parts.config.seed
        for step in range(self.steps):
            mean, sums = 0.0, [None] * len(trained)
            for number in range(step * size, (step + 1) * size):
                batch = parts.augmenter.training(doubled(parts.feed.loader.batch(number)), number)
                torch.manual_seed(step_seed(seed, number, "dropout"))
                loss = self.loss(batch, number) / size
                mean += loss.item()
                gradients = torch.autograd.grad(loss, trained, allow_unused=True)
                sums = [b if a is None else a if b is None else a + b for a, b in zip(sums, gradients, strict=True)]
            self.update(adam, sums, self.rate(step))
            self.after(mean, step)
            yield mean

    def update(self, adam: NaiveAdam, gradients: list[Any], lr: float) -> None:
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients if g is not None))
        if norm > self.clip:
            gradients = [None if g is None else g * self.clip / (norm + 1e-6) for g in gradients]
        if not self.descent:
            adam.lr = lr
            adam.step(gradients)
            return
        with torch.no_grad():
            for p, g in zip(adam.parameters, gradients, strict=True):
                if g is not None:
                    p -= lr * g


class Comodo(Recipe):
    """Chen et al. 2025: the student's similarities to a queue follow the teacher's."""

    adam = {"weight_decay": 0.01, "decoupled": True}

    def __init__(self, start: PretrainTask, prepared: Prepared) -> None:
        super().__init__(start, prepared)
        self.queue = list(self.b["loss.losses.queue_distill.queue.video"].clone())
        self.seen: list[Tensor] = []

    def teacher(self, features: Tensor) -> Tensor:
        """Linear, batch norm with mean 0 and variance 1, GELU, linear; none of it is trained."""
        hidden = self.linear(features, "model.sides.teacher.projector.first") / math.sqrt(1 + 1e-5)
        return normalised(self.linear(gelu(hidden), "model.sides.teacher.projector.second"))

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.teacher is not None
        features = self.student(batch.imu, batch.mask)
        hidden = gelu(self.batch_norm(self.linear(features, "model.imu_projector.first"), "model.imu_projector.norm"))
        student = normalised(self.linear(hidden, "model.imu_projector.second"))
        self.seen = list(self.teacher(batch.teacher).detach())
        keys = torch.stack([*self.queue, *self.seen])
        total = torch.zeros((), dtype=torch.float64)
        for z, v in zip(student, self.seen, strict=True):
            target = torch.softmax(keys @ v / 0.1, 0)
            total = total - (target * torch.log_softmax(keys @ z / 0.05, 0)).sum()
        return total / len(student)

    def rate(self, step: int) -> float:
        rising = int(0.1 * self.steps)
        return 3e-4 * (step / rising if step < rising else (self.steps - step) / (self.steps - rising))

    def after(self, loss: float, step: int) -> None:
        self.queue = [*self.queue, *self.seen][len(self.seen) :]


class HardNegative(Recipe):
    """Choi et al. 2023 on the pipeline of CMC-CMKM: symmetric, N = B - 1 negatives of the other modality."""

    adam = {}
    patience, factor = 20, 0.5
    name = "hard_negative"

    def __init__(self, start: PretrainTask, prepared: Prepared) -> None:
        super().__init__(start, prepared)
        loader = prepared.parts.feed.loader
        self.per_epoch = len(loader.usable) // loader.batch_size
        self.now, self.best, self.worse = prepared.config.optim.lr, math.inf, 0
        # 0.1 up to single precision, in which a fixed scale is stored.
        self.temperature = float((-self.b[f"loss.losses.{self.name}.scale.log"]).exp())
        assert abs(self.temperature - 0.1) < 1e-7

    def head(self, features: Tensor, name: str) -> Tensor:
        hidden = self.batch_norm(self.linear(features, f"{name}.first"), f"{name}.norm").clamp(min=0)
        return normalised(self.linear(hidden, f"{name}.second"))

    def embeddings(self, batch: PairBatch, number: int) -> tuple[Tensor, Tensor]:
        tower: Any = self.task.model.networks["skeleton"]
        imu = self.student(batch.imu, batch.mask)
        tokens = tower.tokens(batch.others["skeleton"], self.prepared.parts.augmenter.draws(number, "draws"))
        return (
            self.head(imu, "model.imu_projector"),
            self.head(tower.pool(tokens), "model.sides.skeleton.projector"),
        )

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        imu, skeleton = self.embeddings(batch, number)
        beta, prior, temperature, rows = 0.5, 0.2, self.temperature, len(imu)
        costs = []
        for a, b in ((imu, skeleton), (skeleton, imu)):
            for i in range(rows):
                others = [j for j in range(rows) if j != i]
                positive = (a[i] @ b[i] / temperature).exp()
                negative = (b[others] @ a[i] / temperature).exp()
                weights = negative**beta / (negative**beta).mean()
                rest = ((weights * negative).sum() - prior * (rows - 1) * positive) / (1 - prior)
                rest = rest.clamp(min=(rows - 1) * math.exp(-1 / temperature))
                costs.append(-(positive / (positive + rest)).log())
        return torch.stack(costs).mean()

    def rate(self, step: int) -> float:
        return self.now

    def after(self, loss: float, step: int) -> None:
        """Halve the rate where the loss of an epoch's last batch did not fall for ``patience`` epochs."""
        if (step + 1) % self.per_epoch:
            return
        if loss < self.best * (1 - 1e-4):
            self.best, self.worse = loss, 0
        else:
            self.worse += 1
        if self.worse > self.patience:
            self.now, self.worse = self.now * self.factor, 0


class CmcCmkm(HardNegative):
    """Brinzea et al. 2022 as released: a mined positive per window, negatives inside both modalities."""

    name = "cmc_cmkm"

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        imu, skeleton = self.embeddings(batch, number)
        assert batch.teacher is not None
        frozen = normalised(batch.teacher)
        rows = len(imu)
        costs = []
        for a, b in ((imu, skeleton), (skeleton, imu)):
            for i in range(rows):
                near = max((j for j in range(rows) if j != i), key=lambda j: float(frozen[i] @ frozen[j]))
                across, inside = (b @ a[i] / self.temperature).exp(), (a @ a[i]).exp()
                positive = across[i] + across[near] + inside[near]
                negative = sum(across[j] + inside[j] for j in range(rows) if j not in (i, near))
                costs.append(-(positive / (positive + negative)).log())
        return torch.stack(costs).mean()
