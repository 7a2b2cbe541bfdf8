"""Memory that does not grow: a build by number of recordings, the loader by number of steps.

Bounds are differences of peaks of resident memory in child processes, so that they depend on no clock and no load.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.faults.children import ROOT, run_code, start
from tests.faults.conftest import Score

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc"),
]
FEW, MANY = 400, 4000
BUILD_KB = 4.0
LOADER_MB = 8.0


@pytest.mark.parametrize("people", [20, 300])
def test_a_build_by_number_of_recordings(people: int, score: Score, tmp_path: Path) -> None:
    rows = []
    for count in (FEW, MANY):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = start([ROOT / "benchmarks" / "bench_many.py", "--child", str(count), str(people), folder])
        assert done.code == 0, done.err
        rows.append(json.loads(done.out.splitlines()[-1]))
    grown = 1000 * (rows[1]["peak_mb"] - rows[0]["peak_mb"]) / (MANY - FEW)
    with score(f"build of {MANY} recordings of {people} subjects: memory per recording") as case:
        case.add(grown < BUILD_KB, f"{grown:.2f} kB per recording, expected less than {BUILD_KB}")


LOADER = """
from pathlib import Path
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.columns import open_columns
from tests.shards.conftest import make_folder

index = make_folder(Path(sys.argv[1]) / "data", {"train": 64, "val": 4}, shard_samples=16)
loader = PairLoader(columns=open_columns(index, "train"), streams=["skeleton"], batch_size=8, seed=0)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

for step in range(10_000):
    batch = loader.batch(step)
    if step + 1 in (1_000, 10_000):
        print(step + 1, resident(), flush=True)
"""


def test_ten_thousand_steps_of_the_loader(score: Score, tmp_path: Path) -> None:
    done = run_code(LOADER, tmp_path)
    assert done.code == 0, done.err
    (first, before), (last, after) = (map(float, line.split()) for line in done.out.splitlines())
    with score("loader: resident memory after 10,000 steps as after 1,000") as case:
        assert (first, last) == (1_000, 10_000)
        case.add(after - before < LOADER_MB, f"{before:.1f} MB after {first:g} steps, {after:.1f} MB after {last:g}")
