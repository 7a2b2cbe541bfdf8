"""The contracts that components fulfil, as typing.Protocol; implementations live in their rooms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from imu_video.types import LossOutput, PairEmbeddings, Recording


@runtime_checkable
class RecordingSource(Protocol):
    """A dataset adapter: iterates over the recordings of one dataset, in a stable order, in SI units.

    Class attributes tell users what the data is: ``licence``, ``citation``, ``url`` (how to obtain it), ``placements``,
    ``labels``, ``rate_hz`` (nominal; a mapping by placement where devices differ, 0 where only the files say it),
    ``streams`` (of ``imu``, ``video``, ``skeleton``), ``tested_on`` (``real files`` or ``made-up tree``).
    """

    name: str
    licence: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]

    def subjects(self) -> list[str]:
        """Sorted subjects, known without reading signals, so that splits are made before windows are cut."""

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings of the given subjects (all when None), in a stable order."""


@runtime_checkable
class IMUEncoder(Protocol):
    """Turns windows into features: an ``nn.Module`` with keyword-only constructor arguments.

    ``forward(imu, mask)`` takes normalised (B, C, T) float and (B, C, T) bool (True = measured) and returns (B, E);
    values under a False mask never change the output. Encoders that can also give features over time have
    ``token_dim`` and ``tokens(imu, mask)`` -> (B, S, token_dim), oldest first: `TokenEncoder`.
    """

    channels: int
    feature_dim: int

    def __call__(self, imu: Tensor, mask: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class TokenEncoder(IMUEncoder, Protocol):
    """An IMU encoder with features over time: what temporal alignment and masked reconstruction need."""

    token_dim: int

    def tokens(self, imu: Tensor, mask: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class PairLoss(Protocol):
    """A cross-modal objective: an ``nn.Module`` that owns only state (scales, queues).

    ``needs`` names what the embeddings must hold besides ``imu``. ``forward`` is pure; ``observe`` is called once after
    each optimiser step and may update queues or statistics.
    """

    needs: frozenset[str]

    def __call__(self, pair: PairEmbeddings) -> LossOutput: ...

    def observe(self, pair: PairEmbeddings) -> None: ...


@runtime_checkable
class VideoTeacher(Protocol):
    """A frozen model that turns clips or skeletons into features, identified by a fingerprint.

    ``modality`` is ``"video"`` (frames (B, F, H, W, 3) uint8) or ``"skeleton"`` (joints (B, F, J, 3) float32 metres).
    """

    modality: str
    feature_dim: int

    def describe(self) -> dict[str, Any]:
        """Everything that determines the features, as JSON: the fingerprint is its hash."""

    def encode(self, inputs: Tensor) -> Tensor:
        """Return (B, Dt) float32 features without gradient."""
