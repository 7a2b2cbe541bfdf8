"""The model in training: student, other side and projectors to a common embedding space; no losses, no teacher."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError
from imu_video.losses.base import at_least_float32
from imu_video.runtime.distributed import GlobalDraws
from imu_video.types import PairBatch, PairEmbeddings

TEACHER = "teacher"
"""Name of the side with features of a frozen teacher; the side of a trained network has the name of its modality."""


class ProjectionHead(nn.Module):
    """Maps features to an embedding (before normalisation) through one residual block.

    Cheshmi et al. 2025 (arXiv 2507.13482): a = W1 z + b1; h = W2 GELU(a) + b2; LayerNorm(Dropout(h) + a). The residual
    comes from the first map's output, not from z.

    Args:
        width: E, features in.
        dim: D, embedding width, 1 or more.
        dropout: in [0, 1); the paper uses 0.1. Non-zero values use torch's global generator, separately per rank.

    Shapes: (..., E) -> (..., D).

    Example:
        >>> ProjectionHead(width=768, dim=512)(torch.zeros(2, 768)).shape
        torch.Size([2, 512])
    """

    def __init__(self, *, width: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"projection head: dim must be at least 1, dropout in [0, 1); got {dim=}, {dropout=}")
        self.first = nn.Linear(width, dim)
        self.second = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        a = self.first(features)
        out: Tensor = self.norm(self.dropout(self.second(F.gelu(a))) + a)
        return out


class BatchHead(nn.Module):
    """Maps features to an embedding (before normalisation) through a hidden layer with batch norm.

    The projection head of SimCLR (Chen et al. 2020, arXiv 2002.05709, section 4.2) and of CMC-CMKM (Brinzea et al.
    2022): W2 relu(batch_norm(W1 z)); with ``gelu`` in place of relu that of COMODO's student (Chen et al. 2025,
    arXiv 2503.07259), 2048 wide. Unlike `ProjectionHead` it has no residual connection around the hidden layer.

    Args:
        width: E, features in.
        dim: D, embedding width, 1 or more.
        hidden: width of the hidden layer, 1 or more; 256.
        activation: ``relu`` or ``gelu``.

    Shapes: (..., E) -> (..., D); statistics run over all leading axes.

    Example:
        >>> BatchHead(width=768, dim=128)(torch.zeros(2, 768)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self, *, width: int, dim: int, hidden: int = 256, activation: Literal["relu", "gelu"] = "relu"
    ) -> None:
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ConfigError(f"batch head: dim and hidden must be at least 1; got {dim=}, {hidden=}")
        self.activation = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.first = nn.Linear(width, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, dim)

    def forward(self, features: Tensor) -> Tensor:
        h = self.norm(self.first(features.flatten(0, -2)))
        out: Tensor = self.second(self.activation(h))
        return out.unflatten(0, features.shape[:-1])


class RandomHead(nn.Module):
    """Maps features to an embedding (before normalisation) through random weights that are never trained.

    The projector of COMODO's teacher (Chen et al. 2025, arXiv 2503.07259): W2 gelu(b(W1 z)) with batch norm b in
    evaluation mode at its initial statistics, which divides by sqrt(1 + 1e-5). The weights are part of the state.

    Args:
        width: E, features in.
        dim: D, embedding width, 1 or more.
        hidden: width of the hidden layer, 1 or more; 2048.

    Shapes: (..., E) -> (..., D).

    Example:
        >>> head = RandomHead(width=768, dim=128)
        >>> head(torch.zeros(2, 768)).shape, [name for name, p in head.named_parameters() if p.requires_grad]
        (torch.Size([2, 128]), [])
    """

    def __init__(self, *, width: int, dim: int, hidden: int = 2048) -> None:
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ConfigError(f"random head: dim and hidden must be at least 1; got {dim=}, {hidden=}")
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(hidden, dim)
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.second(F.gelu(self.first(features) / math.sqrt(1 + 1e-5)))
        return out


