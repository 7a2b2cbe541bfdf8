"""Further cameras lie beside the main video under their names, each paired by its own time stamps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from imu_video.errors import RecordingError, ShardError
from imu_video.modalities.base import stream_of
from imu_video.modalities.mp4 import decode_mp4
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.folders import summary
from imu_video.shards.names import parse_member
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.repair import repair
from imu_video.shards.reading.verify import verify
from imu_video.shards.schema import Index
from imu_video.types import ImuStream, Recording

FILMED = {"name": "tiny_people", "cameras": True}


@pytest.fixture(scope="module")
def filmed(people_config: Callable[..., BuildConfig], tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(people_config(dataset=FILMED), tmp_path_factory.mktemp("cameras") / "data")


def test_cameras_are_cut_by_time_and_lie_beside_the_video(filmed: Index) -> None:
    assert verify(filmed).problems == []
    samples = {s.key: s for s in read_samples(filmed, "train")}
    third = samples["tiny_people-walk_p0-00002"]
    assert "video" in third.streams
    assert sorted(third.streams) == ["skeleton", "video", "video.depth", "video.exo"]
    # Frames 20, 22 ... of the video: its grey is 5 * i, that of the further cameras 3 * i and 4 * i.
    for stream, level in (("video", 5), ("video.depth", 3), ("video.exo", 4)):
        grey = decode_mp4(third.streams[stream]).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(grey, level * np.arange(20, 30, 2), atol=2)
    assert "video.exo" not in samples["tiny_people-walk_p1-00000"].streams
    (val, *_) = read_samples(filmed, "val")  # p3 has no main video, but a further camera
    assert sorted(val.streams) == ["skeleton", "video.depth"]
    assert list(filmed.split("train").shards[0].keys["tiny_people-walk_p0-00000"]) == [
        "imu.right_wrist.npy",
        "imu.waist.npy",
        "meta.json",
        "skeleton.npy",
        "video.depth.mp4",
        "video.exo.mp4",
        "video.mp4",
    ]


def test_the_index_names_cameras_and_what_lacks_them(filmed: Index) -> None:
    spec = {"fps": 5, "frames": 5, "height": 16, "width": 16}
    assert sorted(filmed.streams) == ["skeleton", "video", "video.depth", "video.exo"]
    assert all(filmed.streams[f"video.{camera}"].model_dump() == spec for camera in ("depth", "exo"))
    assert filmed.build.without == {"clip": 7, "view exo": 21}
    assert json.loads((filmed.root / "index.json").read_text())["views"] == {"depth": spec, "exo": spec}
    assert ("clip of camera depth", "5 frames at 5 Hz, 16 x 16") in summary.facts(filmed).rows


def test_cameras_are_read_only_on_request(filmed: Index) -> None:
    assert all(sorted(s.streams) == ["video"] for s in read_samples(filmed, "test", {"video"}))
    assert all(sorted(s.streams) == ["video.depth"] for s in read_samples(filmed, "test", {"video.depth"}))


def test_without_further_cameras_no_trace_of_them(people_config: Callable[..., BuildConfig], tmp_path: Path) -> None:
    plain = build(people_config(), tmp_path / "data")
    assert sorted(plain.streams) == ["skeleton", "video"]
    assert "views" not in json.loads((plain.root / "index.json").read_text())
    assert "views" not in yaml.safe_load((plain.root / "build.yaml").read_text())


def test_repair_keeps_cameras(filmed: Index) -> None:
    before = (filmed.root / "index.json").read_bytes()
    (filmed.root / "index.json").unlink()
    repaired, notes = repair(filmed.root)
    assert notes == []
    assert repaired == filmed == load_index(filmed.root)
    assert (filmed.root / "index.json").read_bytes() == before


def test_verify_reports_a_camera_that_is_not_declared(filmed: Index) -> None:
    declared = {name: spec for name, spec in filmed.streams.items() if name != "video.exo"}
    less = filmed.model_copy(update={"streams": declared}).at(filmed.root)
    facts, *problems = verify(less).problems
    assert "index.json and build.yaml differ in 'views'" in facts
    assert len(problems) == 7
    assert all("the index declares no stream 'video.exo'" in problem for problem in problems)


def test_member_names() -> None:
    assert parse_member("a.video.exo_2.mp4") == ("a", "video.exo_2.mp4")
    assert [stream_of(s) for s in ("video.mp4", "video.exo.mp4", "imu.waist.npy", "meta.json")] == [
        "video",
        "video.exo",
        "imu.waist",
        "meta",
    ]
    for name in ("a.video.Exo.mp4", "a.video.exo.left.mp4", "a.video..mp4"):
        with pytest.raises(ShardError, match=r"KEY\.video\.<camera>\.mp4"):
            parse_member(name)


class _Frames:
    """No frames at all."""

    times = np.zeros(0)

    def read(self, indices: object) -> np.ndarray:
        raise AssertionError("nothing to read")


def test_a_camera_needs_a_name_that_a_member_can_carry() -> None:
    stream = ImuStream(placement="waist", times=np.arange(5) / 50, values=np.zeros((6, 5)))
    with pytest.raises(RecordingError, match=r"camera name 'Left\.Eye'"):
        Recording(dataset="d", subject="s", name="r", imu=(stream,), streams={"video.Left.Eye": _Frames()})
