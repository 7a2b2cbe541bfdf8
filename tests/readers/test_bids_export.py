"""BIDS-Motion out and in again: recordings come back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imu_video.cli.app import app
from imu_video.datasets.layout import stream
from imu_video.errors import ConfigError, RecordingError
from imu_video.readers import BidsMotion, write_bids
from imu_video.types import ImuStream, Recording, Segment

START = 1_580_560_205.25


def recording(name: str = "walk", subject: str = "s_01", start: float = START, **tags: str) -> Recording:
    rng = np.random.default_rng(0)
    times = start + np.cumsum(rng.uniform(0.018, 0.022, 200))
    values = rng.normal(size=(6, 200))
    values[3:, 50] = np.nan
    return Recording(
        dataset="own",
        subject=subject,
        name=name,
        imu=(
            ImuStream(placement="left_wrist", times=times, values=values),
            ImuStream(placement="pocket", times=times + 0.7, values=values[:3], channels=("acc_x", "acc_y", "acc_z")),
        ),
        segments=(Segment(start=start + 1, end=start + 2.5, label="walk, fast"),),
        tags=tags,
    )


def motion_files(root: Path) -> dict[str, Path]:
    return {p.name.split("tracksys-")[1].split("_")[0]: p for p in sorted(root.rglob("*_motion.tsv"))}


@pytest.mark.parametrize("start", [START, 0.0])
def test_a_recording_comes_back(tmp_path: Path, start: float) -> None:
    before = recording(start=start, age="70")
    assert write_bids([before], tmp_path / "bids", name="Own", task="daily activities") == 1
    files = motion_files(tmp_path / "bids")
    readings = {placement: BidsMotion().read(path) for placement, path in files.items()}
    zero = readings["leftWrist"].start_utc - before.imu[0].times[0]  # 0, or 1900 for a clock without a date
    assert zero == pytest.approx(0.0 if start else -2_208_988_800.0, abs=1e-3)
    for old, key in zip(before.imu, ("leftWrist", "pocket"), strict=True):
        reading = readings[key]
        tracks = reading.devices[0].tracks
        assert reading.devices[0].name == old.placement
        assert reading.devices[0].gravity is True
        new = stream(old.placement, acc=tracks["acc"], gyr=tracks.get("gyr"), source="bids", check_units=False)
        np.testing.assert_allclose(new.values, old.values, rtol=1e-8)
        np.testing.assert_allclose(new.times + reading.start_utc - zero, old.times, atol=2e-6)
        (segment,) = reading.segments
        assert segment.label == "walk, fast"
        assert segment.start + reading.start_utc - zero == pytest.approx(start + 1, abs=1e-5)


def test_the_files_follow_the_standard(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    write_bids([recording(age="70"), recording("sit", age="70", gravity="removed")], root, name="Own", task="walking")
    names = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*")) if p.is_file()]
    base = "sub-s01/ses-1/motion/sub-s01_ses-1_task-walking_tracksys-pocket_run-2"
    assert {"dataset_description.json", "participants.tsv", "README"} < set(names)
    assert {f"{base}_{end}" for end in ("channels.tsv", "events.tsv", "motion.json", "motion.tsv")} < set(names)
    sidecar = json.loads((root / f"{base}_motion.json").read_text())
    assert sidecar["MotionChannelCount"] == 4
    assert sidecar["ACCELChannelCount"] == 3
    assert sidecar["GravityRemoved"] is True
    assert 49 < sidecar["SamplingFrequency"] < 51
    rows = (root / f"{base}_motion.tsv").read_text().splitlines()
    assert len(rows) == 200
    assert {len(row.split("\t")) for row in rows} == {4}, "as many columns as rows of channels.tsv, and no header"
    assert (root / "participants.tsv").read_text() == "participant_id\tage\nsub-s01\t70\n"
    scans = (root / "sub-s01/ses-1/sub-s01_ses-1_scans.tsv").read_text()
    assert "2020-02-01T12:30:05" in scans
    assert scans.count("\tsit") == 2


def test_names_that_become_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="sub 's_01' and 's01' both become 's01'"):
        write_bids([recording(), recording("b", subject="s01")], tmp_path / "bids", name="Own", task="walk")
    assert not (tmp_path / "bids").exists()
    with pytest.raises(ConfigError, match="no recording"):
        write_bids([], tmp_path / "bids", name="Own", task="walk")
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="exists"):
        write_bids([recording()], tmp_path / "bids", name="Own", task="walk")


def test_a_dataset_is_exported_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text(
        "dataset: {name: synthetic, groups: [{count: 1, seconds_per_activity: 2.0}], activities: [walk, sit]}\n"
        "splits: {fractions: {train: 1.0}}\nwindow: {seconds: 2.0}\n"
    )
    done = CliRunner().invoke(
        app, ["export-bids", str(tmp_path / "build.yaml"), str(tmp_path / "out"), "--task", "walk"]
    )
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "out").rglob("*_motion.tsv"))
    assert files
    assert {"acc", "gyr"} <= set(BidsMotion().read(files[0]).devices[0].tracks)
