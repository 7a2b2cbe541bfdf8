"""Native code that ends its process: a build names the recording, and the policy for errors decides.

The reader or decoder is planted (`deadly_plugin.py`, tests/runtime/deadly.py): it kills its process for given files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from imu_video.errors import ImuVideoError, RecordingError
from imu_video.modalities import video_child
from imu_video.modalities.mp4 import encode_mp4
from imu_video.registry import load_plugin
from imu_video.runtime import native
from imu_video.runtime.workers import WorkerLost
from imu_video.shards import load_index
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.left_out import read_left_out
from tests.faults.conftest import Score

pytestmark = [pytest.mark.slow, pytest.mark.faults]
PLUGIN = Path(__file__).with_name("deadly_plugin.py")
DEATHS = {"SIGSEGV": 11, "SIGABRT": 6, "SIGBUS": 7, "SIGFPE": 8}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin is loaded, and the decoder of this process is the real one again afterwards."""
    native.close()
    load_plugin(PLUGIN)
    monkeypatch.setattr(video_child, "SERVICE", "deadly")
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN.parents[1] / "runtime"))
    yield
    monkeypatch.undo()
    native.close()


def config(errors: str = "raise", **dataset: Any) -> BuildConfig:
    return BuildConfig.model_validate(
        {
            "dataset": {"name": "deadly", **dataset},
            "window": {"seconds": 1.0, "rate_hz": 20},
            "splits": {"subjects": {"train": ["s1", "s2"], "val": ["s3"]}},
            "errors": errors,
        }
    )


def made(out: Path, chosen: BuildConfig, workers: int = 2) -> int:
    """Number of windows of a build."""
    index = build(chosen, out, workers=workers, plugins=[PLUGIN])
    return sum(split.samples for split in index.splits.values())


def test_recordings_that_end_their_worker(tmp_path: Path, score: Score) -> None:
    with score("recordings that end the process that reads them: named, the others built") as case:
        for way, number in DEATHS.items():
            for listed in (True, False):
                name = f"{way}-{listed}"
                faulty: dict[str, Any] = {"deadly": ["s2-b"], "way": way, "listed": listed}
                with pytest.raises(RecordingError) as caught:
                    made(tmp_path / f"{name}-raise", config(**faulty))
                text = str(caught.value)
                case.add(f"ended by signal {number} ({way}), twice" in text and "s2" in text, f"{name}, raise: {text}")
                for errors in ("skip", "quarantine"):
                    out = tmp_path / f"{name}-{errors}"
                    windows = made(out, config(errors, **faulty))
                    (row,) = read_left_out(out)
                    right = f"ended by signal {number}" in row.reason and row.subject == "s2"
                    right &= row.recording == ("s2-b" if listed else "after s2-a") and windows == 5 * 4
                    case.add(right, f"{name}, {errors}: {windows} windows, {row}")


def test_two_recordings_and_a_death_that_does_not_repeat(tmp_path: Path, score: Score) -> None:
    with score("several deaths, and deaths that do not repeat") as case:
        windows = made(tmp_path / "two", config("skip", deadly=["s1-a", "s1-b", "s3-a"]))
        listed = [row.recording for row in read_left_out(tmp_path / "two")]
        case.add((windows, listed) == (12, ["s1-a", "s1-b", "s3-a"]), f"{windows}, {listed}")
        for way in ("SIGSEGV", "SIGKILL"):
            notes = tmp_path / f"notes-{way}"
            notes.mkdir()
            again = config(deadly=["s1-a", "s3-b"], way=way, once=str(notes))
            case.add(made(tmp_path / f"once-{way}", again) == 24, f"{way} once")
        with pytest.raises(WorkerLost) as caught:
            made(tmp_path / "killed", config("skip", deadly=["s2-a"], way="SIGKILL"))
        text = str(caught.value)
        case.add("out of memory, or killed" in text and "'s2'" in text and "'s2-a'" in text, text)


@pytest.mark.parametrize("workers", [1, 2])
def test_videos_that_end_their_decoder(workers: int, tmp_path: Path, score: Score) -> None:
    root = tmp_path / "study"
    for subject, video in (("s1", "fine"), ("s2", "fine"), ("s3", "fine")):
        folder = root / subject
        folder.mkdir(parents=True)
        rows = [f"{i / 25:.2f},0.1,{i % 7 * 0.1:.1f},9.81" for i in range(100)]
        (folder / f"{video}.csv").write_text("\n".join(["t,ax,ay,az", *rows]) + "\n")
        frames = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8)
        (folder / f"{video}.mp4").write_bytes(encode_mp4(frames, 10))
    declaration = {
        "dataset": "study",
        "licence": "CC0",
        "imu": {
            "time": {"column": "t", "unit": "s"},
            "channels": {"acc_x": "ax", "acc_y": "ay", "acc_z": "az"},
            "units": {"acc": "m/s^2"},
        },
        "placements": {"waist": None},
        "files": {"imu": "{subject}/{recording}.csv", "video": "{subject}/{recording}.mp4"},
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(declaration))
    base = {
        "dataset": {"name": "folder", "root": str(root)},
        "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16},
        "splits": {"subjects": {"train": ["s1", "s2"], "val": ["s3"]}},
    }
    whole = made(tmp_path / "whole", BuildConfig.model_validate(base), workers)
    with score(f"videos that end their decoder, {workers} workers") as case:
        for way in ("SIGSEGV", "abort", "loop"):
            for old in (root / "s2").iterdir():
                old.rename(old.with_stem(f"{way}-walk"))
            for errors in ("raise", "skip", "quarantine"):
                out = tmp_path / f"{way}-{errors}"
                chosen = BuildConfig.model_validate({**base, "errors": errors})
                try:
                    windows, text = made(out, chosen, workers), ""
                    rows = read_left_out(out)
                    case.add(
                        errors != "raise"
                        and windows == whole * 2 // 3
                        and [row.recording for row in rows] == [f"s2-{way}-walk"]
                        and "decoder ended by signal" in rows[0].reason
                        and load_index(out).build.left_out == 1,
                        f"{way}, {errors}: {windows} of {whole} windows, {rows}",
                    )
                except ImuVideoError as error:
                    text = str(error)
                    right = errors == "raise" and f"{way}-walk.mp4" in text and "decoder ended by signal" in text
                    case.add(right, f"{way}, {errors}: {text}")
