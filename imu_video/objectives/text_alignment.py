"""Alignment of windows with the sentences that describe them; sentences and their networks are in teachers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import BelowOne, Positive, Temperature
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.text import TextHead, TextSpec, make_head
from imu_video.errors import ConfigError
from imu_video.losses.base import at_least_float32, full_precision, mean_over_ranks
from imu_video.losses.contrastive import Scale
from imu_video.losses.functional import shared_text_nce
from imu_video.objectives.base import Objective
from imu_video.registry import objectives
from imu_video.runtime.distributed import GlobalDraws, gather, gather_with_gradient
from imu_video.teachers.sentences import TextTable, prototypes
from imu_video.types import LossOutput, PairBatch


@objectives.register("text_alignment")
class TextAlignment(Objective):
    """Bring each window close to the sentences of its text, and away from those of other texts (`shared_text_nce`).

    As in UniMTS (Zhang et al. 2024, arXiv 2410.19818), with frozen sentence embeddings as a second teacher. Windows
    with the same text are positives of each other's sentences. A window without a text (`PairBatch.text` -1) is left
    out. Each step draws one sentence for every text. The head maps features to the width of the sentences; it is
    exported with the encoder, so that cosines with the embedding of any prompt classify windows zero-shot.

    Args:
        text_dim: W of the sentence embeddings, in [1, 65536]; filled in from ``data.text.encoder``.
        hidden: width of the hidden layer of the head, in [1, 65536]; null: one linear map.
        dropout: rate inside the head, in [0, 1).
        temperature: initial temperature, at least 0.01; logits are cosine / temperature.
        learned: train the temperature.
        against: negatives are the texts and windows of the ``batch`` over all ranks, both directions averaged, or the
            texts of the whole ``vocabulary``, each once, however often it occurs in the data.
        similar: temperature of soft targets: a text with cosine c counts exp((c - 1) / similar) times as much as the
            text itself, above 0, so that near synonyms are not negatives. null: only equal texts are positives.
        centre: subtract the mean of all texts from every sentence embedding, because sentences of one form are alike.

    Shapes: batch of (B, C, T) with ``text`` (B,) -> scalar; 0 for a batch without texts.

    Raises:
        ConfigError: an argument out of range.

    Example:
        ``objective: [{name: text_alignment, weight: 0.5}]``
    """

    needs_text = True

    counts: Tensor
    sentences: Tensor
    centre: Tensor
    activities: Tensor

    def __init__(
        self,
        *,
        text_dim: Annotated[int, Field(ge=1, le=2**16)] = 384,
        hidden: Annotated[int, Field(ge=1, le=2**16)] | None = 256,
        dropout: BelowOne = 0.0,
        temperature: Temperature = 0.07,
        learned: bool = True,
        against: Literal["batch", "vocabulary"] = "batch",
        similar: Positive | None = 0.1,
        centre: bool = True,
    ) -> None:
        super().__init__()
        self.text_dim, self.hidden, self.dropout = text_dim, hidden, dropout
        self.against, self.similar, self.centred = against, similar, centre
        self.scale = Scale.of_temperature(temperature, learned=learned)
        # Buffers, so that a checkpoint continues with the same sentences and is exported without its data.
        self.register_buffer("sentences", torch.zeros(1, text_dim))
        self.register_buffer("counts", torch.ones(1, dtype=torch.int64))
        self.register_buffer("centre", torch.zeros(text_dim))
        self.register_buffer("activities", torch.zeros(1, text_dim))

    def attach(self, student: EncoderBundle) -> None:
        self.head: nn.Module = make_head(
            features=student.head_dim, width=self.text_dim, hidden=self.hidden, dropout=self.dropout
        )

    def adopt_texts(self, texts: TextTable, activities: TextTable) -> None:
        if texts.width != self.text_dim:
            raise ConfigError(
                f"text_alignment: text_dim is {self.text_dim}, the sentence embeddings have {texts.width}",
                hint="leave `text_dim` out",
            )
        own = texts.prototypes()
        self.sentences, self.counts = texts.embedded.clone(), texts.counts.clone()
        self.centre = own.mean(0) if self.centred else torch.zeros(self.text_dim)
        self.activities = activities.prototypes()

    def observe(self) -> None:
        if isinstance(self.scale.log, nn.Parameter):
            self.scale.clamp()

    def text_head(self, student: EncoderBundle, facts: Mapping[str, Any]) -> TextHead:
        first, last, _ = student.head_columns.indices(student.feature_dim)
        spec = TextSpec(
            feature_dim=student.feature_dim,
            columns=(first, last),
            text_dim=self.text_dim,
            hidden=self.hidden,
            scale=float(self.scale().detach()),
            encoder=dict(facts["encoder"]),
            fingerprint=str(facts["fingerprint"]),
            templates=tuple(facts["templates"]),
            words={name: tuple(phrases) for name, phrases in facts["words"].items()},
            activities=tuple(facts["activities"]),
            seen=tuple(name for name in facts["texts"] if name in set(facts["activities"])),
        )
        return TextHead(spec=spec, network=copy.deepcopy(self.head), centre=self.centre, activities=self.activities)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # The number of texts is a fact of the data, which a checkpoint is restored without.
        for name in ("sentences", "counts", "activities"):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape[1:] == getattr(self, name).shape[1:]:
                setattr(self, name, torch.zeros_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, student: EncoderBundle, batch: PairBatch, draws: GlobalDraws) -> LossOutput:
        if batch.text is None:
            raise ConfigError(
                "text_alignment needs batches with texts", hint="`imu-pretrain` reads them as data.text states"
            )
        features = student.head_features(batch.imu, batch.mask)
        with full_precision(features):
            z = F.normalize(self.head(at_least_float32(features)), dim=-1)
            return self._loss(z, batch.text, draws)

    def _loss(self, z: Tensor, text: Tensor, draws: GlobalDraws) -> LossOutput:
        there = text >= 0
        number = text.clamp(min=0)
        typical = self._shifted(prototypes(self.sentences, self.counts)).to(z.dtype)
        drawn = self._drawn(draws).to(z.dtype)
        scale = self.scale()
        likeness = self._likeness(typical)
        if self.against == "vocabulary":
            every = torch.ones(len(typical), dtype=torch.bool, device=z.device)
            values = shared_text_nce(scale * z @ drawn.T, likeness[number], every)
        else:
            all_z, all_text = gather_with_gradient(z), gather(text)
            valid, columns = all_text >= 0, all_text.clamp(min=0)
            alike = likeness[number][:, columns]
            forth = shared_text_nce(scale * z @ drawn[columns].T, alike, valid)
            back = shared_text_nce(scale * drawn[number] @ all_z.T, alike, valid)
            values = 0.5 * (forth + back)
        with torch.no_grad():
            found = (z @ typical.T).argmax(1) == number
            stats = {
                "accuracy": mean_over_ranks(found.to(z.dtype), there),
                "with_text": there.to(z.dtype).mean(),
                "scale": scale.detach(),
            }
        return LossOutput(total=mean_over_ranks(values, there), stats=stats)

    def _shifted(self, embedded: Tensor) -> Tensor:
        return F.normalize(embedded - self.centre, dim=-1)

    def _drawn(self, draws: GlobalDraws) -> Tensor:
        """(K, W): one sentence of every text, the same on all ranks."""
        chance = torch.rand(len(self.counts), generator=draws.generator, device=draws.generator.device)
        chosen = (chance.to(self.counts.device) * self.counts).long().clamp(max=self.counts - 1)
        return self._shifted(self.sentences[self.counts.cumsum(0) - self.counts + chosen])

    def _likeness(self, typical: Tensor) -> Tensor:
        """(K, K) weights of texts as positives of each other."""
        if self.similar is None:
            return torch.eye(len(typical), dtype=typical.dtype, device=typical.device)
        return ((typical @ typical.T).clamp(max=1) / self.similar - 1 / self.similar).exp()
