"""Further recipes as loops written from their papers, on top of `naive_recipes`; the other half of them is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imu_video.losses.functional import derangement, scramble
from imu_video.runtime.distributed import GlobalDraws
from imu_video.transforms import Permute, TimeWarp
from imu_video.types import PairBatch
from pretrain.prepare.prepare import Prepared
from pretrain.training.task import PretrainTask
from tests.reference import naive_losses as naive
from tests.reference.naive_recipes import Recipe, gelu, normalised

LOSSES = "loss.losses"


def cosine(lr: float, least: float, step: int, steps: int) -> float:
    return least + (lr - least) * (1 + math.cos(math.pi * step / steps)) / 2


def both_ways(z: Tensor, v: Tensor, temperature: float | Tensor) -> Tensor:
    """InfoNCE from z to v and from v to z, added."""
    s = (z @ v.T / temperature).exp()
    return -(s.diagonal() / s.sum(1)).log().mean() - (s.diagonal() / s.sum(0)).log().mean()


class ImuVideo(Recipe):
    """Cheshmi et al. 2025: every pair of a batch is a match or none."""

    adam = {"weight_decay": 0.01, "decoupled": True}

    def head(self, x: Tensor, name: str) -> Tensor:
        a = self.linear(x, f"{name}.first")
        x = F.dropout(self.linear(gelu(a), f"{name}.second"), 0.1) + a
        centred = x - x.mean(1, keepdim=True)
        x = centred / ((centred**2).mean(1, keepdim=True) + 1e-5).sqrt()
        return normalised(x * self.p[f"{name}.norm.weight"] + self.p[f"{name}.norm.bias"])

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.teacher is not None
        z = self.head(self.student(batch.imu, batch.mask), "model.imu_projector")
        v = self.head(batch.teacher, "model.sides.teacher.projector")
        scale, bias = self.p[f"{LOSSES}.sigmoid_pair.scale.log"].exp(), self.p[f"{LOSSES}.sigmoid_pair.bias"]
        sign = 2 * torch.eye(len(z), dtype=torch.float64) - 1
        return torch.log1p((-sign * (scale * z @ v.T + bias)).exp()).sum() / len(z)

    def rate(self, step: int) -> float:
        return cosine(1e-4, 1e-7, step, self.steps)


class Imu2Clip(Recipe):
    """Moon et al. 2022: InfoNCE between the encoder's features and CLIP's, both directions added."""

    adam: dict[str, Any] = {}

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.teacher is not None
        z, v = normalised(self.student(batch.imu, batch.mask)), normalised(batch.teacher)
        return both_ways(z, v, 0.1)

    def rate(self, step: int) -> float:
        return 2e-4


class ColloSSL(Recipe):
    """Jain et al. 2022, sign as meant: the nearest device is the positive, all at other moments are negatives."""

    adam: dict[str, Any] = {}

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.devices is not None
        assert batch.devices_mask is not None
        assert len(batch.meta.subject.unique()) == 1, "a batch holds one subject"
        rows, count = batch.devices.shape[:2]
        # The engine computes the features of the drawn device first: dropout takes the same random numbers.
        every = torch.cat([batch.imu, batch.devices.flatten(0, 1)])
        masks = torch.cat([batch.mask, batch.devices_mask.flatten(0, 1)])
        z = normalised(self.student(every, masks)[rows:]).unflatten(0, (rows, count))
        norm = (batch.devices[:, :, :3] / 30).square().sum(2).sqrt()
        worn = batch.devices_mask.flatten(2).any(-1)
        total, counted = torch.zeros((), dtype=torch.float64), 0
        away = {}
        for d in range(1, count):
            both = worn[:, 0] & worn[:, d]
            away[d] = max(naive.mmd(norm[both, 0], norm[both, d]), 1e-4)
        nearest = min(away, key=lambda d: away[d])
        largest = max(1.0, *(1 / x for x in away.values()))
        for i in range(rows):
            if not (worn[i, 0] and worn[i, nearest]):
                continue
            top = ((z[i, 0] @ z[i, nearest]) / 0.05).exp() / largest
            rest = torch.zeros((), dtype=torch.float64)
            for place, d in enumerate(sorted(away, key=lambda d: away[d])):
                other = int(self.elsewhere(batch, count + place, number)[i])
                if worn[other, d]:
                    rest = rest + ((z[i, 0] @ z[other, d]) / 0.05).exp() / away[d] / largest
            total = total - (top / (top + rest)).log()
            counted += 1
        return total / counted

    def elsewhere(self, batch: PairBatch, slot: int, number: int) -> Tensor:
        """Another moment for every row; the random permutation itself is the engine's."""
        return derangement(scramble(batch.meta.sample, 0, 0, slot, number))

    def rate(self, step: int) -> float:
        return cosine(1e-4, 0.0, step, self.steps)


class SimCLR(Recipe):
    """Tang et al. 2020: two changed copies of a window among those of all windows; plain gradient descent."""

    descent = True

    def head(self, x: Tensor) -> Tensor:
        for number in (0, 2):
            x = self.linear(x, f"model.imu_projector.{number}").clamp(min=0)
        return normalised(self.linear(x, "model.imu_projector.4"))

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.imu_two is not None
        assert batch.mask_two is not None
        rows = len(batch.imu)
        z = self.head(self.student(torch.cat([batch.imu, batch.imu_two]), torch.cat([batch.mask, batch.mask_two])))
        s = (z @ z.T / 0.1).exp()
        partner = torch.cat([s[:rows, rows:].diagonal(), s[rows:, :rows].diagonal()])
        each = -(partner / (s.sum(1) - s.diagonal())).log()
        return each[:rows].mean() + each[rows:].mean()

    def rate(self, step: int) -> float:
        return cosine(0.1, 0.0, step, self.steps)


