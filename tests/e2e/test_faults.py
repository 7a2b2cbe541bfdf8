"""Inputs of users that were once read wrongly: the folders of ../shared/faults, built by `imu-video build` as they are.

Each case of `CASES` is one folder. The tests build a copy of it in this process and assert what its `repro.sh` expects.
They are skipped where the folders are absent; small inputs of the same kinds are tested beside the code of each part.
A further case is a function named ``case_NN_...`` with the decorator ``@case("NN-folder")``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from imu_video.cli.app import app
from imu_video.errors import ImuVideoError, RecordingError
from imu_video.modalities import decode_mp4
from imu_video.shards import load_index, read_samples
from imu_video.shards.reading.pipeline import Sample
from imu_video.shards.schema import Index

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(os.environ.get("IMU_VIDEO_DATA", ROOT.parent / "shared" / "data")).parent / "faults"


@dataclass(frozen=True)
class Outcome:
    """What `imu-video build build.yaml out` did in a copy of a folder.

    Args:
        folder: the copy.
        error: the error that ended the command, or None.
        output: lines that it printed.
    """

    folder: Path
    error: ImuVideoError | None
    output: str

    @property
    def index(self) -> Index:
        """The finished data folder; fails with the error of a build that did not finish."""
        assert self.error is None, self.error
        return load_index(self.folder / "out")

    def samples(self) -> list[Sample]:
        """The samples of all splits, ordered by start."""
        index = self.index
        found = [sample for split in index.splits for sample in read_samples(index, split)]
        return sorted(found, key=lambda sample: (sample.meta["subject"], sample.meta["start"]))


Check = Callable[[Outcome], None]
CASES: dict[str, Check] = {}


def case(name: str) -> Callable[[Check], Check]:
    """Register the expectation of one folder."""

    def register(check: Check) -> Check:
        CASES[name] = check
        return check

    return register


def build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Build a folder in this process; any exception but one of ours escapes."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["build", "build.yaml", "out"])
    error = done.exception
    if error is not None and not isinstance(error, (ImuVideoError, SystemExit)):
        raise error
    return Outcome(folder, error if isinstance(error, ImuVideoError) else None, done.output)


@pytest.fixture(scope="module")
def faults() -> Path:
    if not FAULTS.is_dir():
        pytest.skip(f"no folders of faulty inputs at {FAULTS}, expected beside $IMU_VIDEO_DATA")
    return FAULTS


def copied(folder: Path, to: Path) -> Path:
    """A copy that may be written to: the original may be read-only, and a build writes beside its config."""
    shutil.copytree(folder, to, copy_function=shutil.copyfile)
    for directory in [to, *(path for path in to.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)
    return to


# -------------------------------------------------------------------------------------------- pictures and their times


def picture_time(frame: np.ndarray) -> float:
    """The time in seconds that a picture carries: 4 x 4 bits of milliseconds in its lower left quarter."""
    half = min(frame.shape[:2]) // 2
    block = half / 4
    value = 0
    for bit in range(16):
        row, column = divmod(bit, 4)
        y, x = half + int((row + 0.5) * block), int((column + 0.5) * block)
        value |= int(frame[y - 1 : y + 2, x - 1 : x + 2].mean() > 125) << bit
    return value / 1000


def picture_errors(outcome: Outcome, *, first: float = 0.0) -> list[float | None]:
    """Per sample the largest |time of the picture - time wanted| in seconds; None without a clip.

    Args:
        outcome: a finished build.
        first: time of picture 0 on the clock of the IMU, in seconds.
    """
    fps = outcome.index.streams["video"].fps
    assert fps is not None
    errors: list[float | None] = []
    for sample in outcome.samples():
        clip = sample.streams.get("video")
        if clip is None:
            errors.append(None)
            continue
        wanted = sample.meta["start"] - first + np.arange(len(decode_mp4(clip))) / fps
        errors.append(float(np.abs([picture_time(f) for f in decode_mp4(clip)] - wanted).max()))
    return errors


# ------------------------------------------------------------------------------------------------- units and gravity


@case("26-user-acceleration-hint")
def case_26_gravity_removed(outcome: Outcome) -> None:
    assert outcome.error is not None
    assert "its mean over a second is only 0.00807 g" in outcome.error.message
    hint = str(outcome.error.hint)
    assert "gravity has been removed" in hint
    assert "gravity: removed" in hint
    assert not re.search(r"look like|declare (that )?unit|declare m?g\b", hint)
    # The hint, obeyed: the values stay what they were, and the index says that gravity has been removed.
    declaration = outcome.folder / "dataset.yaml"
    declaration.write_text(declaration.read_text().replace("imu:\n", "imu:\n  gravity: removed\n"))
    assert CliRunner().invoke(app, ["build", "build.yaml", "out"]).exception is None
    obeyed = Outcome(outcome.folder, None, "")
    assert obeyed.index.gravity == "removed"
    table = np.loadtxt(outcome.folder / "s01" / "walk.csv", delimiter=",", skiprows=1)
    built = np.concatenate([sample.imu["waist"][:3] for sample in obeyed.samples()], axis=1)
    np.testing.assert_allclose(built, table[: built.shape[1], 1:4].T, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- clocks


def clock_row(outcome: Outcome) -> dict[str, Any]:
    """The only repair of a clock in the quality report."""
    (row,) = json.loads((outcome.index.root / "quality.json").read_text(encoding="utf-8"))["clocks"]
    return dict(row)


@case("27-whole-second-stamps-repaired")
def case_27_whole_seconds(outcome: Outcome) -> None:
    row = clock_row(outcome)
    assert (row["model"], row["tick_s"], row["lost"], row["excess_s"]) == ("ticks", 1.0, 0, 0.0)
    assert row["period_s"] == pytest.approx(1 / 30)
    assert [sample.meta["start"] for sample in outcome.samples()] == [1711000000.0 + 2 * k for k in range(10)]
    errors = picture_errors(outcome, first=1711000000.0)
    assert max(error for error in errors if error is not None) < 0.001
    assert None not in errors


@case("28-radio-packets-of-1.28-s")
def case_28_long_packets(outcome: Outcome) -> None:
    row = clock_row(outcome)
    assert (row["model"], row["batch_samples"], row["lost"], row["jumps"]) == ("packets", 64, 0, 0)
    assert row["period_s"] == pytest.approx(0.02, rel=1e-5)
    samples = outcome.samples()
    assert len(samples) == 5  # 512 samples at 50 Hz are 10.24 s, windows of 2 s
    assert all(np.isfinite(values).all() for sample in samples for values in sample.imu.values())


# ------------------------------------------------------------------------------------------------ builds and their data


@case("32-one-damaged-video-of-three")
def case_32_one_damaged_video_of_three(outcome: Outcome) -> None:
    assert isinstance(outcome.error, RecordingError)
    assert "s03/walk.mp4" in str(outcome.error)
    assert "--errors skip" in str(outcome.error.hint)
    assert sorted(path.name[:3] for path in (outcome.folder / "out.partial").glob("s0*.tar")) == ["s01", "s02"]
    done = CliRunner().invoke(app, ["build", "build.yaml", "out", "--errors", "skip"])
    assert done.exit_code == 0, done.output
    index = load_index(outcome.folder / "out")
    assert (index.split("train").subjects, index.build.left_out) == (("s01", "s02"), 1)
    assert "recordings left out (1)" in done.output


# -------------------------------------------------------------------------------------------------------------- videos


def errors_of_pictures(outcome: Outcome) -> list[list[float] | None]:
    """Seconds by which each picture of each window misses its time; None for a window without a clip."""
    found: list[list[float] | None] = []
    for sample in outcome.samples():
        clip = sample.video
        fps = outcome.index.clip.fps if outcome.index.clip else 0.0
        times = None if clip is None else [time_in(frame) for frame in decode_mp4(clip)]
        found.append(None if times is None else [t - sample.meta["start"] - i / fps for i, t in enumerate(times)])
    return found


def time_in(frame: np.ndarray) -> float:
    """The time that a picture carries in its lower right quarter: 4 x 4 bits, milliseconds."""
    half = min(frame.shape[:2]) // 2
    block = half / 4
    rows, columns = (np.array([int((k + 0.5) * block) for k in range(4)]) for _ in range(2))
    patches = [[frame[half + r - 1 : half + r + 2, c - 1 : c + 2].mean() for c in columns] for r in rows]
    return float(((np.array(patches).ravel() > 125) << np.arange(16)).sum()) / 1000


@case("01-hevc-closed-gop-b-frames")
@case("03-mpeg4-b-frames")
def case_every_picture_at_its_time(outcome: Outcome) -> None:
    np.testing.assert_allclose(errors_of_pictures(outcome), 0, atol=1e-9)


@case("05-trimmed-phone-video")
def case_05_trimmed_phone_video(outcome: Outcome) -> None:
    first, *others = errors_of_pictures(outcome)
    assert first is None
    np.testing.assert_allclose(others, 0, atol=1e-9)


# ------------------------------------------------------------------------------------------ files of devices and apps


@case("36-gopro-without-gyro")
def case_36_gopro_without_gyro(outcome: Outcome) -> None:
    original = FAULTS.parent / "data" / "gopro-gpmf" / "karma.mp4"
    if not original.is_file():
        pytest.skip(f"no clip at {original}")
    (outcome.folder / "clips").mkdir()
    (outcome.folder / "clips" / "GH010011.MP4").write_bytes(original.read_bytes().replace(b"GYRO", b"GYRX"))
    (outcome.folder / "build.yaml").write_text(
        "dataset: {name: gopro, root: clips}\nsplits: {fractions: {train: 1.0}}\n"
        "window: {seconds: 2.0, rate_hz: 50, clip_fps: 3, clip_size: 64}\n"
    )
    done = CliRunner().invoke(app, ["build", "build.yaml", "out"])
    assert done.exit_code == 0, done.output
    samples = Outcome(outcome.folder, None, done.output).samples()
    assert len(samples) == 6
    for sample in samples:
        assert np.isfinite(sample.imu["camera"]).all(axis=1).tolist() == [True] * 3 + [False] * 3
        assert np.median(np.linalg.norm(sample.imu["camera"][:3], axis=0)) == pytest.approx(9.8, abs=0.5)


# ----------------------------------------------------------------------------------------- files of a user's folder


@case("22-file-names-with-spaces-and-dots")
def case_22_names(outcome: Outcome) -> None:
    names = {sample.meta["recording"] for sample in outcome.samples()}
    hip = "s01-wash_hand__Hip_2023-04-10T15_44_57_873"
    assert names == {"s01-walk", "s01-walk_2", hip, "s02-walk", "Zaneta-walk"}
    assert {sample.meta["subject"] for sample in outcome.samples()} == {"s01", "s02", "Žaneta"}


@case("24-two-people-one-name")
def case_24_two_people(outcome: Outcome) -> None:
    assert outcome.error is not None
    assert "p1/2-walk.csv" in outcome.error.message
    assert "p1-2/walk.csv" in outcome.error.message


@case("30-labels-beside-the-imu-file")
def case_30_labels(outcome: Outcome) -> None:
    assert {sample.meta["recording"] for sample in outcome.samples()} == {"s01-walk"}
    assert [sample.meta["label"] for sample in outcome.samples()] == ["walk", "walk", "run", "run", "run"]


@case("06-video-and-imu-never-overlap")
def case_06_no_overlap(outcome: Outcome) -> None:
    assert outcome.error is not None
    assert "2024-09-29 08:53:20" in outcome.error.message
    assert "0 s to 10 s" in outcome.error.message
    assert "counts from 1970" in outcome.error.message
    assert "offset_s: 1727600000" in str(outcome.error.hint)


@case("08-labels-in-milliseconds")
def case_08_milliseconds(outcome: Outcome) -> None:
    assert outcome.error is not None
    assert "walk.lab.csv" in outcome.error.message
    assert "1000 times too large" in outcome.error.message
    assert "label_files: {unit: ...}" in str(outcome.error.hint)


# -------------------------------------------------------------------------------------------- tables, labels and text


def labels_of(outcome: Outcome) -> list[str]:
    return [sample.meta["label"] for sample in outcome.samples()]


def message_of(outcome: Outcome) -> str:
    """The error of the build, which is one about its recordings and fits on a few lines."""
    assert isinstance(outcome.error, RecordingError), outcome.error
    assert outcome.error.hint
    assert len(str(outcome.error)) < 500
    return str(outcome.error)


@case("10-parquet-time-is-index")
def case_10_parquet_index(outcome: Outcome) -> None:
    samples = outcome.samples()
    assert len(samples) == 5
    assert all(np.isfinite(sample.imu["waist"]).all() for sample in samples)


@case("12-iso-year-one")
def case_12_clock_not_set(outcome: Outcome) -> None:
    message = message_of(outcome)
    assert "s01/walk.csv, line 2: time 't' is '0001-01-01" in message
    assert "the clock of the device was not set" in message


@case("14-row-with-one-more-field")
def case_14_one_more_field(outcome: Outcome) -> None:
    assert "8 fields, expected 7 (t, ax, ay, az, gx, gy, gz)" in message_of(outcome)


@case("16-rows-joined-by-comma")
def case_16_joined_rows(outcome: Outcome) -> None:
    message = message_of(outcome)
    assert "14 fields, expected 7" in message
    assert "if two rows are joined, divide them" in message


@case("17-label-with-unquoted-comma")
def case_17_comma_in_label(outcome: Outcome) -> None:
    message = message_of(outcome)
    assert "walk.lab.csv, line 3: 4 fields, expected 3 (start, end, label)" in message
    assert "quotation marks" in message


@case("18-label-null")
def case_18_label_null(outcome: Outcome) -> None:
    assert "null" in labels_of(outcome)


@case("20-empty-label")
def case_20_empty_label(outcome: Outcome) -> None:
    assert "the label 'label' is empty" in message_of(outcome)


@case("21-recording-without-any-label")
def case_21_no_labels(outcome: Outcome) -> None:
    labels = labels_of(outcome)
    assert labels
    assert set(labels) == {None}


@case("31-two-columns-without-a-name")
def case_31_nameless_columns(outcome: Outcome) -> None:
    assert all(np.isfinite(sample.imu["waist"]).all() for sample in outcome.samples())


@case("33-utf16-and-latin1")
def case_33_encodings(outcome: Outcome) -> None:
    """The file is refused with a remedy, and read once that is obeyed."""
    message = message_of(outcome)
    assert "the file is UTF-16 text, expected UTF-8" in message
    assert "declare `encoding: utf-16`" in message
    declaration = outcome.folder / "dataset.yaml"
    declaration.write_text(declaration.read_text().replace("imu:\n", "imu:\n  encoding: utf-16\n", 1))
    done = CliRunner().invoke(app, ["build", "build.yaml", "out"])
    assert done.exit_code == 0, done.output
    assert all(np.isfinite(s.imu["waist"]).all() for s in Outcome(outcome.folder, None, done.output).samples())


@case("34-nul-bytes-at-the-end")
def case_34_nul_bytes(outcome: Outcome) -> None:
    message = message_of(outcome)
    assert "NUL bytes at the end of the file" in message
    assert "\\x00" not in message


@pytest.mark.slow
def test_check_passes_exactly_where_a_build_passes(
    faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    for folder in sorted(path.parent for path in faults.glob("*/build.yaml")):
        here = copied(folder, tmp_path / folder.name)
        monkeypatch.chdir(here)
        before = sorted(here.rglob("*"))
        checked = CliRunner().invoke(app, ["check", ".", "build.yaml", "--json"])
        assert sorted(here.rglob("*")) == before
        seen[folder.name] = (checked.exit_code == 0, build(here, monkeypatch).error is None)
    assert len(seen) > 15
    assert {name for name, (checked, built) in seen.items() if checked != built} == set()


def test_damaged_videos_do_not_end_the_process(faults: Path) -> None:
    """Case 40, in a process of its own: both files ended it by a signal, in the decoder."""
    code = (
        "import sys; from imu_video.errors import ShardError; from imu_video.shards import decode_mp4\n"
        "for path in sys.argv[1:]:\n"
        "    try: print(decode_mp4(open(path, 'rb').read()).shape)\n"
        "    except ShardError as error: print(error)\n"
    )
    folder = faults / "40-damaged-video-kills-the-process"
    files = [str(folder / f"crash_{name}.mp4") for name in ("segv", "abort")]
    done = subprocess.run([sys.executable, "-P", "-c", code, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the file is cut off: it lists 12 frames and holds 0" in done.stdout
    assert "its tables are damaged: they list 2147483647 frames in 22473 bytes" in done.stdout


# --------------------------------------------------------------------------------- all cases; nothing may stand below


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (faults / name).is_dir():
        pytest.skip(f"no folder {name} at {faults}")
    CASES[name](build(copied(faults / name, tmp_path / name), monkeypatch))
