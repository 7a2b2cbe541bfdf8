"""The package transformers: imported where it is needed, and silent while weights are read; models are elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from imu_video.errors import ConfigError


def package(name: str, *, user: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Args:
        name: of the package.
        user: component that needs it, for the error.
        extra: extra of imu-video that contains it.

    Raises:
        ConfigError: it is not installed, or does not import; the hint has the command.

    Example:
        >>> package("no_such_package", user="teacher 'hf'", extra="hf")
        Traceback (most recent call last):
            ...
        imu_video.errors.ConfigError: teacher 'hf' needs the package no-such-package
          try: pip install 'imu-video[hf]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise lacking(error, name=name, user=user, extra=extra) from error


def lacking(error: ImportError, *, name: str, user: str, extra: str) -> ConfigError:
    """The error of a package that is missing or that lacks a package itself."""
    missing = (error.name or name).partition(".")[0]
    why = "" if isinstance(error, ModuleNotFoundError) else f": {str(error).strip().splitlines()[0]}"
    return ConfigError(
        f"{user} needs the package {missing.replace('_', '-')}{why}", hint=f"pip install 'imu-video[{extra}]'"
    )


@contextmanager
def without_progress(transformers: Any) -> Iterator[None]:
    """No progress bars of transformers inside the block; afterwards they are as the user had set them.

    A bar on standard error for weights that are read in a fraction of a second hides the messages of a command.
    """
    messages = transformers.utils.logging
    shown = messages.is_progress_bar_enabled()
    messages.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            messages.enable_progress_bar()