class SslWearables(Recipe):
    """Yuan et al. 2024: was the window reversed, cut and mixed, or warped?"""

    adam = {"amsgrad": True}

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        draws: GlobalDraws = self.prepared.parts.augmenter.draws(number, "draws")
        imu, mask, rows = batch.imu, batch.mask, len(batch.imu)
        labels = []
        for task in range(3):
            labels.append(draws.uniform(rows) < 0.5)
            if task == 0:
                draws.uniform(rows)  # every change draws which rows it changes: all of them
                changed, moved = imu.flip(-1), mask.flip(-1)
            else:
                cut = Permute(max_segments=4, min_samples=10, number="max", p=1)
                change = cut if task == 1 else TimeWarp(strength=0.2, curve="spline", scale_gyr=False, p=1)
                changed, moved = change(imu, mask, draws)
            chosen = labels[-1][:, None, None]
            imu, mask = torch.where(chosen, changed, imu), torch.where(chosen, moved, mask)
        features = self.student(imu, mask)
        total = torch.zeros((), dtype=torch.float64)
        for name, label in zip(("reverse", "permute", "warp"), labels, strict=True):
            scores = self.linear(features, f"objective.losses.transformations.heads.{name}")
            for i in range(rows):
                total = total - torch.log_softmax(scores[i], 0)[int(label[i])]
        return total / rows / 3

    def rate(self, step: int) -> float:
        rising = int(0.025 * self.steps)
        return 1e-4 * 6000 / 512 * (step / rising if step < rising else 1.0)


class MaskedPatches(Recipe):
    """The IMU-only baseline of Cheshmi et al. 2025: samples of patches that were set to zero."""

    adam: dict[str, Any] = {}
    clip = 1.0
    patch = 10

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        draws: GlobalDraws = self.prepared.parts.augmenter.draws(number, "draws")
        x, mask = batch.imu, batch.mask
        rows, channels, samples = x.shape
        count = samples // self.patch
        chance = draws.uniform(rows, channels, count)
        hidden = torch.zeros_like(mask)
        for i in range(rows):
            for c in range(channels):
                for p in chance[i, c].argsort()[: round(0.4 * count)].tolist():
                    start = samples - (count - p) * self.patch
                    hidden[i, c, start : start + self.patch] = True
        known = mask.sum(-1, keepdim=True).clamp(min=1)
        mean = torch.where(mask, x, 0).sum(-1, keepdim=True) / known
        spread = (torch.where(mask, x - mean, 0) ** 2).sum(-1, keepdim=True) / known
        target = (x - mean) / (spread + 1e-5).sqrt()
        tokens = self.student.encoder.tokens(torch.where(hidden, 0, target), mask, scaled=True)
        tokens = tokens.unflatten(2, (channels, -1))
        name = "objective.losses.masked_patches.head"
        total, counted = torch.zeros((), dtype=torch.float64), 0
        for p in range(count):
            start = samples - (count - p) * self.patch
            here = slice(start, start + self.patch)
            error = (self.linear(tokens[:, p], name) - target[:, :, here]) ** 2
            total = total + error[(hidden & mask)[:, :, here]].sum()
            counted += int((hidden & mask)[:, :, here].sum())
        return total / counted

    def rate(self, step: int) -> float:
        return cosine(1e-4, 0.0, step, self.steps)


class Primus(Recipe):
    """Das et al. 2024 without text: the video, a changed copy, and the neighbour's video and IMU embeddings."""

    adam: dict[str, Any] = {}

    def __init__(self, start: PretrainTask, prepared: Prepared) -> None:
        super().__init__(start, prepared)
        self.queue: list[tuple[Tensor, Tensor, int, float]] = []
        self.seen: list[tuple[Tensor, Tensor, int, float]] = []

    def loss(self, batch: PairBatch, number: int) -> Tensor:
        assert batch.teacher is not None
        assert batch.imu_two is not None
        assert batch.mask_two is not None
        rows = len(batch.imu)
        features = self.student(torch.cat([batch.imu, batch.imu_two]), torch.cat([batch.mask, batch.mask_two]))
        z = normalised(self.linear(features[:rows], "model.imu_projector"))
        pair = normalised(self.linear(features, "model.pair_projector"))
        one, two, v = pair[:rows], pair[rows:], normalised(batch.teacher)
        meta = list(zip(batch.meta.recording.tolist(), batch.meta.time.tolist(), strict=True))
        self.seen += [(one[i].detach(), v[i].detach(), *meta[i]) for i in range(rows)]
        videos, imus = [], []
        for i in range(rows):
            free = [entry for entry in self.queue if entry[2:] != meta[i]]
            near = max(free, key=lambda entry: float(entry[1].double() @ v[i])) if free else (v[i], v[i])
            videos.append(near[1].double())
            imus.append(near[0].double())
        names = ("info_nce", "info_nce_2", "nearest_neighbour", "nearest_neighbour_2")
        total = torch.zeros((), dtype=torch.float64)
        queries, keys = (z, one, z, one), (v, two, torch.stack(videos), torch.stack(imus))
        for name, query, other in zip(names, queries, keys, strict=True):
            temperature: Any = (-self.p[f"{LOSSES}.{name}.scale.log"]).exp()
            total = total + both_ways(query, other, temperature) / 2
        return total

    def rate(self, step: int) -> float:
        return 2e-4

    def after(self, loss: float, step: int) -> None:
        # The queue of the engine is in single precision.
        self.queue = [*self.queue, *((a.float(), b.float(), *rest) for a, b, *rest in self.seen)][-self.size :]
        self.seen = []

    size = 20


TWINS: Sequence[type[Recipe]] = (ImuVideo, Imu2Clip, ColloSSL, SimCLR, SslWearables, MaskedPatches, Primus)
