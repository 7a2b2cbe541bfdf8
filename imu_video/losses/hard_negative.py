"""Contrastive loss with selected negatives: importance, debiasing, metadata, mining, queue, guard; no equations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from imu_video.arguments import LATER, BelowOne, Count, NonNegative, Positive, Temperature, Whole
from imu_video.errors import ConfigError
from imu_video.losses.base import (
    Between,
    LossNeeds,
    PairLoss,
    full_precision,
    gather_pair,
    given,
    pair_stats,
    two_sides,
    unit,
)
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import hard_negative_nce, hardest, same_recording
from imu_video.losses.functional.negatives import BetaOn
from imu_video.losses.queue import Ring
from imu_video.registry import losses
from imu_video.runtime.distributed import gather
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("hard_negative")
class HardNegative(PairLoss):
    """Symmetric contrastive loss that emphasises hard negatives and excludes likely false ones.

    Importance weights and debiasing of Robinson et al. 2021 (arXiv 2010.04592) across modalities, as in Choi et al.
    2023 (arXiv 2309.01262); metadata rules, queue, mining and guard are ours (`functional.hard_negative_nce`). With
    beta 0, tau_plus 0 and no rule it is `info_nce`. ``between: augmented_pair`` with ``intra: true`` is the form that
    Robinson et al. released: 2 B anchors, and N = 2 B - 2 negatives from both views; there temperature 0.5, tau_plus
    0.1 and beta 1.

    Args:
        beta: concentration on hard negatives, at least 0; sensible 0 to 2.
        tau_plus: prior that a negative is false, in [0, 1); sensible 0 to 0.1 (about 1 / classes).
        temperature: at least 0.01.
        learned: train 1 / temperature.
        beta_on: quantity that beta multiplies, ``logit`` (published: cosine / temperature) or ``cosine``.
        detach_weights: no gradient through the importance weights.
        gap_s: seconds, at least 0. Windows of one recording whose starts are at most this far apart are not used as
            negatives. null: metadata is not used.
        recording_weight: factor on the importance of windows of the same recording that are farther apart than gap_s,
            above 0; needs gap_s when it is not 1.
        top_k: number of most similar negatives that are kept per row; null: all.
        guard: cosine in (-1, 1). Windows whose teacher features are more similar than this are not used as negatives.
            null: no guard.
        queue: number of earlier embeddings of both sides that are further negatives, at least 0, without gradient;
            earlier embeddings of the same moment are excluded.
        between: IMU with the other ``side``, or with the second window of its ``augmented_pair``.
        intra: embeddings of the anchor's own side are negatives as well, which doubles their number N.
        dim, teacher_dim: D and Dt, from the model; only the queue needs them.

    Shapes: PairEmbeddings of (B, D) per rank (teacher (B, Dt) with a guard) -> scalar.

    Raises:
        ConfigError: an argument out of range, or metadata rules on a batch without metadata.

    Example:
        >>> z = torch.eye(4)
        >>> HardNegative(beta=1.0, temperature=0.01)(PairEmbeddings(imu=z, sides={"video": z})).total.item() < 1e-30
        True
    """

    def __init__(
        self,
        *,
        beta: NonNegative = 0.5,
        tau_plus: BelowOne = 0.0,
        temperature: Temperature = 0.1,
        learned: bool = False,
        beta_on: BetaOn = "logit",
        detach_weights: bool = False,
        gap_s: Annotated[float, Field(ge=0)] | None = None,
        recording_weight: Positive = 1.0,
        top_k: Count | None = None,
        guard: Annotated[float, Field(gt=-1, lt=1)] | None = None,
        queue: Whole = 0,
        dim: Count = 128,
        teacher_dim: Count = 128,
        between: Annotated[Between, LATER] = "side",
        intra: Annotated[bool, LATER] = False,
    ) -> None:
        super().__init__()
        if recording_weight != 1 and gap_s is None:
            raise ConfigError(f"hard_negative: recording_weight {recording_weight} needs gap_s", hint="gap_s: 5")
        self.beta, self.tau_plus, self.beta_on, self.detach_weights = beta, tau_plus, beta_on, detach_weights
        self.gap_s, self.recording_weight, self.top_k, self.guard = gap_s, recording_weight, top_k, guard
        self.scale = Scale.of_temperature(temperature, learned=learned)
        self.between, self.intra = between, intra
        self.adopt_needs(guard=guard, queue=queue, between=between)
        if queue:
            widths = {"imu": dim, "video": dim} | ({"teacher": teacher_dim} if guard is not None else {})
            self.queue = Ring(size=queue, **widths)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        inputs = {arguments["between"]} | ({"teacher"} if arguments["guard"] is not None else set())
        return LossNeeds(inputs=frozenset(inputs), queue_size=arguments["queue"])

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(pair, self.between)
            scale = self.scale()
            allowed, log_prior = self._negatives(pair, g.positives)
            if self.intra:  # the same windows once more, as embeddings of the anchor's own side
                allowed = torch.cat([allowed, allowed], dim=1)
                log_prior = None if log_prior is None else torch.cat([log_prior, log_prior], dim=1)
            columns = {"imu": [g.all_imu], "video": [g.all_video]}
            if self.queue_size:
                columns = {side: [*rows, self.queue.rows(side, g.imu)] for side, rows in columns.items()}
            totals = []
            for own, side, other in ((g.imu, "imu", "video"), (g.video, "video", "imu")):
                cosines = own @ torch.cat([*columns[other], *(columns[side] if self.intra else [])]).T
                chosen = allowed if self.top_k is None else hardest(cosines.detach(), allowed, self.top_k)
                totals.append(
                    hard_negative_nce(
                        cosines,
                        g.positives,
                        chosen,
                        scale=scale,
                        beta=self.beta,
                        tau_plus=self.tau_plus,
                        beta_on=self.beta_on,
                        detach_weights=self.detach_weights,
                        log_prior=log_prior,
                    )
                )
            total = 0.5 * (totals[0] + totals[1])
            stats = pair_stats(g.imu @ g.all_video.T, g.positives)
        stats |= {"scale": scale.detach(), "negatives": allowed.sum(1).to(total.dtype).mean()}
        return LossOutput(total=total, terms={"hard_negative": total.detach()}, stats=stats)

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()
        if self.queue_size:
            imu, other = two_sides(pair, self.between)
            sides = {"imu": imu, "video": other}
            if self.guard is not None:
                sides["teacher"] = unit(given(pair.teacher))
            self.queue.write(pair, **sides)

    def _negatives(self, pair: PairEmbeddings, positives: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, N + K) bool, negatives of each row on one side, and the logarithm of the metadata factor on weights."""
        meta = pair.meta
        if meta is None and self.gap_s is not None:
            raise ConfigError("hard_negative: gap_s needs metadata: PairEmbeddings.meta is None")
        rows, columns = len(positives), len(gather(positives))
        own = torch.zeros(rows, columns, dtype=torch.bool, device=positives.device)
        masks = [~own.scatter(1, positives[:, None], True)]
        far: list[Tensor] = [torch.zeros_like(own)]
        if self.gap_s is not None and meta is not None:
            near, far[0] = same_recording(
                meta.recording, meta.time, gather(meta.recording), gather(meta.time), self.gap_s
            )
            masks[0] = masks[0] & ~near
        if self.queue_size:
            # Without gap_s a gap of 0 still excludes the same moment of an earlier epoch, which is a positive.
            masks.append(self.queue.valid.expand(rows, -1))
            far.append(torch.zeros_like(masks[1]))
            if meta is not None:
                near, far[1] = same_recording(
                    meta.recording, meta.time, self.queue.recording, self.queue.time, self.gap_s or 0.0
                )
                masks[1] = masks[1] & ~near
        allowed = torch.cat(masks, dim=1)
        if self.guard is not None:
            teacher = unit(given(pair.teacher))
            known = gather(teacher)
            if self.queue_size:
                known = torch.cat([known, self.queue.rows("teacher", teacher)])
            allowed = allowed & (teacher @ known.T <= self.guard)
        # Elsewhere the factor is 1, whose logarithm is 0, so that the product with the boolean mask is enough.
        if self.recording_weight == 1:
            return allowed, None
        return allowed, math.log(self.recording_weight) * torch.cat(far, dim=1)
