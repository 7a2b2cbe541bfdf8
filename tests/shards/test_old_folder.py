"""A data folder that was built before modalities were objects reads the same: digests, columns, batches, teachers.

``tests/fixtures/folder_0_1`` was built and embedded by that version from ``tiny_dataset.py`` (p0, p3 and p2 with
further cameras, windows of 2 s); ``folder_0_1.json`` has what that version read from it: hashes of arrays and of
member bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imu_video.errors import ShardError
from imu_video.recordings.splits import SplitConfig
from imu_video.shards.batches.loader import PairLoader
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.folders.combine import split_folder
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index, write_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.repair import repair
from imu_video.shards.reading.teacher_cache import open_cache, read_caches
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONFIG: dict[str, Any] = {
    "dataset": {"name": "tiny_people", "people": 4, "cameras": True},
    "window": {"seconds": 2.0, "stride_s": 2.0, "rate_hz": 20.0, "clip_fps": 4, "clip_size": 16, "skeleton_fps": 5},
    "splits": {"subjects": {"train": ["p0", "p3"], "test": ["p2"]}},
    "shard_samples": 16,
}


def mark(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def short(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()[:12]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FIXTURES / "folder_0_1.json").read_text())
    return content


@pytest.fixture
def old(tmp_path: Path) -> Index:
    return load_index(shutil.copytree(FIXTURES / "folder_0_1", tmp_path / "old"))


def test_digest_and_checks(old: Index, expected: dict[str, Any]) -> None:
    assert old.digest == expected["digest"]
    assert old.build.config_digest == expected["config_digest"]
    assert verify(old).problems == expected["verify"] == []
    assert sorted(old.streams) == ["skeleton", "video", "video.depth", "video.exo"]


@pytest.mark.parametrize("fresh", [False, True])
def test_columns_and_samples(old: Index, expected: dict[str, Any], fresh: bool) -> None:
    if fresh:
        shutil.rmtree(old.root / "columns")
    for split, facts in expected["splits"].items():
        columns, samples = open_columns(old, split), list(read_samples(old, split))
        assert len(columns) == facts["samples"]
        assert mark(columns.imu) == facts["imu"]
        assert mark(columns.streams["skeleton"]) == facts["skeleton"]
        assert (mark(columns.present), mark(columns.complete)) == (facts["present"], facts["complete"])
        assert (mark(np.array(columns.keys)), columns.labels) == (facts["keys"], facts["labels"])
        assert np.nansum(np.asarray(columns.imu, np.float64)) == facts["imu_sum"]
        assert [short(sample.streams.get("video")) for sample in samples] == facts["clips"]
        cameras = [
            {
                name.partition(".")[2]: short(data)
                for name, data in sorted(s.streams.items())
                if name.startswith("video.")
            }
            for s in samples
        ]
        assert cameras == facts["cameras"]


def test_columns_are_written_again_with_hashes(old: Index) -> None:
    before = {path: path.read_bytes() for path in sorted((old.root / "columns").rglob("*.npy"))}
    for split in old.splits:
        columns = open_columns(old, split)
        assert columns.imu.hashed == "blocks"
    assert {path: path.read_bytes() for path in before} == before


def test_columns_of_a_folder_that_cannot_be_written_are_read_as_they_are(
    old: Index, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Path, **_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    fresh = {split: open_columns(load_index(shutil.copytree(old.root, old.root / "copy")), split) for split in ["test"]}
    monkeypatch.setattr(Path, "mkdir", refuse)
    columns = open_columns(old, "test")
    assert columns.imu.hashed == "no"
    assert "without hashes" in caplog.text
    assert mark(columns.imu) == expected["splits"]["test"]["imu"]
    for name in ("keys", "subjects", "sessions", "recordings", "labels", "tags", "flags"):
        assert getattr(columns, name) == getattr(fresh["test"], name)
    for name in ("recording_id", "subject_id", "start", "present", "complete"):
        np.testing.assert_array_equal(getattr(columns, name), getattr(fresh["test"], name))
    # Rows of another order are not those of the index.
    place = old.root / "columns" / "test" / "meta.json"
    content = json.loads(place.read_text())
    place.write_text(json.dumps({**content, "keys": content["keys"][::-1]}))
    with pytest.raises(ShardError, match="cannot be written: Read-only file system"):
        open_columns(old, "test")


def test_teacher_caches_and_batches(old: Index, expected: dict[str, Any]) -> None:
    caches = {name: open_cache(old, name) for name in read_caches(old)}
    assert {n: {s: mark(c.rows(s)) for s in c.splits} for n, c in caches.items()} == expected["caches"]
    (pictures,) = (c for n, c in caches.items() if c.spec["modality"] == "video" and "-" not in n)
    loader = PairLoader(
        columns=open_columns(old, "train"),
        teacher=pictures.rows("train"),
        batch_size=3,
        seed=0,
        streams=["skeleton"],
        all_devices=True,
    )
    for step, facts in enumerate(expected["batches"]):
        batch = loader.batch(step)
        assert batch.teacher is not None
        assert batch.devices is not None
        assert batch.meta.sample.tolist() == facts["rows"]
        assert (mark(batch.imu), mark(batch.mask), mark(batch.teacher)) == (
            facts["imu"],
            facts["mask"],
            facts["teacher"],
        )
        assert (mark(batch.others["skeleton"]), mark(batch.devices)) == (facts["skeleton"], facts["devices"])


def test_the_index_is_written_and_repaired_to_the_same_bytes(old: Index, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    write_index(old, tmp_path / "new")
    for name in ("index.json", "build.yaml"):
        assert (tmp_path / "new" / name).read_bytes() == (FIXTURES / "folder_0_1" / name).read_bytes()
    (old.root / "index.json").unlink()
    repair(old.root)
    assert (old.root / "index.json").read_bytes() == (FIXTURES / "folder_0_1" / "index.json").read_bytes()


def test_a_build_of_today_gives_the_same_shards(old: Index, tiny_plugin: Path, tmp_path: Path) -> None:
    new = build(BuildConfig.model_validate(CONFIG), tmp_path / "new", plugins=[tiny_plugin])
    assert {s: new.rows_digest(s) for s in new.splits} == {s: old.rows_digest(s) for s in old.splits}
    for split in old.splits.values():
        for shard in split.shards:
            assert (new.root / shard.path).read_bytes() == (old.root / shard.path).read_bytes()
    assert new.streams == old.streams
    assert new.build.without == old.build.without
    assert (new.root / "quality.json").read_bytes() == (old.root / "quality.json").read_bytes()


def test_a_split_of_the_old_folder_keeps_its_streams(old: Index, tmp_path: Path) -> None:
    config = SplitConfig.model_validate({"subjects": {"train": ["p3"], "val": ["p0", "p2"]}})
    new = split_folder(old, config, tmp_path / "new")
    assert verify(new).problems == []
    assert new.streams == old.streams
    assert new.build.without == {"clip": 3, "view exo": 6}
