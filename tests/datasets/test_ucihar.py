"""UCI HAR's "Inertial Signals" on a made-up tree: windows become signals again, without a sample twice or lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.ucihar import UciHar
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY

NAMES = [f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]


def write(root: Path, part: str, stretches: list[tuple[int, int, np.ndarray]]) -> None:
    """Write (subject, activity, signal (9, T)) as windows of 128 every 64, the nine files and two columns."""
    folder = root / "UCI HAR Dataset" / part
    (folder / "Inertial Signals").mkdir(parents=True, exist_ok=True)
    windows, subjects, activities = [], [], []
    for subject, activity, signal in stretches:
        for first in range(0, signal.shape[1] - 127, 64):
            windows.append(signal[:, first : first + 128])
            subjects.append(subject)
            activities.append(activity)
    for row, name in enumerate(NAMES):
        np.savetxt(folder / "Inertial Signals" / f"{name}_{part}.txt", np.stack([w[row] for w in windows]), "%.7e")
    np.savetxt(folder / f"subject_{part}.txt", subjects, "%d")
    np.savetxt(folder / f"y_{part}.txt", activities, "%d")


def signal(rng: np.random.Generator, samples: int) -> np.ndarray:
    out = rng.normal(0, 0.1, (9, samples))
    out[6:] = out[:3] + np.array([[1.0], [0.0], [0.0]])
    return out


@pytest.fixture
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"a": signal(rng, 320), "b": signal(rng, 200), "c": signal(rng, 128), "d": signal(rng, 256)}


@pytest.fixture
def tree(tmp_path: Path, made: dict[str, np.ndarray]) -> Path:
    write(tmp_path, "train", [(1, 5, made["a"]), (1, 1, made["b"]), (3, 6, made["c"])])
    write(tmp_path, "test", [(2, 2, made["d"])])
    return tmp_path


def test_made_up_tree(tree: Path, made: dict[str, np.ndarray]) -> None:
    check_dataset({"name": "ucihar", "root": str(tree)})
    source = datasets.build({"name": "ucihar", "root": str(tree)})
    assert source.subjects() == ["s01", "s02", "s03"]
    recordings = list(source.recordings())
    assert [(r.name, r.subject, r.tags["part"]) for r in recordings] == [
        ("train_s01_00000", "s01", "train"),
        ("train_s01_00004", "s01", "train"),
        ("train_s03_00006", "s03", "train"),
        ("test_s02_00000", "s02", "test"),
    ]
    first = recordings[0].imu[0]
    np.testing.assert_allclose(first.values[:3], made["a"][6:] * GRAVITY, atol=1e-6)
    np.testing.assert_allclose(first.values[3:], made["a"][3:6], atol=1e-6)
    np.testing.assert_allclose(first.times, np.arange(320) / 50)
    assert recordings[1].imu[0].values.shape == (6, 192)  # 200 samples hold two windows
    assert [[(s.label, s.start, s.end) for s in r.segments] for r in recordings[:2]] == [
        [("standing", 0.0, 6.4)],
        [("walking", 0.0, 3.84)],
    ]
    test_only = UciHar(root=str(tree / "UCI HAR Dataset"), parts=["test"])
    assert test_only.subjects() == ["s02"]
    assert [r.name for r in test_only.recordings(["s02"])] == ["test_s02_00000"]


def test_two_activities_in_one_stretch_share_the_boundary(tmp_path: Path, made: dict[str, np.ndarray]) -> None:
    write(tmp_path, "train", [(1, 5, made["a"])])
    path = tmp_path / "UCI HAR Dataset" / "train" / "y_train.txt"
    path.write_text("5\n5\n4\n4\n")
    (only,) = UciHar(root=str(tmp_path), parts=["train"]).recordings()
    assert [(s.label, s.start, s.end) for s in only.segments] == [("standing", 0.0, 2.56), ("sitting", 2.56, 6.4)]


def test_faults(tree: Path) -> None:
    train = tree / "UCI HAR Dataset" / "train"
    path = train / "Inertial Signals" / "total_acc_y_train.txt"
    good = path.read_text()
    lines = good.splitlines()
    for text, message in [
        ("\n".join([*lines[:2], lines[2] + " 1", *lines[3:]]), r"total_acc_y_train\.txt, line 3: .* has 129 fields"),
        (good.replace(lines[1].split()[100], "NaN", 1), r"total_acc_y_train\.txt, line 2: .* expected 128 finite"),
        ("\n".join(lines[:-1]), r"total_acc_y_train\.txt: 6 rows, but the part has 7 windows"),
    ]:
        path.write_text(text + "\n")
        with pytest.raises(RecordingError, match=message):
            next(UciHar(root=str(tree)).recordings())
    path.unlink()
    with pytest.raises(RecordingError, match=r"total_acc_y_train\.txt: no such file"):
        next(UciHar(root=str(tree)).recordings())
    path.write_text(good)
    (train / "y_train.txt").write_text("5\n5\n7\n5\n1\n1\n6\n")
    with pytest.raises(RecordingError, match=r"y_train\.txt, line 3: activity 7, expected 1 \.\. 6"):
        next(UciHar(root=str(tree)).recordings())
    (train / "subject_train.txt").write_text("1\n1\n1\n1\n1\n1\n2\n")
    with pytest.raises(RecordingError, match="subject 2 is in train and in test"):
        UciHar(root=str(tree))
    (train / "subject_train.txt").write_text("1\n0\n")
    with pytest.raises(RecordingError, match=r"subject_train\.txt, line 2: subject 0"):
        UciHar(root=str(tree))
    (train / "subject_train.txt").unlink()
    with pytest.raises(RecordingError, match=r"subject_train\.txt: no such file"):
        UciHar(root=str(tree))
