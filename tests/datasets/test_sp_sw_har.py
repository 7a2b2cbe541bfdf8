"""SP-SW-HAR on a made-up tree with the original's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.sp_sw_har import SpSwHar
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset

HEADER = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
START_MS = 1657533977810


def lines(rate: float, *, first_ms: int = START_MS, bunch: int = 1) -> list[str]:
    """Four seconds, half SEATED, half STANDING_UP; stamps repeat in groups of ``bunch`` as if delivered together."""
    taken = np.arange(round(4 * rate)) / rate
    arrived = np.floor(first_ms + 1000 * taken).astype(int)
    for k in range(0, len(arrived) - bunch, bunch):
        arrived[k : k + bunch] = arrived[k + bunch - 1]
    labels = ["SEATED" if t < 2 else "STANDING_UP" for t in taken]
    return [
        HEADER,
        *(f"0.1,9.8,{k % 100 / 100},0.5,-0.5,0,{t},{a}" for k, (t, a) in enumerate(zip(arrived, labels, strict=True))),
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    data = tmp_path / "DATA"
    data.mkdir()
    (data / "subjects_info.csv").write_text(
        "subject_id,age,gender,height,weight,dominant_hand,executions\ns01,54,M,190,83,R,2\ns02,31,F,171,71,L,1\n"
    )
    (data / "executions_info.csv").write_text(
        "execution_id,orientation,first_turn,second_turn\ns01_01,back_inv,l,r\ns01_02,front,r,r\ns02_01,back,l,l\n"
    )
    for execution in ("s01_01", "s01_02", "s02_01"):
        folder = data / execution[:3]
        folder.mkdir(exist_ok=True)
        (folder / f"{execution}_sp.csv").write_text("\n".join(lines(102.5, first_ms=START_MS + 300, bunch=4)) + "\n")
        (folder / f"{execution}_sw.csv").write_text("\n".join(lines(104.3)) + "\n")
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "sp_sw_har", "root": str(tree)})
    source = datasets.build({"name": "sp_sw_har", "root": str(tree / "DATA")})
    assert source.subjects() == ["s01", "s02"]
    recordings = list(source.recordings())
    assert [r.name for r in recordings] == ["s01_01", "s01_02", "s02_01"]
    first = recordings[0]
    assert first.tags == {"phone_orientation": "back_inv", "age": "54", "sex": "m", "dominant_hand": "r"}
    phone, watch = first.imu
    assert (phone.placement, watch.placement) == ("pocket", "wrist")
    assert phone.values[:, 3].tolist() == [0.1, 9.8, 0.03, 0.5, -0.5, 0.0]
    # One clock for both; bunches of four are spread over the 39 ms that they took.
    assert watch.times[0] == pytest.approx(0, abs=0.002)
    assert phone.times[0] == pytest.approx(0.3, abs=0.012)
    assert np.diff(phone.times).max() < 1.3 / 102.5
    assert [(s.label, round(s.start, 1), round(s.end, 1)) for s in first.segments] == [
        ("seated", 0.0, 2.0),
        ("standing_up", 2.0, 4.0),
    ]


def test_faults(tree: Path) -> None:
    path = tree / "DATA" / "s01" / "s01_01_sw.csv"
    good = lines(104.3)
    source = SpSwHar(root=str(tree))
    for at, row, message in [
        (5, good[5].replace("9.8", "?"), r"s01_01_sw\.csv, line 6: 'y_acc' is '\?', expected a number"),
        (5, good[5].replace(good[5].split(",")[6], ""), r"line 6: time 'timestamp' is empty"),
        (
            5,
            good[5].replace(good[5].split(",")[6], str(START_MS - 50)),
            r"line 6: the clock runs backwards by 0\.0\d+ s",
        ),
        (5, good[5].replace("SEATED", "FLYING"), r"line 6: label 'flying', expected one of"),
        (0, HEADER.replace("z_gyro", "gyro_z"), r"s01_01_sw\.csv: no column 'z_gyro'; did you mean 'y_gyro'"),
    ]:
        broken = list(good)
        broken[at] = row
        path.write_text("\n".join(broken) + "\n")
        with pytest.raises(RecordingError, match=message):
            next(source.recordings())
    path.write_text("\n".join(good) + "\n")
    (tree / "DATA" / "s01" / "s01_01_sp.csv").unlink()
    with pytest.raises(RecordingError, match=r"s01_01_sp\.csv: no such file"):
        next(source.recordings())
    (tree / "DATA" / "executions_info.csv").write_text("execution_id,orientation\ns01_02,back\n")
    with pytest.raises(RecordingError, match=r"executions_info\.csv: has no row of s01_01"):
        next(SpSwHar(root=str(tree)).recordings())
    (tree / "DATA" / "subjects_info.csv").unlink()
    with pytest.raises(RecordingError, match=r"subjects_info\.csv: no such file"):
        SpSwHar(root=str(tree))
