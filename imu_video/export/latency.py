"""Latency, throughput, memory and size of an encoder under several runtimes, each in a process of its own; no accuracy.

``python -m imu_video.export.latency RUNTIME FILE WINDOWS.npy STARTED`` measures one runtime and prints a line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from imu_video.errors import ConfigError
from imu_video.runtime import console, documents
from imu_video.runtime.children import python

Runtime = Literal["eager", "compiled", "onnx", "int8"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
_BATCH = 64
_SECONDS = 1.0
"""Measured time for single windows, and again for batches."""
_LIMIT = 600.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Result of one runtime, on one thread.

    Args:
        runtime: see `Runtime`.
        bytes: size of the weights or of the ONNX file.
        ms: median milliseconds per window, one window per call, preparation of the window included.
        per_second: windows per second in batches of 64, median over the calls.
        first_s: seconds from the start of the process to the features of the first window, imports included.
        peak_mb: peak memory of the process in MB, interpreter and libraries included.
        base_mb: memory of the process before the encoder was loaded, after the imports.
        error: why the runtime could not be measured; the numbers are then 0.
    """

    runtime: str
    bytes: int = 0
    ms: float = 0.0
    per_second: float = 0.0
    first_s: float = 0.0
    peak_mb: float = 0.0
    base_mb: float = 0.0
    error: str = ""


def latencies(
    encoder: str | Path,
    *,
    windows: np.ndarray | None = None,
    runtimes: Sequence[Runtime] = RUNTIMES,
) -> list[Latency]:
    """Measure runtimes one after the other, each in a fresh process with one thread.

    Args:
        encoder: encoder folder, or a name that `load_encoder` takes.
        windows: (N, C, T) windows of recordings that calibrate the int8 file, NaN = missing; None: its weights alone
            are int8.
        runtimes: those to measure.

    Raises:
        ConfigError: the encoder cannot be loaded or exported.

    Example:
        ``latencies("encoder", runtimes=["eager", "onnx"])[1].ms``
    """
    from imu_video.bundle.encoder import load_encoder
    from imu_video.export.folder import FLOAT_FILE, INT8_FILE, export_onnx
    from imu_video.export.parity import made_windows

    bundle = load_encoder(encoder)
    with tempfile.TemporaryDirectory(prefix="imu-video-latency-") as temporary:
        folder = Path(temporary)
        np.save(folder / "windows.npy", made_windows(bundle, bundle.spec.samples))
        bundle.save(folder / "encoder", lineage=bundle.lineage)
        if set(runtimes) & {"onnx", "int8"}:
            export_onnx(bundle, folder / "out", int8="int8" in runtimes, windows=windows)
        files = {"onnx": folder / "out" / FLOAT_FILE, "int8": folder / "out" / INT8_FILE}
        return [_child(one, files.get(one, folder / "encoder"), folder / "windows.npy") for one in runtimes]


def _child(runtime: Runtime, file: Path, windows: Path) -> Latency:
    command = python("-m", "imu_video.export.latency", runtime, str(file), str(windows), str(time.time()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return Latency(runtime=runtime, error=f"took more than {_LIMIT:g} s")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return Latency(runtime=runtime, error=(lines or ["ended without a message"])[-1][:200])
    lines = done.stdout.splitlines() or [""]
    return Latency(**documents.parse_json(lines[-1], f"result of runtime {runtime!r}", error=ConfigError))


def timed(call: Callable[[], Any], *, seconds: float = _SECONDS, least: int = 5) -> float:
    """Median seconds of a call after two calls that are not measured.

    Args:
        call: the work.
        seconds: measured time; at least ``least`` calls.
        least: smallest number of measured calls.

    Example:
        >>> timed(lambda: None, seconds=0.0) >= 0
        True
    """
    call()
    call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def measured(runtime: Runtime, file: Path, windows: np.ndarray, *, started: float) -> Latency:
    """Measure one runtime in this process.

    Args:
        runtime: see `Runtime`.
        file: encoder folder, or ONNX file.
        windows: (N, C, T) windows.
        started: `time.time` at the start of the process.
    """
    base = _memory("VmRSS")
    encode, size = _opened(runtime, file)
    encode(windows[:1])
    first = time.time() - started
    alone = timed(lambda: encode(windows[:1]))
    many = np.tile(windows, (-(-_BATCH // len(windows)), 1, 1))[:_BATCH]
    batch = timed(lambda: encode(many))
    return Latency(
        runtime=runtime,
        bytes=size,
        ms=1000 * alone,
        per_second=_BATCH / batch,
        first_s=first,
        peak_mb=_memory("VmHWM"),
        base_mb=base,
    )


def _opened(runtime: Runtime, file: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    from imu_video.bundle.window_encoder import WindowEncoder

    opened: WindowEncoder
    if runtime in ("onnx", "int8"):
        from imu_video.export.runtime import load_onnx

        opened, size = load_onnx(file), file.stat().st_size
    else:
        import torch

        from imu_video.bundle.encoder import load_encoder

        torch.set_num_threads(1)
        opened, size = load_encoder(file), (file / "model.safetensors").stat().st_size
        if runtime == "compiled":
            opened.encoder = torch.compile(opened.encoder)  # type: ignore[assignment]
    return lambda x: opened.encode(x, rate_hz=opened.spec.rate_hz, check_units=False), size


def _memory(field: str) -> float:
    """Memory of this process in MB: ``VmHWM``, the peak, or ``VmRSS``, in use; 0 where the system does not tell it.

    Not ``resource.getrusage``: on Linux its peak includes that of the parent from before the program was started.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    found = next((line.split()[1] for line in lines if line.startswith(f"{field}:")), "0")
    return int(found) / 2**10


def main(arguments: Sequence[str]) -> None:
    """Entry of the child process: RUNTIME FILE WINDOWS.npy STARTED."""
    name, file, windows, started = arguments
    runtime = next(one for one in RUNTIMES if one == name)
    found = measured(runtime, Path(file), np.load(windows, allow_pickle=False), started=float(started))
    console.say(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
