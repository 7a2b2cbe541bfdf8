"""Base class of teachers: frozen and identified by the hash of their description; no networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from imu_video.config import digest
from imu_video.errors import ConfigError
from imu_video.modalities.base import modality_of
from imu_video.teachers.fingerprint import hash_state
from imu_video.teachers.projection import Projection, make_projection


class FrozenTeacher(nn.Module, ABC):
    """Base class of teachers: always in evaluation mode, without gradients, described by all settings of its features.

    A subclass sets ``modality``, builds its network, calls `freeze` at the end of its constructor (or of `fit`), and
    implements `features` and `recipe`.

    Args:
        width: number of features of the network, before the projection.
        projection: ``identity``, or a mapping ``{name: pca, dim: 64}``, ``{name: orthogonal, dim: 64, seed: 0}``.
    """

    modality: ClassVar[str] = "video"
    """Registered modality of the batches that `encode` takes."""
    needs_fit: ClassVar[bool] = False
    needs_labels: bool = False
    """Whether `fit` also takes ``labels``, a name or None for each input; may be set in the constructor."""

    def __init__(self, *, width: int, projection: str | Mapping[str, Any] = "identity") -> None:
        super().__init__()
        self.projection: Projection = make_projection(projection, width)

    @property
    def feature_dim(self) -> int:
        """Dt, the width of the features that `encode` returns."""
        return self.projection.dim

    @abstractmethod
    def features(self, inputs: Tensor) -> Tensor:
        """(B, width) features of checked inputs, before the projection."""

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """Everything that determines the features except weights and projection, as JSON: model, transform, sampler."""

    def fit(self, inputs: Tensor, *, labels: Sequence[str | None] | None = None) -> None:
        """Train on (N, ...) inputs of the training split; only for teachers that set ``needs_fit``.

        ``labels`` are passed only if ``needs_labels`` is set; other teachers may omit this argument.

        Raises:
            ConfigError: the teacher has nothing to fit.
        """
        raise ConfigError(f"{type(self).__name__} has nothing to fit: needs_fit is {self.needs_fit}")

    def sample_indices(self, frames: int) -> list[int]:
        """Indices of the frames that the teacher reads from a clip or skeleton of ``frames`` frames; all by default."""
        return list(range(frames))

    def freeze(self) -> None:
        """Disable gradients and set evaluation mode."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Ignore ``mode`` and stay in evaluation mode: the features of a teacher must not change during training."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Disable gradients; enabling them is an error.

        Raises:
            ConfigError: ``requires_grad`` is True.
        """
        if requires_grad:
            raise ConfigError(f"{type(self).__name__} is frozen: its parameters take no gradient")
        return super().requires_grad_(False)

    def encode(self, inputs: Tensor) -> Tensor:
        """Features without gradient.

        Args:
            inputs: frames or joints selected by `sample_indices`: (B, F, H, W, 3) uint8, or (B, F, J, 3) in metres.

        Returns:
            (B, Dt) float32.

        Raises:
            ValueError: another number of axes or another type.
        """
        return self.projection(self.raw_features(inputs))

    def raw_features(self, inputs: Tensor) -> Tensor:
        """(B, width) float32 features before the projection, without gradient.

        Raises:
            ValueError: inputs that do not have the axes of the modality.
        """
        try:
            modality_of(self.modality).check_batch(inputs)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from error
        # Again before every use: a subclass may have forgotten it, or code outside may have changed the network.
        self.freeze()
        with torch.no_grad():
            return self.features(inputs).float()

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(N, width) features of texts in the space of the image features, for teachers with a joint space.

        Raises:
            ConfigError: this teacher has no text encoder; most have none.
        """
        raise ConfigError(
            f"{type(self).__name__} has no text encoder aligned with its image features: prompts cannot be used",
            hint="use a CLIP model (configs/teacher/clip.yaml), or zeroshot.text.encoder=sentence with seen classes",
        )

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts in the space of `encode`. Shapes: N texts -> (N, Dt) float32.

        Raises:
            ConfigError: the teacher has no joint image-text embedding space.
        """
        with torch.no_grad():
            return self.projection(self.text_features(texts).float())

    def fit_projection(self, features: Tensor) -> None:
        """Fit the projection on (N, width) raw features of the training split, if it needs data."""
        self.projection.fit(features)

    def describe(self) -> dict[str, Any]:
        """Everything that determines the features, as JSON; `fingerprint` is its hash."""
        return {**self.recipe(), "weights_sha256": self.weights_digest(), "projection": self.projection.describe()}

    def weights_digest(self) -> str:
        """Hash of all parameters and buffers outside the projection: names, shapes and bytes."""
        return hash_state({k: v for k, v in self.state_dict().items() if not k.startswith("projection.")})

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that identify this teacher in caches and model cards."""
        return digest(self.describe())
