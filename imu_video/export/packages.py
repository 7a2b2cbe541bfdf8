"""The packages of the extra `export`, imported where they are used; nothing else."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from imu_video.errors import ConfigError


def needed(name: str) -> ModuleType:
    """Import a package of the extra.

    Args:
        name: ``onnx``, ``onnxscript`` or ``onnxruntime``, or a module of one of them.

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
        raise ConfigError(
            f"the package {package!r} is not installed; ONNX files need it", hint="pip install 'imu-video[export]'"
        ) from error
