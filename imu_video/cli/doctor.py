"""Checks of the installation, one result per check, with the package to install; nothing is modified."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

OK, MISSING, BROKEN = "ok", "missing", "BROKEN"

EXTRAS = {
    "pyarrow": "parquet",
    "fastavro": "readers",
    "h5py": "readers",
    "lz4": "readers",
    "telemetry_parser": "readers",
    "zstandard": "readers",
    "vqf": "vqf",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "nir": "neuromorphic",
    "projectaria_tools": "aria",
    "matplotlib": "report",
    "tensorboard": "track",
    "transformers": "hf",
    "aiohttp": "http",
    "s3fs": "s3",
    "gcsfs": "gcs",
    "ray": "ray",
}
"""Optional modules and the extra that installs each."""

_SMALL_DISK = 5e9  # bytes; a build needs about the size of its clips


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check: ``status`` is ok, missing (an optional part) or BROKEN (a required part)."""

    what: str
    status: str
    detail: str


def examine(folder: Path | None = None) -> list[Finding]:
    """Run all checks.

    Args:
        folder: folder where data and runs will be written; default: the working folder.
    """
    needed: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("distributed", _distributed),
        ("clips", _clips),
        ("webdataset", lambda: _version("webdataset")),
        ("timm", lambda: _version("timm")),
        ("accelerate", lambda: _version("accelerate")),
        ("disk", lambda: _disk(folder or Path.cwd())),
    ]
    return [*(_try(what, check) for what, check in needed), *_extras()]


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, status=OK, detail=check())
    except Exception as error:  # a broken installation can raise any type; the error is the finding
        reason = str(error).strip().splitlines()
        return Finding(what=what, status=BROKEN, detail=f"{type(error).__name__}: {reason[0] if reason else ''}")


def _version(module: str) -> str:
    return str(getattr(importlib.import_module(module), "__version__", "installed"))


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _torch() -> str:
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple GPU")
    bf16 = ", bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else ""
    return f"{torch.__version__}; {', '.join(devices) or 'CPU only'}{bf16}"


def _torchvision() -> str:
    import torch
    from torchvision.ops import nms

    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # incompatible versions of torch and torchvision fail in this call
    return _version("torchvision")


def _distributed() -> str:
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        raise RuntimeError("torch was built without gloo: only one process can train")
    return "gloo, nccl" if dist.is_nccl_available() else "gloo"


def _clips() -> str:
    """Encode and decode a clip; checks PyAV, its H.264 encoder, and the distribution that decord comes from."""
    import numpy as np

    from imu_video.modalities.mp4 import decode_mp4, encode_mp4

    frames = np.full((3, 32, 32, 3), 100, np.uint8)
    error = np.abs(decode_mp4(encode_mp4(frames, 10)).astype(int) - frames).max()
    if error > 8:
        raise RuntimeError(f"a decoded grey clip differs by {error} levels")
    if _installed("decord"):
        raise RuntimeError(
            "the distributions decord and decord2 share a module: pip uninstall decord decord2, install decord2"
        )
    return f"av {_version('av')}, decord {_version('decord')}"


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        raise RuntimeError(f"{folder} is not writable")
    if free < _SMALL_DISK:
        raise RuntimeError(f"{free / 1e9:.1f} GB free in {folder}, at least {_SMALL_DISK / 1e9:.0f} GB are recommended")
    return f"{free / 1e9:.0f} GB free in {folder}"


def _extras() -> Iterator[Finding]:
    for module, extra in EXTRAS.items():
        try:
            yield Finding(what=module, status=OK, detail=f"{_version(module)} (extra {extra})")
        except ModuleNotFoundError as error:
            if error.name != module:
                yield Finding(what=module, status=BROKEN, detail=str(error))
            else:
                yield Finding(what=module, status=MISSING, detail=f"pip install 'imu-video[{extra}]'")
        except Exception as error:  # present, but broken
            yield Finding(what=module, status=BROKEN, detail=f"{type(error).__name__}: {error}")
