"""Time ranges of the parts of a recording: what does not meet is refused, with the cause that was put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from imu_video.errors import RecordingError
from imu_video.recordings.quality import Inspector
from imu_video.recordings.ranges import EPOCHS, Range, check_ranges, likely_cause
from imu_video.recordings.recipe import Processed, Recipe
from imu_video.recordings.windows import WindowConfig
from imu_video.types import ImuStream, Recording, Segment

T0 = 1_727_600_000.0  # 2024-09-29


def a_range(start: float, length: float, kind: str = "imu") -> Range:
    return Range(what=kind, start=start, end=start + length, kind=kind)


def device(start: float = T0, seconds: float = 60.0, placement: str = "wrist") -> ImuStream:
    times = start + np.arange(round(seconds * 20)) / 20
    values = np.random.default_rng(0).normal(0, 1, (6, len(times))) + np.array([[0, 9.8, 0, 0, 0, 0]]).T
    return ImuStream(placement=placement, times=times, values=values)


def recording(*devices: ImuStream, labels: Sequence[tuple[float, float]] = (), **more: Any) -> Recording:
    segments = tuple(Segment(start=start, end=end, label="walk") for start, end in labels)
    return Recording(dataset="d", subject="s01", name="r", imu=devices or (device(),), segments=segments, **more)


@pytest.mark.parametrize("name", EPOCHS)
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_every_epoch_is_found(name: str, unit: float) -> None:
    factor, shift = EPOCHS[name]
    start, end = ((t - shift) / factor / unit for t in (T0 + 5, T0 + 55))
    other = Range(what="labels", start=start, end=end, kind="labels")
    cause = likely_cause(a_range(T0, 60.0), other)
    assert cause is not None
    assert cause.kind == "epoch"
    assert name in cause.text
    # the other way round: the IMU counts from another epoch, the labels from 1970
    cause = likely_cause(other, a_range(T0, 60.0, "labels"))
    assert cause is not None
    assert name in cause.text


@pytest.mark.parametrize(
    ("start", "length", "kind", "shift"),
    [
        (T0 * 1e3, 60e3, "unit", None),
        (T0 * 1e6, 60e6, "unit", None),
        (T0 * 1e9, 60e9, "unit", None),
        (T0 / 1e3, 60e-3, "unit", None),
        (0.0, 60.0, "start", T0),
        (T0 + 7200, 60.0, "zone", -7200.0),
        (T0 - 5.5 * 3600, 60.0, "zone", 5.5 * 3600),
        (T0 + 5.75 * 3600 + 3, 60.0, "zone", -5.75 * 3600),
        (T0 - 86_400, 60.0, "day", 86_400.0),
        (T0 + 200, 60.0, "offset", -200.0),
        (T0 + 5000, 10.0, None, None),
    ],
)
def test_cause(start: float, length: float, kind: str | None, shift: float | None) -> None:
    cause = likely_cause(a_range(T0, 60.0), a_range(start, length, "labels"))
    assert (cause.kind if cause is not None else None) == kind
    if shift is not None:
        assert cause is not None
        assert cause.shift_s == pytest.approx(shift, abs=1e-6)


def test_random_shifts_are_not_taken_for_an_epoch_or_a_unit() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        start = T0 + rng.uniform(-1, 1) * 10 ** rng.uniform(3, 8)
        cause = likely_cause(a_range(T0, 600.0), a_range(start, rng.uniform(60, 6000), "labels"))
        assert cause is None or cause.kind not in ("epoch", "unit", "start")


def test_the_remedy_of_a_shift_helps() -> None:
    one = recording(labels=[(T0 + 7200 + 10, T0 + 7200 + 20)], files={"labels": "a.csv"})
    with pytest.raises(
        RecordingError, match=r"labels \(a\.csv\): 2024-09-29 10:53:30\.0 to .* UTC does not overlap"
    ) as error:
        check_ranges(one)
    assert error.match("another time zone: .* 2.00 hours earlier")
    assert error.match(r"label_files\.offset_s: -7200")
    moved = replace(one, segments=tuple(replace(s, start=s.start - 7200, end=s.end - 7200) for s in one.segments))
    assert check_ranges(moved) == ()
    (note,) = check_ranges(replace(one, missing="warn"))
    assert "another time zone" in note


@dataclass(frozen=True)
class Frames:
    times: np.ndarray


def test_video_that_meets_nothing_is_refused_if_it_is_used() -> None:
    one = recording(streams={"video": Frames(np.arange(100) / 10)})
    with pytest.raises(RecordingError, match="counts from 1970, video from its own start") as error:
        check_ranges(one, modalities=("video",))
    assert error.match(f"files.offset_s: {T0:.0f}")
    assert check_ranges(one, modalities=()) == ()
    assert check_ranges(recording(streams={"video": Frames(T0 + np.arange(100) / 10)})) == ()


def test_video_that_meets_less_than_a_window_is_refused_or_said() -> None:
    def with_video(start: float, seconds: float, **more: Any) -> Recording:
        frames = Frames(start + np.arange(round(10 * seconds)) / 10)
        return recording(device(0.0, 20.0), streams={"video": frames}, **more)

    with pytest.raises(
        RecordingError, match=r"overlaps with only 1\.5 s of the IMU: 0 s to 20 s, less than a window of 2 s"
    ) as e:
        check_ranges(with_video(-18.5, 20.0), seconds=2.0)
    assert e.match(r"a constant offset: video 18\.5 s later")
    assert check_ranges(with_video(0.0, 20.0), seconds=2.0) == (), "obeyed"
    (note,) = check_ranges(with_video(-18.5, 20.0, missing="warn"), seconds=2.0)
    assert "overlaps with only 1.5 s" in note
    (note,) = check_ranges(with_video(3.0, 1.0), seconds=2.0)  # all of it lies inside
    assert "overlaps with only 1 s" in note
    assert check_ranges(with_video(-18.0, 20.0), seconds=2.0) == ()


def test_the_remedy_of_a_camera_names_it() -> None:
    with pytest.raises(RecordingError) as error:
        check_ranges(recording(streams={"video.side": Frames(np.arange(100) / 10)}))
    assert error.match(f"files.camera_offset_s: {{side: {T0:.0f}}}")


def test_two_labels_of_one_time_are_said() -> None:
    walk, sit = (Segment(start=start, end=start + 20, label=label) for start, label in ((0.0, "walk"), (15.0, "sit")))
    one = replace(recording(device(0.0, 60.0)), segments=(sit, walk))
    assert check_ranges(one) == ("labels overlap for 5 s, first 'walk' and 'sit' from 15 s",)
    assert check_ranges(replace(one, segments=(walk, replace(sit, start=19.8)))) == ()
    assert check_ranges(replace(one, segments=(walk, replace(sit, label="walk")))) == ()


def test_labels_in_a_gap_of_the_imu_are_said() -> None:
    times = np.concatenate([np.arange(0, 10, 0.05), np.arange(30, 40, 0.05)])
    values = np.tile([[0.0], [0.0], [9.8], [0.1], [0.0], [0.0]], len(times))
    one = recording(ImuStream(placement="wrist", times=times, values=values), labels=[(12, 25)])
    recipe = Recipe(window=WindowConfig(seconds=2.0))
    for labels, notes in (
        (one.segments, 1),
        ((*one.segments, Segment(start=32.0, end=38.0, label="sit")), 0),
        ((), 0),
    ):
        processed = Processed(replace(one, segments=labels), recipe, Inspector({}))
        assert len(list(processed)) == 10
        assert sum("no window has labels: it lies in a gap" in row.note for row in processed.note_rows()) == notes


def test_a_recording_of_which_no_window_is_kept_says_why() -> None:
    bunched = np.concatenate([k * 2.0 + np.arange(40) * 0.0005 for k in range(10)])
    values = np.tile([[0.0], [0.0], [9.8], [0.1], [0.0], [0.0]], len(bunched))
    stream = ImuStream(placement="wrist", times=bunched, values=values)
    processed = Processed(recording(stream), Recipe(window=WindowConfig(seconds=2.0)), Inspector({}))
    assert list(processed) == []
    (row,) = processed.note_rows()
    assert row.note == f"none of its {processed.considered} windows is kept: no device measured enough (9)"


def test_labels_in_another_unit_cover_everything_and_are_refused() -> None:
    imu = device(0.0, 10.0)
    with pytest.raises(RecordingError, match=r"0 s to 10000 s extends beyond .* 1000 times too large") as error:
        check_ranges(recording(imu, labels=[(0, 4000), (4000, 10_000)]))
    assert error.match("a unit 1000 times smaller")
    assert check_ranges(recording(imu, labels=[(0, 4), (4, 10)])) == ()
    assert check_ranges(recording(imu, labels=[(0, 4), (4, 10.04)])) == (), "one sample more is no excess"
    (note,) = check_ranges(recording(imu, labels=[(0, 9), (9, 15), (15, 16)]))
    assert "extends beyond the IMU: 0 s to 10 s by 6 s; 1 of 3 labels lie outside" in note
    (note,) = check_ranges(recording(imu, labels=[(2, 3)]), seconds=2.0)
    assert note == "its labels cover 1 s, less than a window of 2 s"


def test_labels_of_milliseconds_are_refused_and_short_ones_are_not() -> None:
    imu = device(0.0, 60.0)
    with pytest.raises(RecordingError, match=r"has labels of 0\.03 s.*1000 times too small \(s read as ms\)") as error:
        check_ranges(recording(imu, labels=[(0, 0.03), (0.03, 0.06)]), seconds=2.0)
    assert error.match("a unit 1000 times larger")
    assert check_ranges(recording(imu, labels=[(0, 30), (30, 60)]), seconds=2.0) == ()
    assert len(check_ranges(recording(device(0.0, 600.0), labels=[(0, 0.6)]), seconds=2.0)) == 1


def test_two_devices_two_hours_apart() -> None:
    one = recording(device(), device(T0 + 7200, 50.0, "pocket"))
    with pytest.raises(
        RecordingError, match=r"pocket: 2024-09-29 10:53:20.* does not overlap with wrist.*1\.98 hours apart"
    ):
        check_ranges(one)
    recipe = Recipe(window=WindowConfig(seconds=2.0, rate_hz=20.0), missing="warn")
    processed = Processed(one, recipe, Inspector({}))
    assert len(list(processed)) == 55
    ((reason, count),) = processed.dropped.items()
    assert reason == "no device measured enough: a gap of about 2 hours between samples"
    assert count == processed.considered - 55
    assert any("no device has a sample for 1.98 hours" in row.note for row in processed.note_rows())
    # a chain of devices, of which each meets the next one, is one recording
    chain = recording(device(), device(T0 + 50, placement="a"), device(T0 + 105, 20.0, "b"))
    assert check_ranges(chain) == ()


def test_the_key_changes_no_digest_and_reaches_the_check() -> None:
    assert "missing" not in Recipe().model_dump()
    assert Recipe(missing="warn").model_dump()["missing"] == "warn"
    one = recording(labels=[(0.0, 5.0)])
    with pytest.raises(RecordingError, match="from its own start"):
        Processed(one, Recipe(), Inspector({}))
    assert Processed(one, Recipe(missing="warn"), Inspector({})).note_rows()