class ReluHead(nn.Sequential):
    """Maps features to an embedding (before normalisation) through hidden layers with ReLU.

    The projection head of SimCLR for activity recognition (Tang et al. 2020, arXiv 2011.11542) has two, 256 and 128
    wide, and embeddings of 50.

    Args:
        width: E, features in.
        dim: D, embedding width, 1 or more.
        hidden: widths of the hidden layers, 1 or more each.

    Shapes: (..., E) -> (..., D).

    Example:
        >>> ReluHead(width=96, dim=50, hidden=(256, 128))(torch.zeros(2, 96)).shape
        torch.Size([2, 50])
    """

    def __init__(self, *, width: int, dim: int, hidden: tuple[int, ...] = (256, 128)) -> None:
        if min(dim, *hidden) < 1:
            raise ConfigError(f"relu head: dim and hidden must be at least 1; got {dim=}, {hidden=}")
        layers: list[nn.Module] = []
        for before, after in pairwise((width, *hidden)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden[-1], dim))


Head = Literal["residual", "batch", "batch_gelu", "relu", "linear", "none"]
"""Kind of the heads between features and embeddings: `ProjectionHead`, `BatchHead` with ReLU or GELU, `ReluHead`, one
matrix, or no head."""
Hidden = int | tuple[int, ...] | None
"""Width of a hidden layer, or of several."""
Projector = Literal["mlp", "linear", "random", "none"]
"""Head on the other side: of the kind of `Head`, one trained matrix, `RandomHead`, or none."""


def projection_head(kind: Head, *, width: int, dim: int, dropout: float = 0.0, hidden: Hidden = None) -> nn.Module:
    """Build a head of the given kind.

    Args:
        kind: see `Head`.
        width, dim: E and D; equal without a head.
        dropout: applies only to ``residual``.
        hidden: of the heads with batch norm, one; None: 256, or 2048 with GELU. Of ``relu``, one or several; None: 256
            and 128.

    Raises:
        ConfigError: no head between different widths, or several hidden layers in a head that has one.
    """
    if kind == "batch":
        return BatchHead(width=width, dim=dim, hidden=_one(hidden, 256))
    if kind == "batch_gelu":
        return BatchHead(width=width, dim=dim, hidden=_one(hidden, 2048), activation="gelu")
    if kind == "relu":
        return ReluHead(width=width, dim=dim, hidden=(hidden,) if isinstance(hidden, int) else hidden or (256, 128))
    if kind == "linear":
        return nn.Linear(width, dim)
    if kind == "none":
        if width != dim:
            raise ConfigError(
                f"head 'none' compares features as they are: the embedding width is {dim}, the features have {width}",
                hint=f"set dim={width}, or use head 'batch' or 'residual'",
            )
        return nn.Identity()
    return ProjectionHead(width=width, dim=dim, dropout=dropout)


def _one(hidden: Hidden, default: int) -> int:
    if isinstance(hidden, tuple):
        if len(hidden) > 1:
            raise ConfigError(
                f"projector.hidden {list(hidden)}: this head has one hidden layer", hint="one number, or head: relu"
            )
        return hidden[0]
    return hidden or default


