"""Components by name: `create_encoder("patch_tst")`, `list_encoders("*cnn*")`; the registry does the work.

`imu_video` offers these functions itself. `create_*` take a registered name and the constructor arguments of that
component, and `list_*` take shell-style wildcards, as timm's `create_model` and `list_models` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from imu_video import registry

if TYPE_CHECKING:
    from torch import nn

    from imu_video.losses.base import PairLoss
    from imu_video.objectives.base import Objective
    from imu_video.protocols import RecordingSource
    from imu_video.teachers.base import FrozenTeacher
    from imu_video.transforms.base import Augmentation

Patterns = str | Sequence[str]
"""One pattern or several; ``*`` matches any characters, ``?`` one, ``[ab]`` one of a set. Names match as a whole."""


def list_encoders(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered IMU encoders.

    Args:
        pattern: names that match any of these patterns are returned.
        exclude: names that match any of these are left out.

    Example:
        >>> list_encoders("harood_*")
        ['harood_cnn', 'harood_transformer']
    """
    return _matching(registry.encoders, pattern, exclude)


def list_losses(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered losses; see `list_encoders`.

    Example:
        >>> list_losses("*distill*")
        ['queue_distill']
    """
    return _matching(registry.losses, pattern, exclude)


def list_objectives(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered objectives; see `list_encoders`.

    Example:
        >>> list_objectives("masked*")
        ['masked_patches']
    """
    return _matching(registry.objectives, pattern, exclude)


def list_teachers(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered teachers; see `list_encoders`.

    Example:
        >>> "frames" in list_teachers()
        True
    """
    return _matching(registry.teachers, pattern, exclude)


def list_datasets(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered dataset adapters; see `list_encoders`.

    Example:
        >>> list_datasets("*mhad")
        ['berkeley_mhad', 'utd_mhad']
    """
    return _matching(registry.datasets, pattern, exclude)


def list_augmentations(pattern: Patterns = "*", *, exclude: Patterns = ()) -> list[str]:
    """Sorted names of registered augmentations of IMU windows; see `list_encoders`.

    Example:
        >>> list_augmentations("*warp")
        ['magnitude_warp', 'time_warp']
    """
    return _matching(registry.augmentations, pattern, exclude)


def create_encoder(name: str, **arguments: Any) -> nn.Module:
    """Build an untrained IMU encoder.

    Args:
        name: one of `list_encoders`.
        arguments: of its constructor; `imu-video list encoders NAME` shows them with defaults and ranges.

    Raises:
        ConfigError: unknown name or argument, or a value out of range.

    Example:
        >>> create_encoder("resnet1d", channels=6).feature_dim
        512
    """
    return _create(registry.encoders, name, arguments)


def create_loss(name: str, **arguments: Any) -> PairLoss:
    """Build a loss; see `create_encoder`.

    Example:
        >>> create_loss("info_nce", temperature=0.05).needs
        frozenset({'side'})
    """
    return _create(registry.losses, name, arguments)


def create_objective(name: str, **arguments: Any) -> Objective:
    """Build an objective; call its `attach` with the student before use. See `create_encoder`.

    Example:
        >>> create_objective("masked_patches", ratio=0.3).ratio
        0.3
    """
    return _create(registry.objectives, name, arguments)


def create_teacher(name: str, **arguments: Any) -> FrozenTeacher:
    """Build a frozen teacher; see `create_encoder`.

    Example:
        >>> create_teacher("tiny").modality
        'video'
    """
    return _create(registry.teachers, name, arguments)


def create_dataset(name: str, **arguments: Any) -> RecordingSource:
    """Build a dataset adapter; see `create_encoder`.

    Example:
        >>> create_dataset("synthetic", activities=["walk", "sit"]).labels
        ('sit', 'walk')
    """
    return _create(registry.datasets, name, arguments)


def create_augmentation(name: str, **arguments: Any) -> Augmentation:
    """Build an augmentation of IMU windows; see `create_encoder`.

    Example:
        >>> create_augmentation("rotate", max_degrees=15).p
        1.0
    """
    return _create(registry.augmentations, name, arguments)


def _create(kind: registry.Registry[Any], name: str, arguments: dict[str, Any]) -> Any:
    return kind.build({**arguments, "name": name})


def _matching(kind: registry.Registry[Any], pattern: Patterns, exclude: Patterns) -> list[str]:
    wanted, unwanted = _patterns(pattern), _patterns(exclude)
    return [
        name
        for name in kind.names()
        if any(fnmatchcase(name, p) for p in wanted) and not any(fnmatchcase(name, p) for p in unwanted)
    ]


def _patterns(given: Patterns) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
