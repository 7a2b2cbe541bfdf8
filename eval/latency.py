"""The command `imu-eval latency`: runtimes of an encoder side by side; `imu_video.export.latency` measures."""

from __future__ import annotations

from typing import Annotated

import typer

from eval.commands import Plugins
from imu_video.errors import ConfigError, nearest
from imu_video.registry import load_plugin
from imu_video.runtime import console


def latency(
    encoder: Annotated[str, typer.Argument(help="Encoder folder, shipped name (imu-video/small), or hf://owner/name.")],
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="eager, compiled, onnx or int8; repeatable; default: all.")
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option("--calibrate", metavar="SOURCE", help="Recordings or data folder that calibrate int8.")
    ] = None,
    windows: Annotated[int, typer.Option("--windows", min=2, help="Windows drawn from SOURCE.")] = 256,
    plugin: Plugins = None,
) -> None:
    """Measure latency, throughput, memory and size of an encoder per runtime, on one thread."""
    for file in plugin or []:
        load_plugin(file)
    from imu_video.bundle.encoder import load_encoder
    from imu_video.export.calibration import sample_windows
    from imu_video.export.latency import RUNTIMES, latencies

    for name in runtime or []:
        if name not in RUNTIMES:
            raise ConfigError(
                f"unknown runtime {name!r}{nearest(name, RUNTIMES)}", hint=f"one of {', '.join(RUNTIMES)}"
            )
    chosen = [name for name in RUNTIMES if runtime is None or name in runtime]
    real = None if calibrate is None else sample_windows(load_encoder(encoder), calibrate, count=windows).x
    found = latencies(encoder, windows=real, runtimes=chosen)
    rows = [
        (
            one.runtime, f"{one.bytes / 1000:,.0f}", f"{one.ms:.3f}", f"{one.per_second:,.0f}", f"{one.first_s:.2f}",
            f"{one.peak_mb:,.0f}", f"{one.peak_mb - one.base_mb:,.0f}",
        )
        for one in found
        if not one.error
    ]  # fmt: skip
    columns = ("runtime", "kB", "ms per window", "windows/s", "first window s", "peak MB", "of these loaded MB")
    console.table(columns, rows, title="one thread; single windows, and batches of 64")
    for one in found:
        if one.error:
            console.say(f"note: {one.runtime} was not measured: {one.error}")
