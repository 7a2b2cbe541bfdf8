"""quality.json of a build: what it counts, that it is the same for any number of workers, and what inspect shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError, RecordingError, ShardError
from imu_video.recordings.splits import SplitConfig
from imu_video.shards.building.build import BuildConfig, build
from imu_video.shards.folders import summary
from imu_video.shards.folders.combine import merge_folders, split_folder
from imu_video.shards.quality_report import join_reports, read_report
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.pipeline import read_samples
from imu_video.shards.reading.repair import repair
from imu_video.shards.reading.verify import verify

pytestmark = pytest.mark.usefixtures("tiny_plugin")


def config(**changes: Any) -> BuildConfig:
    """People of noise without gravity, whose video is almost black in its first half."""
    raw: dict[str, Any] = {
        "dataset": {"name": "tiny_people"},
        "window": {"seconds": 1.0, "rate_hz": 20, "clip_fps": 5, "clip_size": 16, "skeleton_fps": 10},
        "splits": {"subjects": {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}},
        "sync": {"mode": "estimate"},
        "quality": {"black_video": {"level": 30}},
    }
    return BuildConfig.model_validate({**raw, **changes})


@pytest.fixture(scope="module")
def built(tiny_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality") / "data"
    build(config(), folder)
    return folder


def test_findings_flags_and_totals_agree(built: Path) -> None:
    index = load_index(built)
    report = read_report(built)
    assert report is not None
    assert (report.recordings, report.devices, report.windows) == (8, 16, 28)
    samples = [s for split in index.splits for s in read_samples(index, split, {"meta"})]
    for reason, total in report.totals.items():
        rows = [f for f in report.findings if f.reason == reason]
        assert total.findings == len(rows)
        assert total.windows == sum(f.windows for f in rows)
        assert total.windows == sum(f.endswith(f":{reason}") for s in samples for f in s.meta["flags"])
    # The first second of each video (grey 0 .. 45) is dark; p3 has none.
    black = [f for f in report.findings if f.reason == "black_video"]
    assert {(f.recording, f.windows, f.value) for f in black} == {
        (f"{what}_{who}", 1, 20.0) for what in ("walk", "sit") for who in ("p0", "p1", "p2")
    }
    assert report.totals["gravity_norm"].recordings == 8
    assert report.checks["black_video"] == {"policy": "flag", "level": 30.0}
    assert [tuple(f) for f in open_columns(index, "train").flags] == [
        s.meta["flags"] for s in read_samples(index, "train", {"meta"})
    ]


def test_sync_goes_to_report_and_samples(built: Path) -> None:
    report = read_report(built)
    assert report is not None
    rows = {row.recording: row for row in report.sync}
    assert len(rows) == 8
    assert rows["walk_p0"].reference == "video"
    assert rows["walk_p3"].reference == "skeleton"
    for sample in read_samples(load_index(built), "train", {"meta"}):
        row = rows[sample.meta["recording"]]
        assert sample.meta["sync"] == {"offset_s": row.offset_s, "drift_ppm": row.drift_ppm, "score": row.score}


def test_dropped_windows_are_counted_by_reason(tmp_path: Path) -> None:
    only = {"gravity_norm": "drop"}
    with pytest.raises(ShardError, match=r"has no window.*gravity_norm"):
        build(config(quality=only), tmp_path / "data")
    index = build(config(quality={"gap": {"policy": "drop"}, "gravity_norm": "off"}), tmp_path / "data")
    assert index.build.dropped == {}
    assert not any(tmp_path.glob("*.partial*"))


def test_refuse_ends_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"gravity_norm.*\n.*quality.gravity_norm=drop"):
        build(config(quality={"gravity_norm": "refuse"}), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="did you mean 'gravity_norm'"):
        build(config(quality={"gravity": "refuse"}), tmp_path / "data")


def test_what_the_signal_became_stands_in_the_index(tmp_path: Path) -> None:
    plain = load_index(build(config(), tmp_path / "plain").root)
    assert (plain.gravity, plain.frame, plain.normalised) == ("included", "sensor", "none")
    removed = load_index(build(config(signal={"gravity": "remove"}), tmp_path / "removed").root)
    assert removed.gravity == "removed"
    assert ("gravity", "removed") in summary.facts(removed).rows
    upright = load_index(build(config(signal={"gravity": "align"}), tmp_path / "upright").root)
    assert (upright.gravity, upright.frame) == ("included", "gravity")
    index = load_index(build(config(signal={"normalise": "recording"}), tmp_path / "norm").root)
    assert index.normalised == "recording"
    assert set(index.units.values()) == {"1"}
    report = read_report(index.root)
    assert report is not None
    assert len(report.statistics) == 8
    assert sorted(report.statistics["walk_p0"]) == ["right_wrist", "waist"]
    assert verify(index).problems == []
    assert repair(index.root)[0].normalised == "recording"


def test_inspect_shows_reasons(built: Path) -> None:
    index = load_index(built)
    rows = {row[0]: row for row in summary.quality(index).rows}
    assert rows["black_video"][:5] == ("black_video", "flag", 6, 6, 6)
    assert "threshold 30" in str(rows["black_video"][5])
    assert summary.sync(index).title == "sync estimates (recordings: 8, corrected: 0)"


def test_folders_without_report_and_damaged_reports(tmp_path: Path) -> None:
    index = build(config(), tmp_path / "data")
    file = index.root / "quality.json"
    whole = json.loads(file.read_text())
    file.unlink()
    assert read_report(index.root) is None
    assert summary.quality(index).rows == ()
    assert summary.sync(index).rows == ()
    file.write_text("{")
    with pytest.raises(ShardError, match="not readable as JSON"):
        read_report(index.root)
    file.write_text(json.dumps({**whole, "windows": "many"}))
    with pytest.raises(ShardError, match=r"quality.json: key 'windows': "):
        read_report(index.root)


def test_reports_of_split_and_merged_folders(built: Path, tmp_path: Path) -> None:
    whole = {"a": ["p3", "p1"], "b": ["p0", "p2"]}
    fresh = build(config(splits={"subjects": whole}), tmp_path / "fresh")
    divided = split_folder(load_index(built), SplitConfig(subjects=whole), tmp_path / "divided")
    assert (divided.root / "quality.json").read_bytes() == (fresh.root / "quality.json").read_bytes()
    halves = [build(config(splits={"subjects": {name: people}}), tmp_path / name) for name, people in whole.items()]
    merged = merge_folders(halves, tmp_path / "merged")
    assert read_report(merged.root) == read_report(fresh.root)
    other = build(config(splits={"subjects": {"b": whole["b"]}}, quality={"gap": "drop"}), tmp_path / "other")
    unlike = merge_folders([halves[0], other], tmp_path / "unlike")
    assert read_report(unlike.root) is None


PLUGIN = '''
from imu_video.recordings.checks import Check, Spell
from imu_video.registry import checks


@checks.register("test_too_quiet")
class TooQuiet(Check):
    """Speaks on every device whose acceleration never exceeds a level.

    Args:
        level: in m/s^2.
    """

    unit = "m/s^2"

    def __init__(self, *, level: float = 100.0):
        self.threshold = level

    def stream(self, stream):
        high = float(abs(stream.values[:3][stream.values[:3] == stream.values[:3]]).max())
        return [Spell(start=stream.times[0], end=stream.times[-1], value=high)] if high < self.threshold else []
'''


def test_a_check_of_ones_own(tmp_path: Path, tiny_plugin: Path) -> None:
    """A plugin's check runs in worker processes, too, its thresholds are config keys; the bytes are those of one."""
    from imu_video.registry import checks, load_plugin
    from imu_video.testing import check_quality

    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    try:
        quiet = {"test_too_quiet": {"policy": "flag", "level": 99.0}}
        index = build(config(quality=quiet), tmp_path / "data", workers=2, plugins=[tiny_plugin, plugin])
        alone = build(config(quality=quiet), tmp_path / "alone")
        for name in ("quality.json", "index.json", "shards/train-000000.tar"):
            assert (index.root / name).read_bytes() == (alone.root / name).read_bytes()
        report = read_report(index.root)
        assert report is not None
        assert report.totals["test_too_quiet"].findings == 16
        with pytest.raises(AssertionError, match="reports a finding on a healthy waist"):
            check_quality("test_too_quiet")
        check_quality({"name": "test_too_quiet", "level": 1.0})
    finally:
        del checks._classes["test_too_quiet"]


def test_repaired_clocks_are_rows_that_folders_without_them_lack(built: Path, tmp_path: Path) -> None:
    """A build with even clocks lists every device; without repairs the file holds no such key."""
    assert "clocks" not in json.loads((built / "quality.json").read_text())
    build(config(signal={"clock": "regular"}), tmp_path / "even")
    report = read_report(tmp_path / "even")
    assert report is not None
    assert len(report.clocks) == report.devices == 16
    assert {(row.model, row.lost, row.excess_s < 1e-6) for row in report.clocks} == {("samples", 0, True)}
    joined = join_reports([report, report], ["a-", "b-"])
    assert joined is not None
    assert [row.recording[:2] for row in joined.clocks] == ["a-"] * 16 + ["b-"] * 16
