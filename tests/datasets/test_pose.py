"""Joints from the videos of another dataset: which frames are read, and what a recording without a person has."""

from __future__ import annotations

import numpy as np
import pytest

from imu_video.datasets.pose import PosedDataset, track_of
from imu_video.errors import ConfigError
from imu_video.registry import datasets
from imu_video.skeletons import blazepose


class Video:
    """Black frames at 25 per second."""

    times = np.arange(50) / 25

    def read(self, indices: list[int]) -> np.ndarray:
        return np.zeros((len(indices), 8, 8, 3), np.uint8)


class Networks:
    """A person in every frame but the third that is read."""

    def track(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        world = np.ones((len(frames), 33, 3), np.float32)
        world[2] = np.nan
        return world, np.ones((len(frames), 33), np.float32)


def test_frames_are_read_at_the_rate_and_those_without_a_person_have_no_joints() -> None:
    track, missed = track_of(Video(), Networks(), fps=12.5)  # type: ignore[arg-type]
    expected = np.delete(np.arange(0, 50, 2) / 25, 2)
    np.testing.assert_allclose(track.times, expected)
    assert track.joints.shape == (24, 19, 3)
    assert missed == 1


def test_recordings_keep_their_videos_and_get_skeletons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blazepose, "load_files", lambda weights: {})
    world = {"name": "synthetic", "groups": [{"count": 1, "seconds_per_activity": 2.0}], "activities": ["walk"]}
    source = datasets.build({"name": "pose", "of": world, "fps": 5.0})
    assert isinstance(source, PosedDataset)
    monkeypatch.setattr(PosedDataset, "_networks", Networks())
    (one,) = source.recordings(source.subjects())
    assert one.streams["skeleton"].names == tuple(blazepose.JOINTS)
    assert "video" in one.streams
    assert one.notes[-1].startswith("video: no person in 1 of ")
    assert (source.name, one.dataset) == ("synthetic", "synthetic")
    (item,) = source.unread(source.subjects()[0])
    assert next(iter(item.read())).streams["skeleton"].joints.shape[1:] == (19, 3)
    assert source.provenance()["pose"]["fps"] == 5.0
    with pytest.raises(AttributeError):
        source.root  # noqa: B018
    with pytest.raises(ConfigError, match="is a dataset 'pose' itself"):
        datasets.build({"name": "pose", "of": {"name": "pose", "of": world}})


def test_without_the_networks_nothing_is_read() -> None:
    with pytest.raises(ConfigError, match=r"no network|not installed"):
        datasets.build({"name": "pose", "of": {"name": "synthetic"}, "weights": "none.whl"})
