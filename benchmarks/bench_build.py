"""A build of IMU-only recordings from CSV files against what it cannot avoid: parsing the files and writing the bytes.

Also prints where a build spends its time, from a profile of one build in one process.
"""

from __future__ import annotations

import cProfile
import hashlib
import os
import pstats
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from common import compare, heading, parser, scratch

from imu_video.config import validate
from imu_video.shards.building.build import BuildConfig, build

DECLARATION = """
dataset: made
licence: CC0-1.0
citation: nobody
imu:
  time: {column: t, unit: s}
  channels: {acc_x: ax, acc_y: ay, acc_z: az, gyr_x: gx, gyr_y: gy, gyr_z: gz}
  units: {acc: m/s^2, gyr: rad/s}
placements: {waist: }
files: {imu: "{subject}/{recording}_{placement}.csv"}
"""


def recordings(root: Path, people: int, minutes: float, rate: int) -> list[Path]:
    """CSV files of people who stand and tremble."""
    rng = np.random.default_rng(0)
    (root / "dataset.yaml").parent.mkdir(parents=True)
    (root / "dataset.yaml").write_text(DECLARATION)
    files = []
    for person in range(people):
        time = np.arange(int(60 * minutes * rate)) / rate
        values = rng.normal(size=(len(time), 6)) + np.array([0, 0, 9.8, 0, 0, 0])
        table = pd.DataFrame(np.column_stack([time, values]), columns=["t", "ax", "ay", "az", "gx", "gy", "gz"])
        file = root / f"s{person}" / "stand_waist.csv"
        file.parent.mkdir()
        table.to_csv(file, index=False, float_format="%.5f")
        files.append(file)
    return files


def main(folder: Path, people: int, minutes: float, rate: int, repeats: int) -> None:
    """Make recordings and compare."""
    heading(f"{people} people, {minutes:g} minutes each at {rate} Hz in CSV, windows of 5 s, one process")
    files = recordings(folder / "raw", people, minutes, rate)
    raw = {
        "dataset": {"name": "folder", "root": str(folder / "raw")},
        "window": {"seconds": 5.0, "stride_s": 2.5, "rate_hz": rate / 2},
        "splits": {"subjects": {"train": [f"s{i}" for i in range(people)]}},
    }
    config = validate(raw, BuildConfig, source="benchmark")
    out = folder / "out"

    def ours() -> int:
        shutil.rmtree(out, ignore_errors=True)
        return sum(split.samples for split in build(config, out).splits.values())

    samples = ours()
    written = [path.stat().st_size for path in out.rglob("*") if path.is_file()]

    def bare() -> int:
        for file in files:
            pd.read_csv(file)
        for number, size in enumerate(written):
            data = bytes(size)
            hashlib.sha256(data)
            with (folder / f"bare-{number}").open("wb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
        return samples

    names = {"imu-video build": ours, "parse the CSV, hash and write the bytes": bare}
    compare(
        names, repeats=repeats, unit="windows", against={"imu-video build": "parse the CSV, hash and write the bytes"}
    )
    profile = cProfile.Profile()
    profile.runcall(ours)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = max(entry[3] for entry in stats.values())
    parts = {
        "read_csv": "parsing CSV",
        "resample_to_grid": "resampling",
        "inspect": "quality checks",
        "encode_window": "encoding members",
        "add": "writing people's tars",
        "copy": "collecting them into shards",
        "_make": "making columns",
        "fsync": "waiting for the disk (in the three above)",
    }
    for (_, _, name), entry in sorted(stats.items(), key=lambda item: -item[1][3]):
        short = name.split(".")[-1].rstrip(">").removesuffix(" of posix")
        if short in parts:
            print(f"{parts.pop(short):<42} {entry[3] / total:6.1%} of the build, with what it calls")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--people", type=int, default=4)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--rate", type=int, default=100)
    options = arguments.parse_args()
    with scratch() as temporary:
        main(temporary, options.people, options.minutes, options.rate, options.repeats)
