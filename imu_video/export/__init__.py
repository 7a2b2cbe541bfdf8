"""Encoders as files for other runtimes: ONNX in float32 and int8, and NIR; checked against torch; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.export.folder import Exported, export_onnx
    from imu_video.export.neuromorphic import NirExport, export_nir, load_nir
    from imu_video.export.runtime import OnnxEncoder, load_onnx, read_facts

__all__ = ["Exported", "NirExport", "OnnxEncoder", "export_nir", "export_onnx", "load_nir", "load_onnx", "read_facts"]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "folder": ["Exported", "export_onnx"],
        "neuromorphic": ["NirExport", "export_nir", "load_nir"],
        "runtime": ["OnnxEncoder", "load_onnx", "read_facts"],
    },
)
