"""The packages of the extras `export` and `neuromorphic`, imported where they are used; nothing else."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from imu_video.errors import ConfigError

_OTHERS = {"nir": ("neuromorphic", "NIR")}
"""Packages of other extras than `export`: the extra, and the files that need it."""


def needed(name: str) -> ModuleType:
    """Import a package of the extras.

    Args:
        name: ``onnx``, ``onnxscript``, ``onnxruntime`` or ``nir``, or a module of one of them.

    Raises:
        ConfigError: it is not installed; the hint has the command.

    Example:
        >>> needed("no_such_package")
        Traceback (most recent call last):
            ...
        imu_video.errors.ConfigError: the package 'no_such_package' is not installed; ONNX files need it
          try: pip install 'imu-video[export]'
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        extra, files = _OTHERS.get(package, ("export", "ONNX"))
        raise ConfigError(
            f"the package {package!r} is not installed; {files} files need it", hint=f"pip install 'imu-video[{extra}]'"
        ) from error
