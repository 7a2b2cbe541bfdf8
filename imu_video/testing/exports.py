"""Contract check of the export of encoders to ONNX; accuracy after export is measured by `imu-eval`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from imu_video import registry
from imu_video.bundle.encoder import EncoderBundle
from imu_video.bundle.input_spec import InputSpec
from imu_video.errors import ConfigError, ParityError
from imu_video.testing.base import Component, require
from imu_video.types import IMU_CHANNELS


def check_export(encoder: Component, *, window_s: float = 2.0) -> None:
    """Check that an encoder exports to ONNX and that the file gives its features (`imu_video.export.export_onnx`).

    Windows with gaps inside and at both ends, without some channels and without single samples; one window and several;
    several lengths, unless the encoder fixes the length. Needs ``pip install imu-video[export]`` and 5 to 15 seconds.

    Args:
        encoder: name, config entry or built module, with at most six channels.
        window_s: length of the windows in seconds, at 50 Hz.

    Raises:
        AssertionError: with the operator, the condition or the windows at fault.

    Example:
        ``check_export({"name": "patch_tst", "width": 16, "layers": 1})``
    """
    from imu_video.export.folder import export_onnx

    name: Any
    entry: Any = encoder
    if isinstance(encoder, nn.Module):
        name = type(encoder).__name__
        entry = registry.Entry(name=name, component=lambda: encoder, arguments={}, stated=frozenset())  # type: ignore[arg-type]
        count = int(encoder.channels)  # type: ignore[arg-type]
    else:
        name, arguments = registry.encoders.arguments(encoder)
        count = int(arguments.get("channels", len(IMU_CHANNELS)))
    require(
        count <= len(IMU_CHANNELS),
        f"{name}: the export is checked with at most {len(IMU_CHANNELS)} channels, got {count}",
    )
    mean = ((0.0,) * 3 + (0.1,) * 3)[:count]
    std = ((9.8,) * 3 + (2.0,) * 3)[:count]
    spec = InputSpec(channels=IMU_CHANNELS[:count], rate_hz=50, window_s=window_s, mean=mean, std=std)
    with tempfile.TemporaryDirectory(prefix="imu-video-check-") as folder:
        try:
            export_onnx(EncoderBundle(spec=spec, encoder=entry).eval(), Path(folder) / "out")
        except (ConfigError, ParityError) as error:
            raise AssertionError(f"{name} does not export: {error.message}") from error
