"""Berkeley MHAD on a made-up tree with the original's layout: arrival clocks, factory scales, camera time stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.berkeley_mhad import RATE_HZ, BerkeleyMhad
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY

UNIX = 1309539264.0
GAIN, BIAS = np.array([1.25, 1.2, 1.1]), np.array([0.05, -0.04, 0.06])


def signal(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """(T, 4): still in a random orientation, then a second of movement, as a sensor with GAIN and BIAS shows it."""
    count = round(seconds * RATE_HZ)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    true = np.tile(direction, (count, 1)) + rng.normal(0, 0.002, (count, 3))
    true[-31:] += 0.5 * np.sin(np.arange(31) / 3)[:, None]
    taken = UNIX + 0.01 + np.arange(count) / RATE_HZ
    arrived = UNIX + np.ceil((taken - UNIX) / 0.0217) * 0.0217  # the receiver looks every 22 ms
    return np.column_stack([true / GAIN + BIAS, arrived])


def write(root: Path, sensor: int, name: str, table: np.ndarray) -> Path:
    path = root / "Accelerometer" / f"Shimmer{sensor:02d}" / f"acc_h{sensor:02d}_{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, table, fmt="%.6f")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "Time_stamps").mkdir()
    for subject in ("s01", "s02"):
        for action in range(1, 12):
            name = f"{subject}_a{action:02d}_r01"
            for sensor in (1, 5):
                write(tmp_path, sensor, name, signal(rng, 4.0))
            frames = np.column_stack([np.arange(70), UNIX + 0.15 + np.arange(70) / 22])
            np.savetxt(tmp_path / "Time_stamps" / f"time_stamps_img_{name}.txt", frames, fmt=["%d", "%.6f"])
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "berkeley_mhad", "root": str(tree)})
    source = datasets.build({"name": "berkeley_mhad", "root": str(tree)})
    assert source.subjects() == ["s01", "s02"]
    recordings = list(source.recordings())
    assert len(recordings) == 22
    first = recordings[0]
    assert first.name == "s01_a01_r01"
    assert [s.placement for s in first.imu] == ["left_wrist", "ankle_1"]
    assert first.imu[0].channels == ("acc_x", "acc_y", "acc_z")
    assert 1 / np.median(np.diff(first.imu[0].times)) == pytest.approx(RATE_HZ, rel=0.02)
    assert np.diff(first.imu[0].times).max() < 1.5 / RATE_HZ  # stamps alternate between 22 and 43 ms
    camera = source.camera_times("s01_a01_r01")
    assert len(camera) == 70
    assert (first.segments[0].start, first.segments[0].end) == pytest.approx((camera[0], camera[-1]))
    assert first.segments[0].label == "jump_in_place"
    assert camera[0] == pytest.approx(0.15 - 0.0217, abs=1e-4)


def test_each_persons_sensor_is_calibrated_by_gravity(tree: Path) -> None:
    source = BerkeleyMhad(root=str(tree))
    found = source.calibration("s01", "left_wrist")
    assert found.stretches == 11 * 6  # three seconds each
    # The gain takes raw units to m/s^2: GAIN is in g for each unit.
    still = [r.imu[0].values[:, :90] for r in source.recordings(["s01"])]
    norms = np.array([np.median(np.linalg.norm(v, axis=0)) for v in still])
    raw = [r.imu[0].values[:, :90] for r in BerkeleyMhad(root=str(tree), calibrate=False).recordings(["s01"])]
    before = np.array([np.median(np.linalg.norm(v, axis=0)) for v in raw])
    assert np.abs(norms / GRAVITY - 1).max() < 0.015
    assert np.abs(before / GRAVITY - 1).max() > 0.1


def test_samples_held_back_from_before_the_recording_are_dropped(tree: Path) -> None:
    rng = np.random.default_rng(1)
    table = signal(rng, 4.5)
    table[:, 3] -= 0.5
    table[:, 3] = np.maximum(table[:, 3], UNIX + 0.02)  # 15 samples arrive at once when the recording begins
    write(tree, 5, "s01_a01_r01", table)
    ankle = next(BerkeleyMhad(root=str(tree)).recordings(["s01"])).imu[1]
    assert ankle.times[0] >= 0
    assert len(ankle.times) == pytest.approx(124, abs=2)
    assert ankle.times[-1] == pytest.approx(4.0, abs=0.07)


def test_missing_time_stamps_and_sensors(tree: Path) -> None:
    (tree / "Time_stamps" / "time_stamps_img_s01_a01_r01.txt").unlink()
    (tree / "Accelerometer" / "Shimmer01" / "acc_h01_s01_a01_r01.txt").unlink()
    source = BerkeleyMhad(root=str(tree))
    first = next(source.recordings())
    assert [s.placement for s in first.imu] == ["ankle_1"]
    assert len(source.camera_times(first.name)) == 0
    assert first.segments[0].end == pytest.approx(first.imu[0].times[-1])


def test_faults(tree: Path) -> None:
    path = tree / "Accelerometer" / "Shimmer01" / "acc_h01_s01_a01_r01.txt"
    good = path.read_text().splitlines()
    for at, row, message in [
        (8, "0.1 0.2 0.3", r"acc_h01_s01_a01_r01\.txt, line 9: .* has 3 fields, expected 4"),
        (8, "0.1 0.2 nan 1309539264.3", r"line 9: .* expected 4 finite numbers"),
        (
            8,
            "0.1 0.2 0.3 1309539200.0",
            r"acc_h01_s01_a01_r01\.txt: time stamps run backwards or are missing at sample 8",
        ),
    ]:
        path.write_text("\n".join([*good[:at], row, *good[at + 1 :]]) + "\n")
        with pytest.raises(RecordingError, match=message):
            next(BerkeleyMhad(root=str(tree)).recordings())
    path.write_text(good[0] + "\n")
    with pytest.raises(RecordingError, match="number of rows with samples is 1"):
        next(BerkeleyMhad(root=str(tree)).recordings())
    path.write_text("\n".join(good) + "\n")
    stamps = tree / "Time_stamps" / "time_stamps_img_s01_a01_r01.txt"
    stamps.write_text("0 1309539264.1\n1 soon\n")
    with pytest.raises(RecordingError, match=r"time_stamps_img_s01_a01_r01\.txt, line 2"):
        next(BerkeleyMhad(root=str(tree)).recordings())
    with pytest.raises(RecordingError, match="no recording 's9_a01_r01'"):
        BerkeleyMhad(root=str(tree)).camera_times("s9_a01_r01")
    write(tree, 1, "s01_a12_r01", signal(np.random.default_rng(2), 3.0))
    with pytest.raises(RecordingError, match=r"a12, expected a01 \.\. a11"):
        list(BerkeleyMhad(root=str(tree), calibrate=False).recordings(["s01"])) if stamps.unlink() is None else None
    with pytest.raises(RecordingError, match="no files Accelerometer"):
        BerkeleyMhad(root=str(tree / "Time_stamps"))
