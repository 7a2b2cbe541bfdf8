"""Training batches from columns and cached features, against a bare numpy gather of the same bytes and webdataset.

A batch is 256 windows (6, 250) float32 and 1280 float16 features. The bare gather is `imu[rows, device]` and
`features[rows]` on the same memory maps with freshly allocated results, one thread, nothing else; ours also checks
the size of the files, makes the mask, looks for gaps, says where each row comes from, and draws the plan of each epoch.
The first epoch after columns are opened also compares every block with its hash. Both leave the features float16
(`PairBatch.to` converts them on the device). webdataset runs as its documentation has it: its own decoder, its own
batching, then tensors; with the features as a member of each sample, and on the shards as they are without any.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import compare, heading, made_folder, parser, scratch

from imu_video.errors import ShardError
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.reading.array_files import save_array
from imu_video.shards.reading.arrays import CheckedArray
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index

WIDTH, BATCH = 1280, 256
OURS, OURS_WINDOWS = "PairLoader", "PairLoader, windows only"
FIRST = "PairLoader, opened, first epoch"
BARE, BOTH, WINDOWS = "bare numpy gather", "webdataset, windows and features", "webdataset, windows only"


def ways(index: Index, folder: Path) -> dict[str, Callable[[], int]]:
    """The alternatives, each over one epoch."""
    import webdataset as wds

    samples = index.split("train").samples
    made = np.random.default_rng(1).normal(size=(samples, WIDTH)).astype(np.float16)
    facts = save_array(folder / "features.npy", made)
    features = np.load(folder / "features.npy", mmap_mode="r")
    checked = CheckedArray(folder / "features.npy", facts, refuse=ShardError)
    columns = open_columns(index, "train")
    imu = np.load(index.root / "columns" / "train" / "imu.npy", mmap_mode="r")
    loader = PairLoader(columns=columns, teacher=checked, batch_size=BATCH, seed=0)
    windows_only = PairLoader(columns=columns, batch_size=BATCH, seed=0)
    epoch = [0]
    plan = np.random.default_rng(0).permutation(samples)[: loader.steps_per_epoch * BATCH].reshape(-1, BATCH)
    device = np.zeros(BATCH, np.int64)
    tars = [str(index.shard_path(shard)) for shard in index.split("train").shards]

    def run(loader: PairLoader) -> int:
        first = epoch[0] * loader.steps_per_epoch
        epoch[0] += 1
        return sum(len(loader.batch(step).imu) for step in range(first, first + loader.steps_per_epoch))

    def bare() -> int:
        return sum(min(len(imu[rows, device]), len(features[rows])) for rows in plan)

    def first_epoch() -> int:
        """The columns are opened again, so that every block is compared with its hash."""
        fresh = CheckedArray(folder / "features.npy", facts, refuse=ShardError)
        return run(PairLoader(columns=open_columns(index, "train"), teacher=fresh, batch_size=BATCH, seed=0))

    def webdataset() -> int:
        pipeline = wds.WebDataset(tars, shardshuffle=False).decode().to_tuple("imu.waist.npy").batched(BATCH)
        return sum(len(torch.from_numpy(windows)) for (windows,) in pipeline)

    both = str(folder / "both.tar")
    with wds.TarWriter(both) as writer:
        for row, key in enumerate(columns.keys[: 4 * BATCH]):
            writer.write(
                {"__key__": key, "imu.npy": np.array(columns.imu[row, 0]), "teacher.npy": np.array(features[row])}
            )

    def webdataset_with_features() -> int:
        pipeline = wds.WebDataset(both, shardshuffle=False).decode().to_tuple("imu.npy", "teacher.npy").batched(BATCH)
        return sum(min(len(torch.from_numpy(x)) for x in pair) for pair in pipeline)

    return {
        OURS: lambda: run(loader),
        FIRST: first_epoch,
        BARE: bare,
        BOTH: webdataset_with_features,
        OURS_WINDOWS: lambda: run(windows_only),
        WINDOWS: webdataset,
    }


def main(folder: Path, samples: int, repeats: int) -> None:
    """Make a folder and compare."""
    heading(f"{samples} windows (6, 250) float32, {WIDTH} float16 features, batches of {BATCH}")
    alternatives = ways(made_folder(folder / "data", samples), folder)
    for ours, other, times in (
        (OURS, BARE, 3 * repeats),
        (FIRST, BARE, repeats),
        (OURS, BOTH, repeats),
        (OURS_WINDOWS, WINDOWS, repeats),
    ):
        pair = {name: alternatives[name] for name in (ours, other)}
        compare(pair, repeats=times, unit="windows", against={ours: other})


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=int, default=20480)
    options = arguments.parse_args()
    with scratch() as temporary:
        main(temporary, options.samples, options.repeats)
