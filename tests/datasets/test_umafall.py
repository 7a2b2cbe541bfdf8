"""UMAFall on a made-up tree with the original's layout: sensor table, interleaved rows, missing sensors, dates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.umafall import UmaFall
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY

HEADER = """% Universidad de Malaga - ETSI de Telecomunicacion (Spain)
% Date: 2016-06-13_13:07:16
% Name: Subject_04
% Age: 27
% Height(cm): 173
% Gender: M

% Used Smartphone: LGE-lge-LG-H815-5.1
% MAC Address; Sensor_ID; Position; Device Model
%f8:95:c7:f3:ba:82; 0; RIGHTPOCKET; lge-LG-H815-5.1
%C4:BE:84:70:0E:80; 3; WRIST; SensorTag
%B0:B4:48:B8:77:03; 4; ANKLE; SensorTag

% TimeStamp; Sample No; X-Axis; Y-Axis; Z-Axis; Sensor Type; Sensor ID;
"""
HEADER_LINES = HEADER.count("\n")
NAME = "UMAFall_Subject_04_ADL_Jogging_1_2016-06-13_13-07-16.csv"


def rows(seconds: float = 6.0, *, wrist: int = 3) -> list[str]:
    """Phone at 200 Hz, delivered by fives; a wrist tag with all three sensors; the ankle is silent."""
    out = []
    for k in range(round(seconds * 200)):
        delivered = 100 + 5 * (k - k % 5 + 4)
        out.append((delivered, f"{delivered};{k + 1};0.1;0.95;-0.1;0;0"))
    for k in range(round(seconds * 20)):
        stamp = 120 + 50 * k
        out.append((stamp, f"{stamp};{k};0;0;-1;0;{wrist}"))
        out.append((stamp + 2, f"{stamp + 2};{k + 1};90;0;-180;1;{wrist}"))
        out.append((stamp + 3, f"{stamp + 3};{k + 1};40;1;2;2;{wrist}"))
    return [text for _, text in sorted(out, key=lambda pair: pair[0])]


def write(folder: Path, name: str, body: list[str], header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(header + "\n".join(body) + "\n", encoding="latin-1")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "UMAFall_Dataset"
    write(folder, NAME, rows())
    write(folder, "UMAFall_Subject_18_ADL_Walking_2_2016-11-27_14-09-19.csv", rows())
    write(folder, "UMAFall_Subject_18_ADL_Walking_1_2016-05-29_14-09-19.csv", rows())
    write(folder, "UMAFall_Subject_18_Fall_forwardFall_1_2016-05-29_15-00-00.csv", rows())
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "umafall", "root": str(tree)})
    source = datasets.build({"name": "umafall", "root": str(tree)})
    assert source.subjects() == ["s04", "s18"]
    recordings = list(source.recordings())
    assert [(r.name, r.session, r.segments[0].label) for r in recordings] == [
        ("s04_jogging_1_2016-06-13_13-07-16", "2016-06-13", "jogging"),
        ("s18_walking_1_2016-05-29_14-09-19", "2016-05-29", "walking"),
        ("s18_walking_2_2016-11-27_14-09-19", "2016-11-27", "walking"),
        ("s18_fall_forward_1_2016-05-29_15-00-00", "2016-05-29", "fall_forward"),
    ]
    first = recordings[0]
    assert first.tags == {"age": "27", "sex": "m"}
    pocket, wrist = first.imu  # the ankle is listed and has no rows
    assert (pocket.placement, wrist.placement) == ("right_pocket", "wrist")
    assert pocket.channels == ("acc_x", "acc_y", "acc_z")
    np.testing.assert_allclose(pocket.values[:, 0], np.array([0.1, 0.95, -0.1]) * GRAVITY)
    assert np.diff(pocket.times).min() == pytest.approx(0.985 / 200)
    assert np.diff(pocket.times).max() < 0.006
    np.testing.assert_allclose(wrist.values[:, 5], [0, 0, -GRAVITY, np.pi / 2, 0, -np.pi])
    assert wrist.values.shape == (6, 120)
    assert first.segments[0].start == pytest.approx(min(pocket.times[0], wrist.times[0]))


def test_sensor_ids_come_from_the_header(tree: Path) -> None:
    header = HEADER.replace("; 3; WRIST", "; 7; WRIST")
    write(tree / "UMAFall_Dataset", NAME, rows(wrist=7), header)
    assert [s.placement for s in next(UmaFall(root=str(tree)).recordings()).imu] == ["right_pocket", "wrist"]


def test_a_lost_stretch_and_a_lost_gyroscope_row(tree: Path) -> None:
    body = [r for r in rows() if not (r.endswith(";3") and 2000 < int(r.split(";")[0]) < 2400)]
    body = [r for r in body if not r.startswith("5122;")]  # one gyroscope row
    write(tree / "UMAFall_Dataset", NAME, body)
    wrist = next(UmaFall(root=str(tree)).recordings()).imu[1]
    acc, gyr = (np.flatnonzero(np.isfinite(wrist.values[c])) for c in (0, 3))
    assert len(acc) == len(gyr) + 1
    assert np.diff(wrist.times[acc]).max() == pytest.approx(0.45, abs=0.01)


def test_faults(tree: Path) -> None:
    folder = tree / "UMAFall_Dataset"
    good = rows()
    for at, row, message in [
        (9, "195;10;1.012.598;0.9;0.1;0;0", rf"{NAME}, line {HEADER_LINES + 10}: .* expected 7 finite numbers"),
        (9, "195;10;0.1;0.9;0.1;0", rf"line {HEADER_LINES + 10}: .* has 6 fields, expected 7"),
        (9, "195;10;0.1;0.9;0.1;0;9", rf"line {HEADER_LINES + 10}: sensor 9 is not in the header's table.*\[0, 3, 4\]"),
        (9, "5;10;0.1;0.9;0.1;0;0", r"sensor 0 \(right_pocket\): time stamps run backwards"),
    ]:
        write(folder, NAME, [*good[:at], row, *good[at + 1 :]])
        with pytest.raises(RecordingError, match=message):
            next(UmaFall(root=str(tree)).recordings())
    write(folder, NAME, good, HEADER.replace("WRIST", "NOSE"))
    with pytest.raises(RecordingError, match=r"line 11: position 'NOSE', expected one of RIGHTPOCKET"):
        next(UmaFall(root=str(tree)).recordings())
    write(folder, NAME, [])
    with pytest.raises(RecordingError, match="no rows"):
        next(UmaFall(root=str(tree)).recordings())
    source = UmaFall(root=str(tree))
    (folder / NAME).unlink()
    with pytest.raises(RecordingError, match="No such file"):
        next(source.recordings())
    write(folder, NAME.replace("Jogging", "Juggling"), good)
    with pytest.raises(RecordingError, match="contains no known activity"):
        UmaFall(root=str(tree))
    with pytest.raises(RecordingError, match="no files UMAFall_Subject"):
        UmaFall(root=str(tree.parent))
