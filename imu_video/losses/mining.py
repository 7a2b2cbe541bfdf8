"""Cross-modal knowledge mining (CMC-CMKM) over all ranks' pairs; the equation is functional.cross_modal_mining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from imu_video.arguments import LATER, BelowOne, Finite, NonNegative, Temperature, Whole
from imu_video.errors import ConfigError
from imu_video.losses.base import LossNeeds, PairLoss, full_precision, gather_pair, given, pair_stats, unit
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import cross_modal_mining, released_mining
from imu_video.registry import losses
from imu_video.runtime.distributed import gather
from imu_video.types import LossOutput, PairEmbeddings


@losses.register("cmc_cmkm")
class CrossModalMining(PairLoss):
    """Cross-modal contrastive loss with positives and negatives mined from similarities within a modality.

    After Brinzea et al. 2022 (CMC-CMKM, IJCNN). The equation is ours (`functional.cross_modal_mining`), or with ``form:
    released`` that of the authors' code (`functional.released_mining`).

    Args:
        temperature: at least 0.01; 0.1.
        learned: train 1 / temperature.
        top_k: mined positives per row besides the own pair, at least 0.
        prune: share of the batch, its best connected windows, that is not used as negatives, in [0, 1).
        intra_weight: lambda, at least 0: weight of negatives of the anchor's own modality.
        connectivity_scale: gamma, finite; rows are weighted by exp(gamma x mean similarity to the others), with mean 1.
        guide: similarities used for mining: those of the ``anchor``'s modality, of the ``other`` modality, or of the
            frozen ``teacher`` features. In the released form, ``other`` mines across modalities by the other modality
            and within one by its own, as published; ``anchor`` the other way round.
        form: ``ours``, or ``released``, which has no ``prune`` and no ``connectivity_scale``: both must be 0.

    Shapes: PairEmbeddings of (B, D) per rank (teacher (B, Dt) with guide ``teacher``) -> scalar.

    Raises:
        ConfigError: an argument out of range, or one that the released form does not have.

    Example:
        >>> z = torch.eye(4)
        >>> loss = CrossModalMining(temperature=0.01, top_k=0, prune=0.0, intra_weight=0.0, guide="anchor")
        >>> loss(PairEmbeddings(imu=z, sides={"video": z})).total.item()
        0.0
    """

    def __init__(
        self,
        *,
        temperature: Temperature = 0.1,
        learned: bool = False,
        top_k: Whole = 1,
        prune: BelowOne = 0.1,
        intra_weight: NonNegative = 0.5,
        connectivity_scale: Finite = 0.0,
        guide: Literal["anchor", "other", "teacher"] = "teacher",
        form: Annotated[Literal["ours", "released"], LATER] = "ours",
    ) -> None:
        super().__init__()
        if form == "released" and (prune or connectivity_scale):
            raise ConfigError(
                f"cmc_cmkm: form 'released' has neither prune ({prune}) nor connectivity_scale ({connectivity_scale})",
                hint="prune: 0 and connectivity_scale: 0, or form: ours",
            )
        self.form = form
        self.scale = Scale.of_temperature(temperature, learned=learned)
        self.top_k, self.prune = top_k, prune
        self.intra_weight, self.connectivity_scale = intra_weight, connectivity_scale
        self.guide = guide
        self.adopt_needs(guide=guide)

    @classmethod
    def needs_of(cls, arguments: Mapping[str, Any]) -> LossNeeds:
        return LossNeeds(inputs=frozenset({"side", "teacher"} if arguments["guide"] == "teacher" else {"side"}))

    def forward(self, pair: PairEmbeddings) -> LossOutput:
        with full_precision(pair.imu):
            g = gather_pair(pair)
            scale = self.scale()
            inside = (g.imu @ g.all_imu.T, g.video @ g.all_video.T)
            across = (g.imu @ g.all_video.T, g.video @ g.all_imu.T)
            guides = self._guides(pair, inside)
            total = torch.zeros((), dtype=scale.dtype, device=scale.device)
            for cross, intra, guide, within in zip(across, inside, guides, guides[::-1], strict=True):
                if self.form == "released":
                    total = total + 0.5 * released_mining(
                        cross,
                        intra,
                        guide,
                        within,
                        g.positives,
                        scale=scale,
                        top_k=self.top_k,
                        intra_weight=self.intra_weight,
                    )
                    continue
                connectivity = self._connectivity(guide, g.positives)
                total = total + 0.5 * cross_modal_mining(
                    cross,
                    intra,
                    guide,
                    connectivity,
                    g.positives,
                    scale=scale,
                    top_k=self.top_k,
                    prune=self.prune,
                    intra_weight=self.intra_weight,
                    connectivity_scale=self.connectivity_scale,
                )
        stats = {**pair_stats(across[0], g.positives), "scale": scale.detach()}
        return LossOutput(total=total, terms={"cmc_cmkm": total.detach()}, stats=stats)

    def _guides(self, pair: PairEmbeddings, inside: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if self.guide == "teacher":
            teacher = unit(given(pair.teacher))
            likeness = teacher @ gather(teacher).T
            return likeness, likeness
        imu, video = (x.detach() for x in inside)
        return (imu, video) if self.guide == "anchor" else (video, imu)

    @staticmethod
    def _connectivity(guide: Tensor, positives: Tensor) -> Tensor:
        """(N,) mean similarity of every window of the batch to the others."""
        others = guide.sum(1) - guide.gather(1, positives[:, None])[:, 0]
        return gather(others / max(guide.shape[1] - 1, 1))

    def observe(self, pair: PairEmbeddings) -> None:
        self.scale.clamp()
