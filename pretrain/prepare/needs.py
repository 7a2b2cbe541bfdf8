"""What the losses of a config ask of data and model; whether the data has it is the question of build and preflight."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imu_video.errors import ConfigError
from imu_video.losses import LossMix
from pretrain.config import DIM, LIVE_TEACHER, NO_TEACHER, PretrainConfig


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a run computes.

    Args:
        pair: keys of `losses.base.NEEDS`; what the losses read besides the IMU embedding.
        tower: a skeleton encoder trains along and stands on the video side.
        fixed: losses whose target must not train along, by name.
    """

    pair: frozenset[str]
    tower: bool
    fixed: tuple[str, ...] = ()

    @property
    def teacher(self) -> bool:
        """Whether a cached teacher must be there."""
        return "teacher" in self.pair or ("video" in self.pair and not self.tower)

    @property
    def skeleton(self) -> bool:
        """Whether batches must hold skeletons."""
        return self.tower and bool(self.pair & {"video", "segments"})

    @property
    def devices(self) -> bool:
        return "devices" in self.pair

    @property
    def two_views(self) -> bool:
        return "two_views" in self.pair


def needs_of(config: PretrainConfig) -> Needs:
    """What a config asks for; the losses are built and thrown away.

    Raises:
        ConfigError: a loss refuses its arguments.

    Example:
        >>> from pretrain.config import DataSection, OptimSection
        >>> sorted(needs_of(PretrainConfig(data=DataSection(root="d"), optim=OptimSection(steps=3))).pair)
        ['video']
    """
    if not config.loss:
        return Needs(pair=frozenset(), tower=config.tower is not None)
    with torch.random.fork_rng(devices=[]):
        mix = LossMix.build(config.loss, dim=DIM, teacher_dim=DIM)  # widths decide no need
    fixed = tuple(name for name, loss in mix.losses.items() if getattr(loss, "fixed_target", False))
    return Needs(pair=mix.needs, tower=config.tower is not None, fixed=fixed)


def check_teacher_choice(config: PretrainConfig, needs: Needs) -> None:
    """A teacher must be there when it is needed, and must not be named when it is not.

    Raises:
        ConfigError: one or the other; or a tower that no loss looks at.
    """
    wanted = config.data.teacher
    if needs.teacher and wanted == NO_TEACHER:
        raise ConfigError(
            f"data.teacher is none, but the losses need a teacher ({', '.join(sorted(needs.pair))})",
            hint="data.teacher=null takes the cached one; tower=skeleton trains a skeleton encoder instead",
        )
    if wanted != LIVE_TEACHER and (config.data.live_teacher or config.data.clip_augment):
        key = "live_teacher" if config.data.live_teacher else "clip_augment"
        raise ConfigError(
            f"data.{key} is set, but data.teacher is {wanted!r}: a cached teacher has seen the clips as they are",
            hint="data.teacher=live computes features while training",
        )
    if not needs.teacher and wanted not in (None, NO_TEACHER):
        raise ConfigError(
            f"data.teacher is {wanted!r}, but nothing in this config looks at a teacher", hint="data.teacher=null"
        )
    if needs.tower and not needs.skeleton:
        raise ConfigError("tower is set, but no loss looks at the video side", hint="tower=null, or loss=[info_nce]")


def check_control(config: PretrainConfig, needs: Needs) -> None:
    """Only what is paired can be paired wrongly.

    Raises:
        ConfigError: permuted pairs in a run without a video side.
    """
    if config.data.control != "none" and not (needs.teacher or needs.skeleton):
        raise ConfigError(
            f"data.control is {config.data.control}, but no loss of this run looks at a teacher or a skeleton",
            hint="data.control=none; for a control of such a run compare with an untrained encoder",
        )
