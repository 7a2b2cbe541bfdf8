"""Exported encoders as files for other runtimes: ONNX in float32 and int8, checked against torch; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.export.folder import Exported, export_onnx
    from imu_video.export.runtime import OnnxEncoder, load_onnx, read_facts

__all__ = ["Exported", "OnnxEncoder", "export_onnx", "load_onnx", "read_facts"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "folder": ["Exported", "export_onnx"],
        "runtime": ["OnnxEncoder", "load_onnx", "read_facts"],
    },
)
