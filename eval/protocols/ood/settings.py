"""The setting of an algorithm in one run: its arguments, and the keys of the training that it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.protocols.ood.config import Training
from imu_video.config import validate

OF_TRAINING = {
    "batch_size": "batch",  # `batch` is an argument of RSC
    "betas": "betas",
    "lr": "lr",
    "statistics": "statistics",
    "weight_decay": "weight_decay",
}
"""Keys of a setting that replace a key of the training -> that key."""


def as_pairs(setting: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A setting as sorted pairs that can be compared and hashed; lists become tuples.

    Example:
        >>> as_pairs({"lr": 0.1, "betas": [0.9, 0.999]})
        (('betas', (0.9, 0.999)), ('lr', 0.1))
    """
    return tuple((name, _frozen(setting[name])) for name in sorted(setting))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def apply_setting(
    training: Training, setting: Mapping[str, Any], *, source: str = "setting"
) -> tuple[Training, dict[str, Any]]:
    """The training with the keys that a setting replaces, and the other keys: the arguments of the algorithm.

    Args:
        training: of the benchmark.
        setting: of an algorithm.
        source: named in errors.

    Raises:
        ConfigError: a value that the training cannot have.
    """
    own = {key: setting[name] for name, key in OF_TRAINING.items() if name in setting}
    arguments = {name: value for name, value in setting.items() if name not in OF_TRAINING}
    if own:
        training = validate({**training.model_dump(), **own}, Training, source=source)
    return training, arguments
