"""UCI HAPT on a made-up tree with the original's layout, and a look at the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.hapt import Hapt
from imu_video.errors import ConfigError, RecordingError
from imu_video.registry import datasets
from imu_video.types import GRAVITY

LABELS = """1 1 5 1 50
1 1 7 51 80
1 1 1 81 200
3 2 6 10 100
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    raw = tmp_path / "RawData"
    raw.mkdir()
    rng = np.random.default_rng(0)
    for experiment, user in [(1, 1), (2, 1), (3, 2)]:
        acc = rng.normal([1, 0, 0], 0.01, (300, 3))
        np.savetxt(raw / f"acc_exp{experiment:02d}_user{user:02d}.txt", acc)
        np.savetxt(raw / f"gyro_exp{experiment:02d}_user{user:02d}.txt", rng.normal(0, 0.5, (300, 3)))
    (raw / "labels.txt").write_text(LABELS)
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    source = datasets.build({"name": "hapt", "root": str(tree)})
    assert source.subjects() == ["user01", "user02"]
    recordings = list(source.recordings())
    assert [(r.name, r.subject, r.session) for r in recordings] == [
        ("exp01_user01", "user01", "1"),
        ("exp02_user01", "user01", "2"),
        ("exp03_user02", "user02", "1"),
    ]
    stream = recordings[0].imu[0]
    assert stream.placement == "waist"
    assert stream.times[-1] == pytest.approx(299 / 50)
    assert stream.values[0].mean() == pytest.approx(GRAVITY, rel=0.01)
    assert stream.values[3:].std() == pytest.approx(0.5, rel=0.1)
    assert [(s.label, s.start, s.end) for s in recordings[0].segments] == [
        ("standing", 0.0, 1.0),
        ("walking", 1.6, 4.0),
    ]
    assert recordings[1].segments == ()
    assert [r.name for r in source.recordings(["user02"])] == ["exp03_user02"]


def test_transitions_on_request_and_raw_folder_itself(tree: Path) -> None:
    source = Hapt(root=str(tree / "RawData"), transitions=True)
    assert [s.label for s in next(source.recordings()).segments] == ["standing", "stand_to_sit", "walking"]


def test_faults(tree: Path, tmp_path: Path) -> None:
    raw = tree / "RawData"
    with pytest.raises(ConfigError, match="no subject 'user1'; did you mean 'user01'"):
        next(Hapt(root=str(tree)).recordings(["user1"]))
    (raw / "labels.txt").write_text("1 1 5 1 50\n1 1 13 51 80\n")
    with pytest.raises(RecordingError, match=r"labels\.txt, line 2: activity 13"):
        next(Hapt(root=str(tree)).recordings())
    (raw / "labels.txt").write_text("1 1 five 1 50\n")
    with pytest.raises(RecordingError, match=r"labels\.txt, line 1: .1 1 five 1 50. has 5 fields"):
        next(Hapt(root=str(tree)).recordings())
    (raw / "labels.txt").write_text(LABELS)
    np.savetxt(raw / "gyro_exp01_user01.txt", np.zeros((299, 3)))
    with pytest.raises(RecordingError, match="300 acceleration and 299 gyroscope rows"):
        next(Hapt(root=str(tree)).recordings())
    (raw / "gyro_exp01_user01.txt").unlink()
    with pytest.raises(RecordingError, match=r"gyro_exp01_user01\.txt: no such file"):
        next(Hapt(root=str(tree)).recordings())


def test_an_archive_is_named_with_the_command_that_extracts_it(tmp_path: Path) -> None:
    (tmp_path / "HAPT_RawData.tar.xz").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"tar -xf .*HAPT_RawData\.tar\.xz"):
        Hapt(root=str(tmp_path))


@pytest.mark.realdata
def test_real_tree(real_data_unpacked: Callable[[str], Path]) -> None:
    source = Hapt(root=str(real_data_unpacked("uci-hapt")))
    assert len(source.subjects()) == 30
    assert len(source._experiments) == 61
    recordings = list(source.recordings(["user01", "user17"]))
    assert len(recordings) == 4
    for recording in recordings:
        values = recording.imu[0].values
        assert np.median(np.linalg.norm(values[:3], axis=0)) == pytest.approx(GRAVITY, rel=0.05)
        assert {s.label for s in recording.segments} <= set(source.labels[:6])
        assert max(s.end for s in recording.segments) <= recording.imu[0].times[-1] + 1
        walking = [s for s in recording.segments if s.label == "walking"]
        lying = [s for s in recording.segments if s.label == "laying"]
        upright = np.concatenate([values[0, round(s.start * 50) : round(s.end * 50)] for s in walking])
        flat = np.concatenate([values[0, round(s.start * 50) : round(s.end * 50)] for s in lying])
        assert upright.mean() > 8 > abs(flat.mean()) + 3  # labels lie where they belong
