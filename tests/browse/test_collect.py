"""Which samples a page shows, and how a skeleton is drawn from motion alone."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from imu_video.browse.collect import MOST_POINTS, bones, choose, collect, upright_axes
from imu_video.modalities.mp4 import decode_mp4
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from imu_video.simulation.body import BONES, JOINTS


def test_every_group_is_shown_before_any_is_shown_twice(folder: Index) -> None:
    groups = set()
    for split in folder.splits:
        columns = open_columns(folder, split)
        groups |= {(split, columns.labels[i], columns.subjects[i], columns.flags[i]) for i in range(len(columns))}
    places = choose(folder, most=len(groups))
    shown = set()
    for place in places:
        columns = open_columns(folder, place.split)
        row = place.row
        shown.add((place.split, columns.labels[row], columns.subjects[row], columns.flags[row]))
    assert shown == groups
    assert len(places) == len(groups)


def test_choice_is_bounded_sorted_and_follows_the_seed(folder: Index) -> None:
    few = choose(folder, most=5)
    assert len(few) == 5
    assert few == choose(folder, most=5)
    assert few != choose(folder, most=5, seed=1)
    everything = choose(folder, most=10_000)
    assert [(p.split, p.row) for p in everything] == [
        (split, row) for split, entry in folder.splits.items() for row in range(entry.samples)
    ]
    assert {p.split for p in choose(folder, most=10_000, split="test")} == {"test"}


def test_flagged_samples_come_first(folder: Index) -> None:
    flagged = [
        (split, row) for split in folder.splits for row, flags in enumerate(open_columns(folder, split).flags) if flags
    ]
    assert flagged
    shown = {(p.split, p.row) for p in choose(folder, most=len(flagged))}
    assert shown & set(flagged)


def test_a_sample_is_shown_as_it_is(folder: Index) -> None:
    places = choose(folder, most=10_000)
    data = collect(folder, places, clip_bytes=10_000_000)
    assert data["total"] == len(data["samples"]) == sum(s.samples for s in folder.splits.values())
    for place, sample in zip(places, data["samples"], strict=True):
        columns = open_columns(folder, place.split)
        assert sample["key"] == columns.keys[place.row]
        assert sample["flags"] == list(columns.flags[place.row])
        for device in sample["devices"]:
            values = columns.select(device["placement"])[place.row]
            shown = np.array(device["values"], dtype=float)  # None becomes NaN
            np.testing.assert_allclose(shown, values, atol=6e-4)
        if sample["clips"]:
            clip = decode_mp4(base64.b64decode(sample["clips"][0]["mp4"]))
            assert clip.shape[0] == folder.streams["video"].frames if folder.streams.get("video") else False


def test_clips_stop_at_the_size_and_say_so(folder: Index) -> None:
    data = collect(folder, choose(folder, most=10_000), clip_bytes=0)
    with_clip = [s for s in data["samples"] if s.get("left_out")]
    assert with_clip
    assert not any(s["clips"] for s in data["samples"])


@pytest.mark.parametrize("samples", [1, MOST_POINTS, MOST_POINTS + 1, 5 * MOST_POINTS + 3])
def test_traces_are_thinned(samples: int) -> None:
    from imu_video.browse.collect import _device

    device = _device("waist", np.zeros((6, samples), np.float32))
    assert len(device["values"][0]) <= MOST_POINTS
    assert (len(device["values"][0]) - 1) * device["step"] < samples


def test_bones_of_a_moving_body_are_those_that_keep_their_length() -> None:
    rng = np.random.default_rng(0)
    hip = rng.normal(size=(50, 3))

    def limb(start: np.ndarray, length: float) -> np.ndarray:
        way = rng.normal(size=(50, 3))
        return start + length * way / np.linalg.norm(way, axis=1, keepdims=True)

    knee, shoulder = limb(hip, 0.45), limb(hip, 0.5)
    foot, hand = limb(knee, 0.42), limb(shoulder, 0.6)
    frames = np.stack([foot, hip, hand, knee, shoulder], axis=1)
    assert bones(frames) == [(0, 3), (1, 3), (1, 4), (2, 4)]


def test_bones_follow_usual_names_where_motion_alone_is_misled() -> None:
    rng = np.random.default_rng(0)
    names = ("head", "shoulder_center", "hip_center", "left_shoulder", "left_elbow", "left_hip", "left_knee", "tail")
    frames = rng.normal(size=(50, len(names), 3))
    frames[:, 7] = frames[:, 2] + [0.1, 0, 0]  # a name that nobody knows keeps its distance to the hip centre
    found = {(names[a], names[b]) for a, b in bones(frames, names)}
    assert found == {
        ("head", "shoulder_center"),
        ("shoulder_center", "hip_center"),
        ("shoulder_center", "left_shoulder"),
        ("left_shoulder", "left_elbow"),
        ("hip_center", "left_hip"),
        ("left_hip", "left_knee"),
        ("hip_center", "tail"),
    }


def test_named_bones_of_the_simulated_body_are_its_bones() -> None:
    frames = np.random.default_rng(0).normal(size=(50, len(JOINTS), 3))
    expected = {tuple(sorted((JOINTS.index(a), JOINTS.index(b)))) for a, b in BONES}
    assert set(bones(frames, JOINTS)) == expected


def test_up_is_where_a_body_is_longest() -> None:
    frames = np.random.default_rng(0).uniform(-1, 1, (20, 8, 3)) * [0.3, 0.1, 0.9]
    assert upright_axes(frames) == (0, 2)
