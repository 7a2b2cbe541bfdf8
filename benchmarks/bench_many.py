"""Memory and time of a build by number of recordings, each measured in a process of its own.

A recording has three seconds of six channels, a file, a gap that a check reports, and one dropped window, so that every
report of the data folder has a row for it. What grows by recording is the difference of two rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from imu_video.protocols import Unread
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.types import ImuStream, Recording, Segment

RATE = 20
FOLDERS = 100


@datasets.register("many_recordings")
class ManyRecordings:
    """Short recordings of noise, spread over subjects in turns.

    Args:
        root: folder of their files, which only have a name, a size and a time.
        recordings: number of recordings.
        people: number of subjects.
    """

    name = "many_recordings"
    licence: ClassVar[str] = "CC0-1.0"
    citation: ClassVar[str] = "made up"
    url: ClassVar[str] = ""
    placements: ClassVar[tuple[str, ...]] = ("waist",)
    labels: ClassVar[tuple[str, ...]] = ("sit", "walk")
    rate_hz: ClassVar[float] = RATE

    def __init__(self, *, root: str, recordings: int = 100, people: int = 10) -> None:
        self.root = Path(root)
        self._count, self._people = recordings, people

    def make_files(self) -> None:
        """Create the files."""
        for number in range(self._count):
            self._file(number).parent.mkdir(parents=True, exist_ok=True)
            self._file(number).touch()

    def subjects(self) -> list[str]:
        return [f"s{number:05d}" for number in range(self._people)]

    def unread(self, subject: str) -> Iterator[Unread]:
        for number in range(int(subject[1:]), self._count, self._people):
            name = f"recording_{number:06d}"
            yield Unread(name=name, files=(self._file(number),), read=lambda n=number: [self._read(subject, n)])

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        for subject in self.subjects() if subjects is None else subjects:
            for one in self.unread(subject):
                yield from one.read()

    def _file(self, number: int) -> Path:
        return self.root / f"{number % FOLDERS:02d}" / f"recording_{number:06d}.bin"

    def _read(self, subject: str, number: int) -> Recording:
        values = np.random.default_rng(number).normal(size=(6, 3 * RATE))
        values[2] += 9.8
        values[1, 20:35] = np.nan  # a gap, which is reported
        values[:, 55:] = np.nan  # too little for the last window, which is dropped
        return Recording(
            dataset=self.name,
            subject=subject,
            name=f"recording_{number:06d}",
            imu=(ImuStream(placement="waist", times=np.arange(3 * RATE) / RATE, values=values),),
            segments=(Segment(start=0, end=3, label=self.labels[number % 2]),),
            tags={"device": "abc"[number % 3]},
        )


def measure(recordings: int, people: int, folder: Path) -> dict[str, float]:
    """Build in this process: peak of its resident memory before and after in MB (10^6 bytes), and processor seconds."""
    dataset = {"name": "many_recordings", "root": str(folder / "files"), "recordings": recordings, "people": people}
    ManyRecordings(root=str(folder / "files"), recordings=recordings, people=people).make_files()
    config = BuildConfig.model_validate(
        {
            "dataset": dataset,
            "window": {"seconds": 1.0, "rate_hz": RATE, "min_measured": 0.9},
            "signal": {"normalise": "recording"},
        }
    )
    before, begun = _peak_mb(), time.process_time()
    index = build(config, folder / "data")
    return {
        "recordings": recordings,
        "windows": sum(split.samples for split in index.splits.values()),
        "before_mb": before,
        "peak_mb": _peak_mb(),
        "seconds": time.process_time() - begun,
    }


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def main(counts: list[int], people: int) -> None:
    """Measure each count in a child and print a table."""
    from common import heading, scratch  # here: a child runs with -P, without this folder on its path

    heading(f"builds of short recordings of {people} subjects, one process each")
    columns = ("recordings", "windows", "start MB", "peak MB", "kB per recording", "CPU s", "ms each")
    print(" ".join(f"{name:>16}" for name in columns))
    last: dict[str, float] | None = None
    for count in counts:
        with scratch() as folder:
            child = [sys.executable, "-P", __file__, "--child", str(count), str(people), str(folder)]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        grown = (
            "" if last is None else f"{1000 * (row['peak_mb'] - last['peak_mb']) / (count - last['recordings']):.2f}"
        )
        values = (
            f"{count:,}",
            f"{row['windows']:,}",
            f"{row['before_mb']:.0f}",
            f"{row['peak_mb']:.0f}",
            grown,
            f"{row['seconds']:.1f}",
            f"{1000 * row['seconds'] / count:.2f}",
        )
        print(" ".join(f"{value:>16}" for value in values), flush=True)
        last = row


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
        sys.exit()
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recordings", default="500,2000,20000", help="counts, separated by commas")
    options.add_argument("--people", type=int, default=20)
    given = options.parse_args()
    main([int(count) for count in given.recordings.split(",")], given.people)
