"""Losses with a queue: the ring buffer shared by all ranks, queue distillation, nearest-neighbour positives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from imu_video.arguments import Count, NonNegative, Positive, Temperature, Whole
from imu_video.errors import ConfigError
from imu_video.losses.base import (
    LossNeeds,
    PairLoss,
    at_least_float32,
    check_same_shape,
    full_precision,
    gather_pair,
    gather_rows,
    given,
    pair_stats,
    unit,
)
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import info_nce, queue_distill, same_recording
from imu_video.registry import losses
from imu_video.runtime.distributed import gather, gather_with_gradient
from imu_video.types import LossOutput, PairEmbeddings, PairMeta


class Ring(nn.Module):
    """Ring buffer of the last K rows of all ranks in persistent buffers; identical on every rank.

    Writing gathers the rows of all ranks in batch order and stores row r at (pointer + r) modulo K, so no row is lost
    if K is not a multiple of the batch size.

    Args:
        size: K >= 0.
        widths: name -> width of each kind of row that is stored together.

    Example:
        >>> ring = Ring(size=3, video=2)
        >>> z = torch.arange(8.0).reshape(4, 2)
        >>> ring.write(PairEmbeddings(imu=z), video=z)
        >>> ring.video[:, 0].tolist(), int(ring.filled)
        ([2.0, 4.0, 6.0], 3)
    """

    recording: Tensor
    time: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(self, *, size: int, **widths: int) -> None:
        super().__init__()
        self.size, self.kinds = size, tuple(widths)
        for name, width in widths.items():
            self.register_buffer(name, torch.zeros(size, width))
        self.register_buffer("recording", torch.full((size,), -1))
        # A recording's clock may be Unix time, which float32 resolves only to 128 s, and gaps of seconds are compared.
        self.register_buffer("time", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @property
    def valid(self) -> Tensor:
        """(K,) bool, True for positions that have been written."""
        return torch.arange(self.size, device=self.filled.device) < self.filled

    def rows(self, kind: str, like: Tensor) -> Tensor:
        """(K, D) rows of a kind in another tensor's precision.

        Raises:
            ConfigError: the other tensor has another width.
        """
        rows: Tensor = getattr(self, kind)
        if rows.shape[1] != like.shape[1]:
            raise ConfigError(
                f"the queue has {kind} rows of width {rows.shape[1]}, the batch has {like.shape[1]}",
                hint="omit dim and teacher_dim from the config of the loss: they are taken from the model",
            )
        return rows.to(like.dtype)

    @torch.no_grad()
    def write(self, pair: PairEmbeddings, **rows: Tensor) -> None:
        """Add a step's rows of all ranks.

        Args:
            pair: batch that the rows belong to; its metadata and parts are used.
            rows: (B, D) own rows of this rank, of every kind.
        """
        if pair.meta is None:
            count = len(next(iter(rows.values())))
            recording = torch.full((count,), -1, device=self.recording.device)
            time = self.time.new_zeros(count)
        else:
            recording, time = pair.meta.recording, pair.meta.time
        kept = {name: gather_rows(x.detach(), pair.parts) for name, x in rows.items()}
        self.put(recording=gather_rows(recording, pair.parts), time=gather_rows(time, pair.parts), **kept)

    @torch.no_grad()
    def put(self, **rows: Tensor) -> None:
        """Add rows that are already identical on all ranks, including metadata (``recording``, ``time``)."""
        if not self.size:
            return
        # Of a batch larger than the queue only the last K rows are stored: repeated positions in one indexed
        # assignment would leave the order of writes undefined.
        count = min(len(rows["time"]), self.size)
        places = (self.pointer + torch.arange(count, device=self.pointer.device)) % self.size
        for name in (*self.kinds, "recording", "time"):
            buffer: Tensor = getattr(self, name)
            buffer[places] = rows[name][-count:].to(buffer)

        self.pointer.copy_((self.pointer + count) % self.size)
        self.filled.copy_((self.filled + count).clamp(max=self.size))


@losses.register("queue_distill")
class QueueDistill(PairLoss):
    """Match the student's similarities to a queue of embeddings to the teacher's (`functional.queue_distill`).

    Chen et al. 2025 (arXiv 2503.07259), COMODO; after Fang et al. 2021 (arXiv 2101.04731).

    Args:
        size: K, rows of the queue, at least 0; if not 0, at least the global batch. The paper uses 1024 to 16384 and
            reports little difference.
        student_temperature: above 0; 0.05.
        teacher_temperature: above 0; 0.1. Larger than the student's as published.
        own_keys: ``in`` (published): the video embeddings of the batch are keys as well; ``out``: only the queue.
        target: ``video`` (published): the teacher's distribution is computed from the video embeddings, so the video
            side must have no trainable parameters; ``teacher``: it is computed from the frozen teacher features, and
            the keys are video embeddings of any projector (ours, for use with a contrastive loss).
        dim, teacher_dim: D and Dt, from the model.

    Shapes: PairEmbeddings of (B, D) per rank -> scalar.

    Raises:
        ConfigError: an argument out of range, or embeddings of another width.

    Example:
        >>> z = torch.eye(4)
        >>> loss = QueueDistill(size=4, student_temperature=0.1, dim=4)
        >>> out = loss(PairEmbeddings(imu=z, sides={"video": z}))  # the student is the teacher: what remains is entropy
        >>> bool(out.total == out.stats["entropy"])
        True
    """

    def __init__(
        self,
        *,
        size: Whole = 1024,
        student_temperature: Positive = 0.05,
        teacher_temperature: Positive = 0.1,
        own_keys: Literal["in", "out"] = "in",
        target: Literal["video", "teacher"] = "video",
        dim: Count = 128,
        teacher_dim: Count = 128,
    ) -> None:
        super().__init__()
        if size == 0 and own_keys == "out":
            raise ConfigError("queue_distill: own_keys 'out' without a queue leaves no keys", hint="size: 1024")
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.own_keys, self.target = own_keys, target
        self.adopt_needs(size=size, target=target)
        self.queue = Ring(size=size, video=dim, **({} if self.fixed_target else {"teacher": teacher_dim}))

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        size, fixed = arguments["size"], arguments["target"] == "video"
        return LossNeeds(
            inputs=frozenset({"side"} if fixed else {"side", "teacher"}),
            fixed_target=fixed,
            queue_size=size,
            # Keys of an untrained projector carry no information, so the queue starts filled only for a fixed target.
            warm_rows=size if fixed else 0,
        )

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            imu, video = at_least_float32(pair.imu), at_least_float32(given(pair.side)).detach()
            check_same_shape(imu=imu, video=video)
            student = imu @ self._keys("video", video).T / self.student_temperature
            seen = video if self.fixed_target else unit(given(pair.teacher))
            teacher = seen @ self._keys("video" if self.fixed_target else "teacher", seen).T / self.teacher_temperature
            valid = self.queue.valid
            if self.own_keys == "in":
                valid = torch.cat([valid, valid.new_ones(student.shape[1] - len(valid))])
            total = queue_distill(student, teacher, valid)
            # The cross-entropy is never below this entropy; the difference is the divergence that training reduces.
            entropy = queue_distill(teacher, teacher, valid)
        closed = ~valid.expand(student.shape)
        nearest = [x.detach().masked_fill(closed, -math.inf).argmax(1) for x in (student, teacher)]
        stats = {
            "entropy": entropy,
            "divergence": total.detach() - entropy,
            "agreement": (nearest[0] == nearest[1]).to(total.dtype).mean(),
            "positive": (imu.detach() * video).sum(1).mean(),
            "filled": self.queue.filled.to(total.dtype),
        }
        return LossOutput(total=total, terms={"queue_distill": total.detach()}, stats=stats)

    def _keys(self, kind: str, own: Tensor) -> Tensor:
        """Rows of the queue, then (with own keys) those of the batch of all ranks, without gradient."""
        queued = self.queue.rows(kind, own)
        return torch.cat([queued, gather(own)]) if self.own_keys == "in" else queued

    def observe(self, pair: PairEmbeddings) -> None:
        rows = {"video": given(pair.side)}
        if not self.fixed_target:
            rows["teacher"] = unit(given(pair.teacher))
        self.queue.write(pair, **rows)

    def warm_start(self, *, meta: PairMeta, video: Tensor | None = None, devices: Tensor | None = None) -> None:
        if self.warm_rows and video is not None:
            self.queue.put(video=video, recording=meta.recording, time=meta.time)


@losses.register("nearest_neighbour")
class NearestNeighbour(PairLoss):
    """InfoNCE whose positive is the nearest neighbour among earlier moments instead of the same moment.

    Dwibedi et al. 2021 (arXiv 2104.14548), NNCLR; across modalities as one of the three terms of PRIMUS
    (arXiv 2411.15127); the exact equation is ours. The queue stores both embeddings of earlier moments. The entry whose
    ``look_by`` embedding is most similar to that of the row provides its ``take`` embedding as the positive of the
    row's IMU embedding. Positives of other rows are the negatives; both directions are averaged.

    Args:
        size: K, rows of the queue, at least the global batch.
        temperature: at least 0.01.
        learned: train 1 / temperature.
        look_by: side on which the neighbour is searched, ``video`` or ``imu``.
        take: side of the neighbour that becomes the positive, ``video`` or ``imu``.
        gap_s: seconds, at least 0. Neighbours of the same recording with starts at most this far apart are not used;
            0 excludes the same moment of an earlier epoch.
        dim: D, from the model.

    Shapes: PairEmbeddings of (B, D) per rank -> scalar. While the queue is empty, the row's own video embedding is the
        positive.

    Raises:
        ConfigError: an argument out of range, or embeddings of another width.

    Example:
        >>> z = torch.eye(4)
        >>> NearestNeighbour(size=8, temperature=0.01, dim=4)(PairEmbeddings(imu=z, sides={"video": z})).total.item()
        0.0
    """

    def __init__(
        self,
        *,
        size: Count = 1024,
        temperature: Temperature = 0.1,
        learned: bool = False,
        look_by: Literal["video", "imu"] = "video",
        take: Literal["video", "imu"] = "video",
        gap_s: NonNegative = 0.0,
        dim: Count = 128,
    ) -> None:
        super().__init__()
        self.look_by, self.take, self.gap_s = look_by, take, gap_s
        self.adopt_needs(size=size)
        self.scale = Scale.of_temperature(temperature, learned=learned)
        self.queue = Ring(size=size, imu=dim, video=dim)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        return LossNeeds(queue_size=arguments["size"])

    def _own(self, pair: PairEmbeddings) -> PairEmbeddings:
        # IMU embeddings are compared with each other in the space of augmented pairs, if the run has one.
        return replace(pair, imu=pair.first) if self.take == "imu" else pair

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(self._own(pair))
            scale = self.scale()
            seen = (g.video if self.look_by == "video" else g.imu).detach()
            likeness = seen @ self.queue.rows(self.look_by, seen).T
            free = self.queue.valid.expand(likeness.shape)
            if pair.meta is not None:
                near, _ = same_recording(
                    pair.meta.recording, pair.meta.time, self.queue.recording, self.queue.time, self.gap_s
                )
                free = free & ~near
            # A row without a usable neighbour gets an arbitrary index here; torch.where below replaces its positive.
            best = likeness.masked_fill(~free, -math.inf).max(1)
            found = free.any(1)
            neighbour = self.queue.rows(self.take, seen)[best.indices]
            positive = torch.where(found[:, None], neighbour, g.video)
            everyone = gather_with_gradient(positive)
            cosines = g.imu @ everyone.T
            total = info_nce(scale * cosines, scale * (positive @ g.all_imu.T), g.positives)
        stats = {
            **pair_stats(cosines, g.positives),
            "scale": scale.detach(),
            "found": found.to(total.dtype).mean(),
            "likeness": torch.where(found, best.values, 0).sum() / found.sum().clamp(min=1),
        }
        return LossOutput(total=total, terms={"nearest_neighbour": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()
        self.queue.write(pair, imu=self._own(pair).imu, video=given(pair.side))
