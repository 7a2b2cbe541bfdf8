"""Skeleton encoders that are trained jointly with the student; frozen skeleton encoders are in `imu_video.teachers`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from imu_video.arguments import Count, NonNegative, Probability
from imu_video.encoders.layers.convolutional import Norm, norm_layer
from imu_video.errors import ConfigError
from imu_video.registry import towers
from imu_video.runtime.distributed import GlobalDraws
from imu_video.skeletons.augmentation import SkeletonAugmentation
from imu_video.skeletons.geometry import BodyFrame, streams
from imu_video.skeletons.network import SkeletonEncoder

Frames = Annotated[int, Field(ge=16)]
"""Time steps of a skeleton after resampling: the networks halve them up to four times."""
Degrees = Annotated[float, Field(ge=0, le=180)]


class SkeletonTower(nn.Module, ABC):
    """Base class of trainable skeleton encoders: normalisation, augmentation in training, features over time, pooling.

    Skeletons are trimmed to their moving part, resampled to ``frames``, rotated to an upright and frontal pose, centred
    on the hips and divided by the length of the torso (`BodyFrame`). In training, `forward` with ``draws``
    augments each skeleton: rotation about the vertical, tilt, shear, scale, body shape, tempo, lost joints and noise.

    Args:
        joints: names of the J joints in order; the trainer takes them from the data.
        frames: time steps after resampling, at least 16.
        align: rotate every skeleton to the front; needs ``left_*`` and ``right_*`` hips or shoulders.
        centre, top: joints at the ends of the torso; None: the first known names.
        owner: name used in error messages.
        augmentation: strengths of the random augmentation, see `SkeletonAugmentation`.

    Attributes:
        token_dim: E', width of `tokens`.
        feature_dim: Dt, width of `forward`.

    Shapes: (B, F, J, 3) metres -> (B, Dt); `tokens` -> (B, S, E').

    Raises:
        ConfigError: joints without a known torso, too few frames.
    """

    modality = "skeleton"
    token_dim: int
    feature_dim: int
    up: Tensor

    def __init__(
        self,
        *,
        joints: Sequence[str],
        frames: int,
        align: bool,
        centre: str | None,
        top: str | None,
        owner: str,
        **augmentation: float,
    ) -> None:
        super().__init__()
        self.joints = tuple(joints)
        self.body = BodyFrame(joints=joints, frames=frames, align=align, centre=centre, top=top, owner=owner)
        self.augmentation = SkeletonAugmentation(**augmentation)
        self.register_buffer("up", torch.tensor(1))

    @abstractmethod
    def over_time(self, x: Tensor) -> Tensor:
        """Features over time of two streams. Shapes: (B, 2, F, J, 3) -> (B, E', S)."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> Tensor:
        """Shapes: (B, S, E') -> (B, Dt)."""

    def fit(self, skeletons: Tensor) -> None:
        """Find the vertical axis from (N, F, J, 3) skeletons of the training split; once, before the first step."""
        up = self.body.vertical(skeletons)
        if up is not None:
            self.up.fill_(up)

    def tokens(self, skeletons: Tensor, draws: GlobalDraws | None = None) -> Tensor:
        """Features over time (B, S, E'), oldest first; with ``draws``, of augmented skeletons.

        Raises:
            ValueError: skeletons that are not (B, F, J, 3) with the J joints of the tower.
        """
        if skeletons.ndim != 4 or skeletons.shape[2:] != (len(self.joints), 3):
            raise ValueError(f"skeletons must be (B, F, J={len(self.joints)}, 3), got {tuple(skeletons.shape)}")
        # At least float32, even under autocast: positions are divided by a length, and differences of frames are small.
        with torch.autocast(skeletons.device.type, enabled=False):
            poses = self.body(skeletons, int(self.up))
            if draws is not None:
                poses = self.augmentation(poses, draws)
            x = streams(poses, self.body.centre)
            if draws is not None:
                x = x * self.augmentation.kept(len(x), x.shape[3], draws).to(x.device)
        return self.over_time(x).transpose(1, 2)

    def forward(self, skeletons: Tensor, draws: GlobalDraws | None = None) -> Tensor:
        """Features (B, Dt) of skeletons (B, F, J, 3) in metres; see `tokens`."""
        return self.pool(self.tokens(skeletons, draws))


@towers.register("skeleton")
class StreamTower(SkeletonTower):
    """The network of the skeleton teacher, trained jointly: point and motion streams of 1-D convolutions over time.

    Args:
        joints, frames, align, centre, top: see `SkeletonTower`.
        width: channels of the narrowest layer, at least 4; features are 4 * width * segments.
        segments: number of parts of equal length that are averaged separately; 1 to frames / 4.
        norm: ``group``, or ``batch``.
        body, scale, jitter, shear: strengths of the augmentation (`SkeletonAugmentation`), at least 0. With zeros and
            crop 1, skeletons stay unchanged.
        rotation: largest rotation about the vertical in degrees, in [0, 180].
        crop: smallest share of the time that is kept, in (0, 1].
        warp, lost: largest distortion of the time axis, and probability that a joint is missing; in [0, 1].

    Shapes: (B, F, J, 3) -> (B, 4 * width * segments); tokens (B, frames / 4, 4 * width).

    Example:
        >>> names = ["pelvis", "neck", "left_hip", "right_hip"]
        >>> StreamTower(joints=names, width=4)(torch.randn(2, 30, 4, 3)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        *,
        joints: Sequence[str],
        frames: Frames = 48,
        width: Annotated[int, Field(ge=4)] = 64,
        segments: Count = 4,
        norm: Norm = "group",
        align: bool = True,
        centre: str | None = None,
        top: str | None = None,
        body: NonNegative = 0.1,
        rotation: Degrees = 30.0,
        scale: NonNegative = 0.15,
        jitter: NonNegative = 0.01,
        shear: NonNegative = 0.0,
        crop: Annotated[float, Field(gt=0, le=1)] = 0.7,
        warp: Probability = 0.2,
        lost: Probability = 0.1,
    ) -> None:
        owner = "tower 'skeleton'"
        super().__init__(
            joints=joints, frames=frames, align=align, centre=centre, top=top, owner=owner,
            body=body, rotation=rotation, scale=scale, jitter=jitter, shear=shear, crop=crop, warp=warp, lost=lost,
        )  # fmt: skip
        if segments > frames // 4:
            raise ConfigError(f"{owner}: segments must be at most frames / 4, got {segments=}, {frames=}")
        self.network = SkeletonEncoder(
            joints=len(self.joints), width=width, segments=segments, norm=partial(norm_layer, norm)
        )
        self.segments = segments
        self.token_dim = 4 * width
        self.feature_dim = 4 * width * segments

    def over_time(self, x: Tensor) -> Tensor:
        return self.network.over_time(x)

    def pool(self, tokens: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(tokens.transpose(1, 2), self.segments).flatten(1)


@towers.register("skeleton_cooccurrence")
class CooccurrenceTower(SkeletonTower):
    """Co-occurrence network: joints become channels, so that one layer combines all of them (Li et al. 2018).

    The skeleton encoder of CMC-CMKM and of the hard-negative recipe. Each of two streams (positions, their change):
    64 channels (1 x 1), 32 (3 x 1 over time), joints moved to the channel axis, 32 and 64 (3 x 3) with max pooling; the
    streams concatenated, then 128 and 256 with max pooling; flattened. Normalisation after each convolution is ours.

    Args:
        joints, frames, align, centre, top: see `SkeletonTower`; 48 frames leave 3 steps.
        width: features per joint, a positive multiple of 16; 32 gives the sizes above.
        norm: ``group``, or ``batch``.
        body, rotation, scale, jitter, shear, crop, warp, lost: see `StreamTower`.

    Shapes: (B, F, J, 3) -> (B, width^2 / 2 * (frames // 16)); tokens (B, frames // 16, width^2 / 2).

    Example:
        >>> names = ["pelvis", "neck", "left_hip", "right_hip"]
        >>> CooccurrenceTower(joints=names, width=16)(torch.randn(2, 30, 4, 3)).shape
        torch.Size([2, 384])
    """

    def __init__(
        self,
        *,
        joints: Sequence[str],
        frames: Frames = 48,
        width: Annotated[int, Field(ge=16, multiple_of=16)] = 32,
        norm: Norm = "group",
        align: bool = True,
        centre: str | None = None,
        top: str | None = None,
        body: NonNegative = 0.1,
        rotation: Degrees = 30.0,
        scale: NonNegative = 0.15,
        jitter: NonNegative = 0.01,
        shear: NonNegative = 0.1,
        crop: Annotated[float, Field(gt=0, le=1)] = 0.7,
        warp: Probability = 0.2,
        lost: Probability = 0.1,
    ) -> None:
        super().__init__(
            joints=joints, frames=frames, align=align, centre=centre, top=top, owner="tower 'skeleton_cooccurrence'",
            body=body, rotation=rotation, scale=scale, jitter=jitter, shear=shear, crop=crop, warp=warp, lost=lost,
        )  # fmt: skip
        self.by_joint = nn.ModuleList(self._by_joint(width, norm) for _ in range(2))
        self.by_body = nn.ModuleList(self._by_body(len(self.joints), width, norm) for _ in range(2))
        self.joined = nn.Sequential(
            *_convolution(4 * width, 4 * width, (3, 3), norm), nn.MaxPool2d(2),
            *_convolution(4 * width, 8 * width, (3, 3), norm), nn.MaxPool2d(2),
        )  # fmt: skip
        self.token_dim = 8 * width * (width // 16)
        self.feature_dim = self.token_dim * (frames // 16)

    @staticmethod
    def _by_joint(width: int, norm: Norm) -> nn.Sequential:
        return nn.Sequential(*_convolution(3, 2 * width, (1, 1), norm), *_convolution(2 * width, width, (3, 1), norm))

    @staticmethod
    def _by_body(joints: int, width: int, norm: Norm) -> nn.Sequential:
        return nn.Sequential(
            *_convolution(joints, width, (3, 3), norm), nn.MaxPool2d(2),
            *_convolution(width, 2 * width, (3, 3), norm), nn.MaxPool2d(2),
        )  # fmt: skip

    def over_time(self, x: Tensor) -> Tensor:
        parts = []
        for number, stream in enumerate(x.unbind(1)):
            joint = self.by_joint[number](stream.permute(0, 3, 1, 2))  # (B, width, F, J)
            parts.append(self.by_body[number](joint.permute(0, 3, 2, 1)))  # joints as channels
        out: Tensor = self.joined(torch.cat(parts, dim=1))
        return out.transpose(2, 3).flatten(1, 2)

    def pool(self, tokens: Tensor) -> Tensor:
        return tokens.flatten(1)


def _convolution(before: int, after: int, kernel: tuple[int, int], norm: Norm) -> list[nn.Module]:
    pad = (kernel[0] // 2, kernel[1] // 2)
    return [nn.Conv2d(before, after, kernel, padding=pad), norm_layer(norm, after, axes=2), nn.ReLU()]
