"""The index of a large data folder: time and memory of opening it, in today's form and in that of schema version 1.

The folder has shards of 5,000 samples with the names, places and checksums of real ones (an IMU member and the facts of
each sample), and empty tars of the right size: nothing but the index is read. Each measurement is a process of its own,
because memory is only known for a whole process; seconds are of the clock on the wall and of the processor, MB are the
largest resident size of the process (whole, with all imports) and its growth while the index is loaded (Linux only).
Beside today's form stands the same content in the old one, both read by the present code; a reader of version 0.1 needs
20 s and 1.3 GB for the old form.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from common import heading, parser, scratch

from imu_video.shards.member_list import MemberList
from imu_video.shards.names import shard_name
from imu_video.shards.reading.index import write_index
from imu_video.shards.schema import SHARD_FOLDER, Index, ShardEntry, SplitEntry
from imu_video.testing import write_folder
from imu_video.types import Window

_CHILD = """
import json, sys, time
from pathlib import Path
from imu_video.shards.reading.index import load_index

def peak():  # of this program alone: the usage that the kernel keeps per process begins with that of its parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6

before, begun, cpu = peak(), time.perf_counter(), time.process_time()
index = load_index(sys.argv[1])
print(json.dumps({
    "seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "whole": peak(), "growth": peak() - before
}))
"""


def large_folder(root: Path, *, shards: int, samples: int, version: int) -> Index:
    """A folder whose index lists ``shards`` times ``samples`` samples; its tars have no content."""
    import numpy as np

    window = Window(
        key="a", recording="r", subject="s", session="1", start=0.0, imu={"waist": np.zeros((6, 250), np.float32)}
    )
    small = write_folder(root / "small", {"train": [window]}, rate_hz=50)
    entries = []
    (root / SHARD_FOLDER).mkdir()
    for shard in range(shards):
        members, at = MemberList(), 0
        for row in range(samples):
            number = shard * samples + row
            own = []
            for suffix, size in (("imu.waist.npy", 6128), ("meta.json", 180 + number % 64)):
                own.append((suffix, at + 512, size, (number * 2654435761 + size) % 2**32))
                at += 512 + size + -size % 512
            members.add(f"made-{number:07d}", own)
        path = root / SHARD_FOLDER / shard_name("train", shard)
        with path.open("wb") as file:
            file.truncate(at + 1024)
        entries.append(
            ShardEntry(
                path=f"{SHARD_FOLDER}/{path.name}",
                samples=samples,
                bytes=at + 1024,
                sha256=f"{shard:064x}",
                members=members.done(),
            )
        )
    split = SplitEntry(subjects=("s",), samples=shards * samples, shards=tuple(entries))
    return write_index(small.model_copy(update={"splits": {"train": split}, "schema_version": version}), root)


def measured(folder: Path) -> dict[str, float]:
    """Load an index in a process of its own."""
    done = subprocess.run([sys.executable, "-P", "-c", _CHILD, str(folder)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--shards", type=int, default=200)
    options.add_argument("--samples", type=int, default=5000)
    args = options.parse_args()
    heading(f"load_index, {args.shards} shards of {args.samples:,} samples")
    with scratch() as home:
        folders = {}
        for version in (1, 2):
            (home / str(version)).mkdir()
            large_folder(home / str(version), shards=args.shards, samples=args.samples, version=version)
            folders[version] = home / str(version)
        sizes = {
            version: sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".json", ".bin"))
            for version, folder in folders.items()
        }
        runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for turn in range(args.repeats + 1):
            for version, folder in folders.items():
                one = measured(folder)
                if turn:
                    runs[version].append(one)
    for version, found in runs.items():
        middle = {name: statistics.median(one[name] for one in found) for name in found[0]}
        cpu = [one["cpu"] for one in found]
        print(
            f"schema version {version}: {middle['seconds']:.2f} s, processor {middle['cpu']:.2f} s "
            f"({min(cpu):.2f} .. {max(cpu):.2f}), process {middle['whole']:.0f} MB, of which loading "
            f"{middle['growth']:.0f} MB; files {sizes[version] / 1e6:.1f} MB"
        )
    ratios = [b["cpu"] / a["cpu"] for a, b in zip(runs[1], runs[2], strict=True)]
    print(f"version 2 / 1, processor: {statistics.median(ratios):.4f}   ({min(ratios):.4f} .. {max(ratios):.4f})")


if __name__ == "__main__":
    main()
