"""Encoders as files for other runtimes: ONNX, int8, torch programs, NIR; checked against torch; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.export.folder import Exported, export_onnx
    from imu_video.export.latency import Latency, latencies
    from imu_video.export.neuromorphic import NirExport, export_nir, load_nir
    from imu_video.export.runtime import OnnxEncoder, load_onnx, read_facts

__all__ = [
    "Exported",
    "Latency",
    "NirExport",
    "OnnxEncoder",
    "export_nir",
    "export_onnx",
    "latencies",
    "load_nir",
    "load_onnx",
    "read_facts",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "folder": ["Exported", "export_onnx"],
        "latency": ["Latency", "latencies"],
        "neuromorphic": ["NirExport", "export_nir", "load_nir"],
        "runtime": ["OnnxEncoder", "load_onnx", "read_facts"],
    },
)