class Side(nn.Module):
    """The other side of a pair: features of a frozen teacher, standardised, or of a trained network, then projected.

    Args:
        width: number of features.
        projector: head from features to embeddings; None if no loss needs embeddings of this side.
        standardised: whether features are standardised first; the statistics are part of the state.

    Shapes: (B, width) -> (B, D), unit norm, float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, width: int, projector: nn.Module | None, standardised: bool) -> None:
        super().__init__()
        self.width = width
        self.projector = projector
        if standardised:
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("std", torch.ones(width))

    def set_statistics(self, mean: np.ndarray | Tensor | None, std: np.ndarray | Tensor | None) -> None:
        """See `CrossModalModel.set_teacher_statistics`."""
        self.mean.copy_(_statistic("teacher_mean", mean, self.width, 0.0))
        scale = _statistic("teacher_std", std, self.width, 1.0)
        # A feature that is constant in training carries no information. Without this lower bound a small change of it
        # on other data would be divided by almost zero and dominate the embedding.
        self.std.copy_(scale.clamp(min=max(1e-3 * float(scale.max()), 1e-8)))

    def standardise(self, features: Tensor) -> Tensor:
        """Features in at least float32, standardised with the mean and standard deviation of the training split."""
        return (at_least_float32(features) - self.mean) / self.std

    def embed(self, features: Tensor) -> Tensor:
        """Unit-norm embeddings of features.

        Raises:
            ValueError: this side has no projector.
        """
        if self.projector is None:
            raise ValueError("this side has no projector: none of the losses given to the model needs 'side'")
        return F.normalize(at_least_float32(self.projector(features)), dim=-1)


class CrossModalModel(nn.Module):
    """Unit-norm embeddings of the student and the other side in a common space, as far as the losses need them.

    Args:
        student: the encoder that will be exported, with its input specification.
        teacher_dim: Dt, width of the frozen teacher's features; None without a teacher.
        dim: D, embedding width; the paper uses 512.
        projector: head on the other side: ``mlp`` (of the kind of ``head``), ``linear``, ``random`` (`RandomHead`), or
            ``none``: the features are only normalised, which needs dim = their width. With ``random`` or ``none`` and a
            frozen teacher, nothing is trained there.
        dropout: of the projection heads, in [0, 1); the paper uses 0.1.
        head: ``residual`` (`ProjectionHead`), ``batch`` or ``batch_gelu`` (`BatchHead`), ``relu`` (`ReluHead`),
            ``linear``, or ``none``, which needs dim = the features of the student.
        hidden: width of the hidden layers of `BatchHead`, `RandomHead` and `ReluHead`; None: their defaults.
        pair_head: whether augmented pairs have a head of their own, of the same kind (PRIMUS).
        teacher_mean, teacher_std: (Dt,) statistics of the teacher's features over the training split; features are
            standardised with them before the projector. None: used as they are.
        tower: a trainable encoder of another modality, which takes the teacher's place as the side of the pair.
        needs: keys of `losses.base.NEEDS`, the outputs of `forward` besides ``imu``; None: no loss uses embeddings, so
            the model has no projectors and `forward` cannot be called.
        segments: S, number of time segments of a window if ``needs`` contains ``segments``, at least 2.

    Raises:
        ConfigError: dimensions that do not match, or needs without a teacher or network that provides them.

    Example:
        ``CrossModalModel(student=EncoderBundle(spec=spec, encoder="patch_tst"), teacher_dim=1280)``
    """

    def __init__(
        self,
        *,
        student: EncoderBundle,
        teacher_dim: int | None,
        dim: int = 128,
        projector: Projector = "mlp",
        dropout: float = 0.0,
        head: Head = "residual",
        hidden: Hidden = None,
        pair_head: bool = False,
        teacher_mean: np.ndarray | Tensor | None = None,
        teacher_std: np.ndarray | Tensor | None = None,
        tower: nn.Module | None = None,
        needs: Collection[str] | None = ("side",),
        segments: int = 4,
    ) -> None:
        super().__init__()
        self.needs = frozenset(needs or ())
        self.teacher_dim, self.segments, self.dim = teacher_dim, segments, dim
        self.head, self.hidden = head, hidden
        self.student = student
        # Networks come before all heads, and heads in the order imu, side: the gradient norm is a sum in this order, so
        # a different order would change its last bit.
        self.networks = nn.ModuleDict({} if tower is None else {str(tower.modality): tower})
        width = teacher_dim if tower is None else int(tower.feature_dim)  # type: ignore[arg-type]
        for need, given in (("side", width), ("teacher", teacher_dim), ("segments", tower)):
            if need in self.needs and given is None:
                raise ConfigError(
                    f"the losses need {need!r}, but there is no {'tower' if need == 'segments' else 'teacher'}",
                    hint="`imu-video embed` caches a teacher; tower=skeleton trains a skeleton encoder instead",
                )
        if needs is not None:
            self.imu_projector = projection_head(head, width=student.head_dim, dim=dim, dropout=dropout, hidden=hidden)
        self.side_name = TEACHER if tower is None else str(tower.modality)
        self.sides = nn.ModuleDict()
        if width is not None:
            chosen = None
            if "side" in self.needs:
                chosen = _side_projector(projector, head, width=width, dim=dim, dropout=dropout, hidden=hidden)
            self.sides[self.side_name] = Side(width=width, projector=chosen, standardised=tower is None)
        if teacher_dim is not None and tower is not None:
            self.sides[TEACHER] = Side(width=teacher_dim, projector=None, standardised=True)
        self.segment_projectors = nn.ModuleDict()
        if tower is not None and "segments" in self.needs:
            if segments < 2 or student.token_dim is None:
                raise ConfigError(
                    f"segments need an encoder with features over time and at least 2 of them, got {segments} and "
                    f"encoder {student.encoder_config['name']!r}",
                    hint="encoder=patch_tst, projector.segments=4",
                )
            widths = {"imu": student.token_dim, self.side_name: int(tower.token_dim)}  # type: ignore[arg-type]
            for name, tokens in widths.items():
                self.segment_projectors[name] = ProjectionHead(width=tokens, dim=dim, dropout=dropout)
        # After all others: a seed gives them the same weights with and without this head.
        self.pair_projector = None
        if pair_head and "augmented_pair" in self.needs:
            self.pair_projector = projection_head(head, width=student.head_dim, dim=dim, dropout=dropout, hidden=hidden)
        if teacher_dim is not None:
            self.set_teacher_statistics(teacher_mean, teacher_std)

    @property
    def teacher(self) -> Side:
        """The side of the frozen teacher.

        Raises:
            ConfigError: a model without a teacher.
        """
        if TEACHER not in self.sides:
            raise ConfigError("this model has no teacher")
        side: Side = self.sides[TEACHER]  # type: ignore[assignment]
        return side

    def set_teacher_statistics(
        self, mean: np.ndarray | Tensor | None = None, std: np.ndarray | Tensor | None = None
    ) -> None:
        """Set the statistics with which the teacher's features are standardised.

        Args:
            mean, std: (Dt,) over the training split; None: 0 and 1, features are used as they are.

        Raises:
            ConfigError: the number of values differs from Dt, values are not finite, or the model has no teacher.
        """
        self.teacher.set_statistics(mean, std)

    def forward(self, batch: PairBatch, draws: GlobalDraws | None = None) -> PairEmbeddings:
        """Embeddings of one rank's rows, with gradients to student, projectors and tower.

        Args:
            batch: contains the inputs that ``needs`` requires.
            draws: random numbers for augmentation by the network of the other side; used only in training mode.

        Raises:
            ValueError: a required input is missing from the batch.
        """
        windows = {"imu": (batch.imu, batch.mask)}
        if "augmented_pair" in self.needs:
            windows["imu_two"] = (_given(batch.imu_two, "augmented pair"), _given(batch.mask_two, "augmented pair"))
        if "devices" in self.needs:
            devices, devices_mask = _given(batch.devices, "devices"), _given(batch.devices_mask, "devices")
            windows["devices"] = (devices.flatten(0, 1), devices_mask.flatten(0, 1))
        # One forward pass over all windows: batch norm uses common statistics, and a small network uses a GPU better.
        joined = [torch.cat(side) if len(side) > 1 else side[0] for side in zip(*windows.values(), strict=True)]
        lengths = [len(imu) for imu, _ in windows.values()]
        if self.pair_projector is None:
            out: dict[str, Any] = dict(zip(windows, self.embed_imu(*joined).split(lengths), strict=True))
        else:
            out = self._with_own_head(
                dict(zip(windows, self.student.head_features(*joined).split(lengths), strict=True))
            )
        if "devices" in self.needs:
            out["devices"] = out["devices"].unflatten(0, (len(batch.imu), -1))
            out |= {"devices_present": devices_mask.flatten(2).any(-1), "devices_imu": devices}
        if "teacher" in self.needs:
            out["teacher"] = self.standardise(_given(batch.teacher, "teacher features"))
        if self.networks and self.needs & {"side", "segments"}:
            out |= self._embed_network(batch, draws if self.training else None)
        elif "side" in self.needs:
            out["sides"] = {TEACHER: self._embed_paired(_given(batch.teacher, "teacher features"), batch.paired)}
        if "segments" in self.needs:
            tokens = self._segmented(self.student.tokens(batch.imu, batch.mask))
            out["imu_segments"] = F.normalize(at_least_float32(self.segment_projectors["imu"](tokens)), dim=-1)
        return PairEmbeddings(meta=batch.meta, paired=batch.paired, **out)

    def _embed_paired(self, teacher: Tensor, paired: Tensor | None) -> Tensor:
        """Embeddings of teacher features, zeros in rows without a pair: these must not enter batch statistics."""
        if paired is None:
            return self.embed_teacher(teacher)
        found = self.embed_teacher(teacher[paired])
        out = found.new_zeros(len(teacher), found.shape[1])
        out[paired] = found
        return out

    def _with_own_head(self, features: dict[str, Tensor]) -> dict[str, Any]:
        """Embeddings of all windows, and of both windows of each augmented pair by the head of pairs."""
        assert self.pair_projector is not None
        second = features.pop("imu_two")
        lengths = [len(rows) for rows in features.values()]
        shared = self.imu_projector(torch.cat(list(features.values()))).split(lengths)
        own = self.pair_projector(torch.cat([features["imu"], second])).split(len(second))
        found = dict(zip((*features, "imu_one", "imu_two"), (*shared, *own), strict=True))
        return {name: F.normalize(at_least_float32(rows), dim=-1) for name, rows in found.items()}

    def embed_imu(self, imu: Tensor, mask: Tensor | None = None) -> Tensor:
        """Unit-norm (B, D), in at least float32, of windows (B, C, T) in SI units."""
        return F.normalize(at_least_float32(self.imu_projector(self.student.head_features(imu, mask))), dim=-1)

    def embed_teacher(self, teacher: Tensor) -> Tensor:
        """Unit-norm (B, D), in at least float32, of teacher features (B, Dt)."""
        return self.teacher.embed(self.standardise(teacher))

    def standardise(self, teacher: Tensor) -> Tensor:
        """Teacher features (B, Dt) in at least float32, standardised with the statistics of the training split.

        Raises:
            ValueError: a model without a teacher, or features of another width.
        """
        if self.teacher_dim is None or teacher.shape[-1] != self.teacher_dim:
            raise ValueError(f"teacher features have shape {tuple(teacher.shape)}, expected (B, Dt={self.teacher_dim})")
        return self.teacher.standardise(teacher)

    def _embed_network(self, batch: PairBatch, draws: GlobalDraws | None) -> dict[str, Any]:
        name = self.side_name
        network: Any = self.networks[name]
        tokens: Tensor = network.tokens(_given(batch.others.get(name), name), draws)
        out: dict[str, Any] = {}
        if "side" in self.needs:
            side: Side = self.sides[name]  # type: ignore[assignment]
            out["sides"] = {name: side.embed(network.pool(tokens))}
        if "segments" in self.needs:
            projected = self.segment_projectors[name](self._segmented(tokens))
            out["side_segments"] = {name: F.normalize(at_least_float32(projected), dim=-1)}
        return out

    def _segmented(self, tokens: Tensor) -> Tensor:
        """Mean over parts of equal length. Shapes: (B, S', E') -> (B, S, E')."""
        return F.adaptive_avg_pool1d(tokens.transpose(1, 2), self.segments).transpose(1, 2)


def _side_projector(kind: Projector, head: Head, *, width: int, dim: int, dropout: float, hidden: Hidden) -> nn.Module:
    if kind == "mlp":
        return projection_head(head, width=width, dim=dim, dropout=dropout, hidden=hidden)
    if kind == "random":
        return RandomHead(width=width, dim=dim, hidden=_one(hidden, 2048))
    if kind == "linear":
        return nn.Linear(width, dim)
    if dim != width:
        raise ConfigError(
            f"projector 'none' needs dim = the teacher's width: dim is {dim}, the teacher has {width}",
            hint=f"set dim={width}, project the teacher (pca, orthogonal) when embedding, or use 'linear'",
        )
    return nn.Identity()


def _given(x: Tensor | None, what: str) -> Tensor:
    if x is None:
        raise ValueError(f"the batch has no {what}, which the losses need")
    return x


def _statistic(name: str, values: np.ndarray | Tensor | None, width: int, default: float) -> Tensor:
    if values is None:
        return torch.full((width,), default)
    tensor = torch.as_tensor(values, dtype=torch.float32)
    if tensor.shape != (width,) or not bool(tensor.isfinite().all()):
        raise ConfigError(f"{name} must be {width} finite numbers, got shape {tuple(tensor.shape)}")
    return tensor.clone()
