"""Further videos lie beside the default one under their names, each paired by its own time stamps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from imu_video.errors import RecordingError, ShardError
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.folders import summary
from imu_video.shards.reading.index import load_index, repair, verify
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.schema import Index, member_kind, parse_member
from imu_video.shards.video import decode_mp4
from imu_video.types import ImuStream, Recording

VIEWED = {"name": "tiny_people", "views": True}


@pytest.fixture(scope="module")
def viewed(people_config: Callable[..., BuildConfig], tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(people_config(dataset=VIEWED), tmp_path_factory.mktemp("views") / "data")


def test_views_are_cut_by_time_and_lie_beside_the_video(viewed: Index) -> None:
    assert verify(viewed) == []
    samples = {s.key: s for s in read_samples(viewed, "train")}
    third = samples["tiny_people-walk_p0-00002"]
    assert third.video is not None
    assert sorted(third.views) == ["depth", "exo"]
    # Frames 20, 22 ... of the video: its grey is 5 * i, that of the views 3 * i and 4 * i.
    for clip, level in ((third.video, 5), (third.views["depth"], 3), (third.views["exo"], 4)):
        grey = decode_mp4(clip).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(grey, level * np.arange(20, 30, 2), atol=2)
    assert sorted(samples["tiny_people-walk_p1-00000"].views) == ["depth"]
    (val, *_) = read_samples(viewed, "val")  # p3 has no video, but a view
    assert (val.video, sorted(val.views)) == (None, ["depth"])
    assert list(viewed.split("train").shards[0].keys["tiny_people-walk_p0-00000"]) == [
        "imu.right_wrist.npy",
        "imu.waist.npy",
        "meta.json",
        "skeleton.npy",
        "video.depth.mp4",
        "video.exo.mp4",
        "video.mp4",
    ]


def test_the_index_names_views_and_what_lacks_them(viewed: Index) -> None:
    spec = {"fps": 5, "frames": 5, "height": 16, "width": 16}
    assert {view: clip.model_dump() for view, clip in viewed.views.items()} == {"depth": spec, "exo": spec}
    assert viewed.build.without == {"clip": 7, "view exo": 21}
    assert viewed.clips("exo") == viewed.clips()
    assert viewed.clips("side") is None
    assert ("view depth", "5 frames at 5 Hz, 16 x 16") in summary.facts(viewed).rows


def test_views_are_read_only_when_asked_for(viewed: Index) -> None:
    assert all(s.views == {} and s.video for s in read_samples(viewed, "test", {"video"}))
    assert all(s.views and s.video is None for s in read_samples(viewed, "test", {"views"}))


def test_a_folder_without_views_has_no_trace_of_them(people_config: Callable[..., BuildConfig], tmp_path: Path) -> None:
    plain = build(people_config(), tmp_path / "data")
    assert plain.views == {}
    assert "views" not in json.loads((plain.root / "index.json").read_text())
    assert "views" not in yaml.safe_load((plain.root / "build.yaml").read_text())


def test_repair_keeps_views(viewed: Index) -> None:
    before = (viewed.root / "index.json").read_bytes()
    (viewed.root / "index.json").unlink()
    repaired, notes = repair(viewed.root)
    assert notes == []
    assert repaired == viewed == load_index(viewed.root)
    assert (viewed.root / "index.json").read_bytes() == before


def test_verify_reports_a_view_that_is_not_declared(viewed: Index) -> None:
    less = viewed.model_copy(update={"views": {"depth": viewed.views["depth"]}}).at(viewed.root)
    problems = verify(less)
    assert len(problems) == 7
    assert all("'video.exo.mp4' is not one of ['depth']" in problem for problem in problems)


def test_member_names() -> None:
    assert parse_member("a.video.exo_2.mp4") == ("a", "video.exo_2.mp4")
    assert [member_kind(s) for s in ("video.mp4", "video.exo.mp4", "imu.waist.npy", "meta.json")] == [
        "video",
        "views",
        "imu",
        "meta",
    ]
    for name in ("a.video.Exo.mp4", "a.video.exo.left.mp4", "a.video..mp4"):
        with pytest.raises(ShardError, match=r"KEY\.video\.<view>\.mp4"):
            parse_member(name)


class _Frames:
    """No frames at all."""

    times = np.zeros(0)

    def read(self, indices: object) -> np.ndarray:
        raise AssertionError("nothing to read")


def test_a_view_needs_a_name_that_a_member_can_carry() -> None:
    stream = ImuStream(placement="waist", times=np.arange(5) / 50, values=np.zeros((6, 5)))
    with pytest.raises(RecordingError, match=r"view name 'Left\.Eye'"):
        Recording(dataset="d", subject="s", name="r", imu=(stream,), views={"Left.Eye": _Frames()})
