"""Clips by row are the frames that the shards hold, for any number of workers; damaged ones stay out of the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imu_video.errors import ConfigError, ShardError
from imu_video.modalities.mp4 import decode_into, decode_mp4, encode_mp4
from imu_video.runtime.distributed import World
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.damage import quarantined
from imu_video.shards.reading import clips as clips_module
from imu_video.shards.reading.clips import ClipReader, clip_seed
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.schema import Index
from imu_video.transforms.video import ClipCompose

N = 40


def test_frames_are_those_of_the_shards(shared_folder: Index) -> None:
    truth = [s.streams.get("video") for s in read_samples(shared_folder, "train", {"video"})]
    reader = ClipReader(shared_folder, "train", frames=[2, 0], workers=2)
    np.testing.assert_array_equal(reader.usable, [i % 4 != 0 for i in range(N)])
    rows = np.array([7, 1, 39, 7])
    clips = reader.read(rows)
    assert clips.shape == (4, 2, 16, 16, 3)
    assert clips.dtype == torch.uint8
    for row, clip in zip(rows, clips, strict=True):
        np.testing.assert_array_equal(clip, decode_mp4(truth[row], [2, 0]))
    assert ClipReader(shared_folder, "train").shape == (3, 16, 16, 3)
    with pytest.raises(ShardError, match=r"has no video\.mp4"):
        reader.read(np.array([4]))
    reader.close()


@pytest.mark.parametrize("width", [16, 40, 96])
def test_widths_that_the_batch_reader_refuses_are_read_all_the_same(width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, width, 3), dtype=np.uint8)
    data = encode_mp4(frames, 10)
    out = np.empty((3, 32, width, 3), np.uint8)
    for _ in range(2):
        decode_into(data, [8, 0, 3], out)
        np.testing.assert_array_equal(out, decode_mp4(data, [8, 0, 3]))
        out[:] = 0
    with pytest.raises(ShardError, match="cannot be decoded"):
        decode_into(data, [9, 0, 3], out)
    with pytest.raises(ShardError, match="cannot be decoded"):
        decode_into(data[:200], [0, 1, 2], out)
    with pytest.raises(ShardError, match="cannot be decoded"):
        decode_into(data, [0, 1, 2], np.empty((3, 16, width, 3), np.uint8))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(st.integers(0, 8), st.integers(1, 16), st.integers(0, 30), st.integers(0, 2**31))
def test_clips_do_not_depend_on_workers_or_ranks(
    shared_folder: Index, workers: int, ranks: int, step: int, seed: int
) -> None:
    columns = open_columns(shared_folder, "train")
    change = ClipCompose.build([{"name": "crop", "p": 0.7}, "flip"])

    def batch(count: int, world: World) -> tuple[torch.Tensor, torch.Tensor]:
        clips = ClipReader(shared_folder, "train", frames=[0, 2], workers=count, change=change)
        loader = PairLoader(columns=columns, clips=clips, change_clips=True, batch_size=16, seed=seed, world=world)
        whole = loader.batch(step)
        clips.close()
        return whole.others["video"], whole.meta.sample

    size = next(n for n in (16, 8, 4, 2, 1) if n <= ranks)
    alone, rows = batch(0, World())
    parts = [batch(workers, World(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat([clip for clip, _ in parts]), alone)
    assert torch.equal(torch.cat([sample for _, sample in parts]), rows)
    assert (rows % 4 != 0).all()  # every fourth has no clip


def test_changes_differ_between_steps_and_stop_where_not_asked(shared_folder: Index) -> None:
    columns = open_columns(shared_folder, "train")
    clips = ClipReader(shared_folder, "train", change=ClipCompose.build([{"name": "colour", "p": 1.0}]))
    asked = {"columns": columns, "clips": clips, "batch_size": 30, "seed": 0}
    loader, plain = PairLoader(**asked, change_clips=True), PairLoader(**asked)
    first, second = loader.batch(0), loader.batch(1)
    a, b = first.others["video"][first.meta.sample.argsort()], second.others["video"][second.meta.sample.argsort()]
    assert not torch.equal(a, b)
    stored = plain.batch(0)
    np.testing.assert_array_equal(stored.others["video"], clips.read(stored.meta.sample.numpy()))
    assert len({clip_seed(s, t, r) for s in range(3) for t in range(20) for r in range(20)}) == 1200


def spoil(index: Index, key: str) -> None:
    """Flip one byte of a clip."""
    for shard in index.split("train").shards:
        if key in shard.keys:
            path, (offset, size) = index.shard_path(shard), shard.keys[key]["video.mp4"]
            data = bytearray(path.read_bytes())
            data[offset + size // 2] ^= 1
            path.write_bytes(data)


def test_damaged_clips_are_an_error_or_left_out(folder_maker: Callable[..., Index], tmp_path: Path) -> None:
    index = folder_maker(tmp_path / "data", {"train": 10})
    columns = open_columns(index, "train")
    key = columns.keys[5]
    spoil(index, key)
    with pytest.raises(ShardError, match=rf"{key}\.video\.mp4"):
        ClipReader(index, "train")
    skipped = ClipReader(index, "train", errors="skip")
    assert list(skipped.left_out) == [key]
    assert not skipped.usable[5]
    assert skipped.usable.sum() == 6
    assert not quarantined(index, "train")
    ClipReader(index, "train", errors="quarantine")
    assert list(quarantined(index, "train")) == [key]
    assert list(open_columns(index, "train", errors="skip").left_out) == [key]
    loader = PairLoader(columns=columns, clips=skipped, batch_size=6, seed=0)
    assert 5 not in loader.batch(0).meta.sample


def test_a_clip_that_fails_on_the_way_is_quarantined_and_named(
    folder_maker: Callable[..., Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = folder_maker(tmp_path / "data", {"train": 6})
    clips = ClipReader(index, "train", errors="quarantine")

    def broken(*_: object) -> None:
        raise ShardError("clip cannot be decoded: codec")

    monkeypatch.setattr(clips_module, "decode_into", broken)
    with pytest.raises(ShardError, match=r"codec(.|\n)*run the command again"):
        clips.read(np.array([1]))
    assert list(quarantined(index, "train").values()) == ["clip cannot be decoded: codec"]
    assert not ClipReader(index, "train", errors="quarantine").usable[1]


def test_what_cannot_be_read_is_refused(shared_folder: Index) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        ClipReader(shared_folder, "train", frames=[3])
    with pytest.raises(ConfigError, match="no clips"):
        ClipReader(shared_folder.model_copy(update={"streams": {}}).at(shared_folder.root), "train")
