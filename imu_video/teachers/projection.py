"""Fixed maps from teacher features to fewer dimensions; part of the teacher's fingerprint, not trained by a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imu_video.errors import ConfigError, nearest
from imu_video.teachers.fingerprint import hash_state


class Projection(nn.Module):
    """Identity, and the base class of other projections: (N, width) -> (N, dim)."""

    name = "identity"

    def __init__(self, *, width: int, dim: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.dim = width if dim is None else dim
        if not 1 <= self.dim <= width:
            raise ConfigError(f"projection {self.name!r}: dim must be 1 to {width} (the feature width), got {self.dim}")

    def forward(self, features: Tensor) -> Tensor:
        return features

    def fit(self, features: Tensor) -> None:
        """Fit on (N, width) raw features of the training split; the identity has nothing to fit."""

    @property
    def needs_fit(self) -> bool:
        """Whether `fit` must be called before use."""
        return False

    def describe(self) -> dict[str, Any]:
        """Settings and weights that determine the map, as JSON."""
        return {"name": self.name}


class Orthogonal(Projection):
    """A seeded random map with orthonormal rows, which preserves angles on average and needs no data.

    Args:
        width: feature width.
        dim: output width, at most ``width``.
        seed: seed of the Gaussian matrix whose QR decomposition gives the rows, >= 0.
    """

    name = "orthogonal"
    matrix: Tensor

    def __init__(self, *, width: int, dim: int, seed: int = 0) -> None:
        super().__init__(width=width, dim=dim)
        self.seed = seed
        gaussian = torch.randn(width, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        q, r = torch.linalg.qr(gaussian)
        # QR is unique only up to the signs of its columns, which depend on the LAPACK build; this fixes them.
        self.register_buffer("matrix", (q * r.diagonal().sign()).float())

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = features @ self.matrix
        return out

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "dim": self.dim, "seed": self.seed}


class PCA(Projection):
    """Principal components of the training split's features, after subtraction of the mean.

    Args:
        width: feature width.
        dim: output width, at most ``width`` and the number of training samples.
        whiten: divide by the standard deviation along each axis.
    """

    name = "pca"
    mean: Tensor
    matrix: Tensor

    def __init__(self, *, width: int, dim: int, whiten: bool = False) -> None:
        super().__init__(width=width, dim=dim)
        self.whiten = whiten
        # NaN marks an unfitted projection in the state dict itself, so that `needs_fit` survives saving and loading.
        self.register_buffer("mean", torch.full((width,), torch.nan))
        self.register_buffer("matrix", torch.full((width, dim), torch.nan))

    @property
    def needs_fit(self) -> bool:
        return not bool(self.matrix.isfinite().all())

    def fit(self, features: Tensor) -> None:
        """Fit on (N, width) features.

        Raises:
            ConfigError: fewer samples than ``dim``.
        """
        if len(features) < self.dim:
            raise ConfigError(
                f"projection 'pca' with dim={self.dim} needs as many training samples, got {len(features)}",
                hint=f"use dim <= {len(features)}",
            )
        # float64 reduces rounding errors of the decomposition; the matrix is part of the teacher's fingerprint.
        x = features.double()
        mean = x.mean(0)
        _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
        axes, values = axes[: self.dim], values[: self.dim]
        peak = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        matrix = (axes * peak.sign()).T  # the sign of an axis is a convention: its largest entry is positive
        if self.whiten:
            # The lower bound prevents a division by almost zero on axes without variance.
            matrix = matrix / (values / max(1, len(x) - 1) ** 0.5).clamp_min(1e-6)
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)

    def forward(self, features: Tensor) -> Tensor:
        if self.needs_fit:
            raise ConfigError("projection 'pca' was not fitted", hint="`imu-video embed` fits it on the split `train`")
        return (features - self.mean) @ self.matrix

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dim": self.dim,
            "whiten": self.whiten,
            "sha256": None if self.needs_fit else hash_state(self.state_dict()),
        }


_KINDS: dict[str, type[Projection]] = {cls.name: cls for cls in (Projection, Orthogonal, PCA)}


def make_projection(entry: str | Mapping[str, Any], width: int) -> Projection:
    """Build a projection from a config entry.

    Raises:
        ConfigError: unknown name or argument, or a dim out of range.

    Example:
        >>> make_projection({"name": "orthogonal", "dim": 2}, 8)(torch.ones(3, 8)).shape
        torch.Size([3, 2])
    """
    arguments = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = str(arguments.pop("name", ""))
    if name not in _KINDS:
        raise ConfigError(f"unknown projection {name!r}{nearest(name, _KINDS)}")
    try:
        return _KINDS[name](width=width, **arguments)
    except TypeError as error:
        raise ConfigError(f"projection {name!r}: {error}") from error
