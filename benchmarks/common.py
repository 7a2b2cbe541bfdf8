"""What the benchmarks share: made-up data folders, interleaved repeats, ratios; nothing is measured here by itself.

The machine may be busy: alternatives are timed in turns (A B A B ...), and medians with ranges are reported. Time is
the processor time of this process, all threads together (`--clock wall` for the clock on the wall): other programs then
disturb a ratio little. Where several workers share the work, rates are per second of processor time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from imu_video.modalities import ClipSpec
from imu_video.shards.schema import Index
from imu_video.testing import write_folder
from imu_video.types import Window


def made_folder(
    root: Path, samples: int, *, steps: int = 250, shard_samples: int = 512, clip: tuple[int, int] | None = None
) -> Index:
    """A data folder of noise: one device, (6, T) windows, and clips of (frames, pixels) where asked for."""
    rng = np.random.default_rng(0)

    def window(i: int) -> Window:
        frames = None
        if clip is not None:
            small = rng.integers(0, 255, (clip[0], clip[1] // 8, clip[1] // 8, 3), dtype=np.uint8)
            frames = small.repeat(8, axis=1).repeat(8, axis=2)
        return Window(
            key=f"made-{i:07d}",
            recording=f"r{i // 64}",
            subject=f"s{i // 512}",
            session="1",
            start=float(i % 64),
            imu={"waist": rng.normal(size=(6, steps)).astype(np.float32)},
            label="walk",
            streams={"video": frames},
        )

    windows = {"train": map(window, range(samples))}
    specs = {} if clip is None else {"video": ClipSpec(fps=10, frames=clip[0], height=clip[1], width=clip[1])}
    return write_folder(root, windows, rate_hz=50, specs=specs, shard_samples=shard_samples)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder beside nothing of the user's."""
    with tempfile.TemporaryDirectory(prefix="imu-video-bench-") as folder:
        yield Path(folder)


def compare(
    ways: Mapping[str, Callable[[], int]], *, repeats: int = 7, unit: str, against: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Time each way in turns and print its rate, and the ratios of interest.

    Args:
        ways: name -> a function that does the work once and returns how many units it handled.
        repeats: turns; the first is a warm-up and not counted.
        unit: what is counted.
        against: name -> the name that it is divided by; the ratio is the median of the turns' own ratios.

    Returns:
        The median ratio of every pair in ``against``.
    """
    clock = time.perf_counter if "wall" in sys.argv else time.process_time
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            begun = clock()
            count = work()
            if turn:
                rates[name].append(count / (clock() - begun))
    width = max(map(len, ways))
    for name, values in rates.items():
        print(
            f"{name:<{width}}  {statistics.median(values):12,.0f} {unit}/s   ({min(values):,.0f} .. {max(values):,.0f})"
        )
    ratios = {}
    for name, other in (against or {}).items():
        each = [a / b for a, b in zip(rates[name], rates[other], strict=True)]
        ratios[name] = statistics.median(each)
        print(f"{name} / {other}: {ratios[name]:.2f}   ({min(each):.2f} .. {max(each):.2f})")
    return ratios


def machine() -> str:
    """One line about where this runs."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} torch threads, Python {platform.python_version()}, "
        f"numpy {np.__version__}, torch {torch.__version__}"
    )


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    return options


def heading(title: str) -> None:
    """Print what is compared, and where."""
    print(f"# {title}\n# {machine()}, command: {' '.join(sys.argv)}")
