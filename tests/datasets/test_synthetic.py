"""The synthetic dataset: contract, subsets, shift axes, and whether its activities can be told apart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from imu_video.datasets.synthetic import Group, SyntheticWorld
from imu_video.errors import ConfigError
from imu_video.recordings.windows import WindowConfig, cut
from imu_video.registry import datasets
from imu_video.simulation.sensors import PROFILES
from imu_video.testing import check_dataset
from imu_video.types import Recording


def world(**changes: Any) -> SyntheticWorld:
    settings: dict[str, Any] = {
        "groups": [Group(count=3, seconds_per_activity=3.0)],
        "activities": ["walk", "sit", "type"],
        "placements": ["right_wrist", "thigh"],
        "image_size": 48,
    }
    return SyntheticWorld(**{**settings, **changes})


def one(source: SyntheticWorld, subject: str = "p01", session: int = 0) -> Recording:
    return list(source.recordings([subject]))[session]


def same_imu(a: Recording, b: Recording) -> bool:
    return all(
        np.array_equal(x.values, y.values) and np.array_equal(x.times, y.times)
        for x, y in zip(a.imu, b.imu, strict=True)
    )


def test_fulfils_the_dataset_contract() -> None:
    check_dataset(world())


def test_default_world_has_pretraining_people_other_devices_and_another_population() -> None:
    source = SyntheticWorld()
    assert len(source.subjects()) == 36
    assert len(source.labels) == 12
    assert source.rate_hz is None  # watch and cheap differ
    assert {g.population for g in source.groups} == {"general", "slow_gait"}


def test_config_entry_builds_the_world_and_says_which_key_is_wrong() -> None:
    entry = {"name": "synthetic", "groups": [{"prefix": "a", "count": 2}], "activities": ["walk", "jog"]}
    assert datasets.build(entry).subjects() == ["a00", "a01"]
    with pytest.raises(ConfigError, match=r"groups.0.cuont"):
        datasets.build({"name": "synthetic", "groups": [{"cuont": 2}]})
    assert SyntheticWorld(groups=[{"prefix": "b", "count": 1}]).subjects() == ["b00"]  # type: ignore[list-item]


def test_a_subset_is_the_same_data() -> None:
    everyone = {r.name: r for r in world().recordings()}
    assert sorted(everyone) == ["p00-1", "p01-1", "p02-1"]
    fewer = world(groups=[Group(count=2, seconds_per_activity=3.0)], placements=["thigh"])
    alone = one(fewer)
    assert alone.imu[0].placement == "thigh"
    assert np.array_equal(alone.imu[0].values, everyone["p01-1"].imu[1].values)
    assert alone.segments == everyone["p01-1"].segments
    assert "video" in alone.streams
    assert "video" in everyone["p01-1"].streams
    assert np.array_equal(alone.streams["video"].read([10]), everyone["p01-1"].streams["video"].read([10]))


def test_seed_subject_and_session_each_change_the_data() -> None:
    base = one(world())
    assert same_imu(base, one(world()))
    assert not np.array_equal(base.imu[0].values[:, :50], one(world(seed=1)).imu[0].values[:, :50])
    assert not np.array_equal(base.imu[0].values[:, :50], one(world(), "p02").imu[0].values[:, :50])
    first, second = list(
        world(groups=[Group(count=2, devices=["watch", "watch"], seconds_per_activity=3.0)]).recordings(["p01"])
    )
    assert same_imu(first, base)
    assert not np.array_equal(first.imu[0].values[:, :50], second.imu[0].values[:, :50])


def test_two_devices_are_two_sessions_with_their_own_rates_and_limits() -> None:
    source = world(
        groups=[Group(count=2, devices=["watch", "cheap"], seconds_per_activity=3.0)],
        activities=["jog", "sit"],
        placements=["waist", "ankle"],
    )
    first, second = list(source.recordings(["p01"]))
    assert (first.session, second.session) == ("1", "2")
    assert (first.tags["device"], second.tags["device"]) == ("watch", "cheap")
    assert first.subject == second.subject
    assert first.segments != second.segments
    for recording in (first, second):
        profile = PROFILES[recording.tags["device"]]
        for stream in recording.imu:
            assert 1 / np.median(np.diff(stream.times)) == pytest.approx(profile.rate_hz, rel=0.03)
            assert np.abs(stream.values[:3]).max() <= profile.acc_range
    assert np.abs(second.imu[1].values[:3]).max() == PROFILES["cheap"].acc_range  # jogging exceeds 2 g
    assert np.abs(first.imu[1].values[:3]).max() > 1.2 * PROFILES["cheap"].acc_range


def test_tags_name_the_shift_axes_and_cameras_come_from_the_groups_list() -> None:
    source = world(
        groups=[
            Group(count=6, seconds_per_activity=2.0, cameras=["front", "high"]),
            Group(prefix="s", count=1, seconds_per_activity=2.0, population="slow_gait", cameras=["side"]),
        ],
        activities=["sit"],
    )
    tags = [r.tags for r in source.recordings()]
    assert {t["camera"] for t in tags[:6]} == {"front", "high"}
    assert tags[6] == {"device": "watch", "camera": "side", "population": "slow_gait"}


def test_windows_carry_labels_clips_and_skeletons() -> None:
    config = WindowConfig(seconds=2.0, clip_fps=2.0, clip_size=48, skeleton_fps=10.0, label_coverage=0.6)
    recording = one(world(groups=[Group(count=2, seconds_per_activity=6.0)]))
    windows = list(cut(recording, config))
    counts = Counter(w.label for w in windows)
    assert set(counts) == {"walk", "sit", "type", None} or set(counts) == {"walk", "sit", "type"}
    assert min(counts[label] for label in ("walk", "sit", "type")) >= 2
    for window in windows:
        middle = window.start + 1.0
        inside = [s.label for s in recording.segments if s.start <= middle < s.end]
        if window.label is not None:
            assert inside == [window.label]
        assert "video" in window.streams
        assert window.streams["video"].shape == (4, 48, 48, 3)
        assert window.streams["video"].std() > 10
        assert "skeleton" in window.streams
        assert window.streams["skeleton"].shape == (20, 20, 3)
        assert sorted(window.imu) == ["right_wrist", "thigh"]
        assert all(v.shape == (6, 100) for v in window.imu.values())


def test_clip_and_imu_show_the_same_motion_at_the_same_time() -> None:
    recording = one(world(groups=[Group(count=2, devices=["research"], seconds_per_activity=8.0)], activities=["walk"]))
    wrist = recording.imu[0]
    skeleton = recording.streams["skeleton"]
    assert skeleton is not None
    hand = skeleton.joints[:, skeleton.names.index("right_wrist")] - skeleton.joints[:, skeleton.names.index("neck")]
    seen = np.linalg.norm(np.gradient(hand, skeleton.times, axis=0), axis=1)

    def agreement(shift: float) -> float:
        felt = np.interp(skeleton.times + shift, wrist.times, np.linalg.norm(wrist.values[3:], axis=0))
        return float(np.corrcoef(felt, seen)[0, 1])

    shifts = np.arange(-0.2, 0.21, 0.02)
    scores = [agreement(s) for s in shifts]
    assert max(scores) > 0.6
    assert abs(shifts[int(np.argmax(scores))]) <= 0.041


def test_activities_are_told_apart_on_unseen_people_but_not_perfectly() -> None:
    names = ["walk", "stairs_up", "jog", "sit", "type", "lie", "vacuum"]
    source = world(
        groups=[Group(count=9, seconds_per_activity=8.0)], activities=names, placements=["right_wrist", "ankle"]
    )
    rows = []
    for recording in source.recordings():
        for window in cut(recording, WindowConfig(seconds=3.0, label_coverage=1.0)):
            if window.label is not None:
                rows.append((window.subject, window.label, window.imu))
    subject = np.array([r[0] for r in rows])
    label = np.array([names.index(r[1]) for r in rows])
    seen = subject < "p06"
    accuracy = {}
    for placement in source.placements:
        x = np.nan_to_num(np.stack([r[2][placement] for r in rows]).astype(np.float64))
        norm = np.sqrt((x.reshape(len(x), 2, 3, -1) ** 2).sum(axis=2))
        features = np.concatenate(
            [x.mean(2), np.log(x.std(2) + 0.01), norm.mean(2), np.log(np.abs(np.diff(norm, axis=2)).mean(2) + 1e-3)],
            axis=1,
        )
        features = (features - features[seen].mean(0)) / features[seen].std(0)
        features = np.concatenate([features, np.ones((len(x), 1))], axis=1)
        train, target = features[seen], np.eye(len(names))[label[seen]]
        weight = np.linalg.solve(train.T @ train + 3.0 * np.eye(train.shape[1]), train.T @ target)
        accuracy[placement] = float(np.mean((features[~seen] @ weight).argmax(1) == label[~seen]))
    assert len(rows) > 80
    for placement, value in accuracy.items():
        assert 0.5 < value < 1.0, (placement, value)  # chance is 1/7


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"activities": ["walk", "sti"]}, "did you mean 'sit'"),
        ({"placements": ["rigth_wrist"]}, "did you mean 'right_wrist'"),
        ({"placements": ["thigh", "thigh"]}, "distinct"),
        ({"groups": [Group(devices=["clock"])]}, "unknown device 'clock'"),
        ({"groups": [Group(cameras=["frnt"])]}, "did you mean 'front'"),
        ({"groups": [Group(population="fast")]}, "unknown population"),
        ({"groups": [Group(count=2), Group(count=1)]}, "subject 'p00' is in two groups"),
        ({"groups": []}, "groups is empty"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"image_size": 4}, "image_size is 4"),
    ],
)
def test_impossible_worlds_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        world(**changes)


def test_unknown_subject_is_refused() -> None:
    with pytest.raises(ConfigError, match="no subject 'p77'"):
        next(world().recordings(["p77"]))
