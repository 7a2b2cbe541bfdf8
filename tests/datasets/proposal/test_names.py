"""Patterns from names of files, for the IMU files and for what lies beside them."""

from __future__ import annotations

import pytest

from imu_video.datasets.proposal.names import beside, read_names


@pytest.mark.parametrize(
    ("paths", "pattern"),
    [
        (["s1/walk.csv", "s2/walk.csv"], "{subject}/{recording}.csv"),
        (["data/s1/walk.csv", "data/s2/walk.csv"], "data/{subject}/{recording}.csv"),
        (["s1/day1/a.csv", "s1/day2/a_b.csv"], "{subject}/{session}/{recording}.csv"),
        (["anna/walk", "bert/run"], "{subject}/{recording}"),
        (["P01-walk-left_wrist.csv", "P02-run-hip.csv"], "{subject}-{recording}-{placement}.csv"),
        (["s1/walk/wrist.csv", "s2/walk/hip.csv"], "{subject}/{recording}/{placement}.csv"),
        (["s1/walk/imu.csv", "s2/run/imu.csv"], "{subject}/{recording}/imu.csv"),
        (["anna.csv", "bert.csv"], None),
        (["s1/a.csv", "s2.csv"], None),
    ],
)
def test_the_pattern_reads_every_name_in_one_way(paths: list[str], pattern: str | None) -> None:
    assert read_names(paths).pattern == pattern


@pytest.mark.parametrize(
    ("names", "pattern", "placements"),
    [
        (["walk Left Wrist.CSV", "walk Hip.CSV"], "{subject}/{recording} {placement}.CSV", ("hip", "left_wrist")),
        (["walk-LeftWrist.csv", "walk-Hip.csv"], "{subject}/{recording}-{placement}.csv", ("hip", "leftwrist")),
        (["up-stairs_hip.csv", "up-stairs_wrist.csv"], "{subject}/{recording}_{placement}.csv", ("hip", "wrist")),
    ],
)
def test_placements_behind_spaces_and_in_one_word(names: list[str], pattern: str, placements: tuple[str, ...]) -> None:
    found = read_names([f"{subject}/{name}" for subject in ("anna", "bert") for name in names])
    assert (found.pattern, found.placements) == (pattern, placements)


def test_videos_and_labels_beside() -> None:
    names = read_names(["s1/walk_hip.csv", "s1/walk_left_wrist.csv", "s2/run_hip.csv"])
    assert names.placements == ("hip", "left_wrist")
    words = list(names.words.values())
    assert names.pattern is not None
    assert beside(names.pattern, words, ["s1/walk.mp4", "s2/run.mp4"]) == ("{subject}/{recording}.mp4", ())
    assert beside(names.pattern, words, ["s1/walk.mp4", "s1/GX01.mp4"]) == (
        "{subject}/{recording}.mp4",
        ("s1/GX01.mp4",),
    )
    assert beside(names.pattern, words, ["GX01.mp4"]) is None
    exports = read_names(["s1/walk", "s2/walk"])
    assert exports.pattern is not None
    assert beside(exports.pattern, list(exports.words.values()), ["s1/walk/Camera/1.mp4", "s1/walk.mp4"]) == (
        "{subject}/{recording}.mp4",
        ("s1/walk/Camera/1.mp4",),
    )
