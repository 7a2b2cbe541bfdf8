"""Samples from the tars: ours by row, in shuffled order, against webdataset's own pipeline in tar order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import compare, heading, made_folder, parser, scratch

from imu_video.shards.reading.pipeline import SampleReader, read_samples
from imu_video.shards.schema import Index


def ways(index: Index) -> dict[str, Callable[[], int]]:
    """The alternatives, each over all samples: IMU window and facts."""
    import webdataset as wds

    reader = SampleReader(index, "train", {"imu", "meta"})
    order = np.random.default_rng(0).permutation(len(reader)).tolist()
    tars = [str(index.shard_path(shard)) for shard in index.split("train").shards]

    def shuffled() -> int:
        return sum(reader[row].imu["waist"].shape[0] == 6 for row in order)

    def in_order() -> int:
        return sum(sample.imu["waist"].shape[0] == 6 for sample in read_samples(index, "train", {"imu", "meta"}))

    def webdataset() -> int:
        pipeline = wds.WebDataset(tars, shardshuffle=False).decode().to_tuple("imu.waist.npy", "meta.json")
        return sum(window.shape[0] == 6 for window, _ in pipeline)

    return {"SampleReader, shuffled": shuffled, "read_samples": in_order, "webdataset": webdataset}


def main(folder: Path, samples: int, repeats: int) -> None:
    """Make a folder and compare."""
    heading(f"{samples} samples of one (6, 250) float32 window and its facts")
    index = made_folder(folder / "data", samples)
    against = {"SampleReader, shuffled": "webdataset", "read_samples": "webdataset"}
    compare(ways(index), repeats=repeats, unit="samples", against=against)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=int, default=4096)
    options = arguments.parse_args()
    with scratch() as temporary:
        main(temporary, options.samples, options.repeats)
