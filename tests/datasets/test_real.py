"""Every adapter on the real recordings: people, recordings, minutes and labels as the data's SOURCE.md counts them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from imu_video.config import load_config
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY, Recording

pytestmark = pytest.mark.realdata


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What SOURCE.md says of a dataset.

    Args:
        folder: in the data folder.
        subjects, recordings: counts.
        built: recordings in the folder of the shipped config, if it leaves some out.
        minutes: of all recordings, by their longest device, with its tolerance (SOURCE.md rounds).
        labels: label -> number of segments.
        label_minutes: label -> minutes, within 2 % or 0.1 min.
    """

    folder: str
    subjects: int
    recordings: int
    built: int | None = None
    minutes: tuple[float, float]
    labels: dict[str, int] = field(default_factory=dict)
    label_minutes: dict[str, float] = field(default_factory=dict)


FACTS = {
    "daphnet": Facts(
        folder="daphnet-fog",
        subjects=5,
        recordings=7,
        minutes=(108.8, 0.1),  # SOURCE.md: 111, with stamps read as 62.5 Hz; the stamps run for 108.8 min
        label_minutes={"no_freeze": 49.2, "freeze": 4.4},
    ),
    "sp_sw_har": Facts(
        folder="sp-sw-har",
        subjects=12,
        recordings=115,
        minutes=(21.9, 0.1),
        labels={"standing_up": 115, "sitting_down": 115},
    ),
    "umafall": Facts(
        folder="umafall",
        subjects=18,
        recordings=187,
        minutes=(46.5, 0.4),
        labels={
            "walking": 40,
            "sitting_and_getting_up": 41,
            "hopping": 33,
            "lying_down_on_a_bed": 33,
            "jogging": 20,
            "going_upstairs": 10,
            "going_downstairs": 10,
        },
    ),
    "berkeley_mhad": Facts(folder="berkeley-mhad", subjects=12, recordings=658, minutes=(82, 0.5)),
    "mobilise_d": Facts(
        folder="mobilise-d-example", subjects=3, recordings=9, minutes=(9.8, 0.2), labels={"walking": 19}
    ),
    "hapt": Facts(
        folder="uci-hapt",
        subjects=30,
        recordings=61,
        minutes=(374, 1),
        label_minutes={
            "walking": 40.7,
            "walking_upstairs": 38.9,
            "walking_downstairs": 36.0,
            "sitting": 42.2,
            "standing": 46.0,
            "laying": 45.6,
        },
    ),
    "utd_mhad": Facts(
        folder="utd-mhad",
        subjects=8,
        recordings=861,
        minutes=(51.9, 0.4),
        labels={"arm_curl": 32, "draw_x": 31, "sit_to_stand": 32, "squat": 31, "front_boxing": 32},
    ),
    # SOURCE.md: 13.0 and 10.5 s; karma's last payload is a seventh full: telemetry and video end at 12.05 s.
    "gopro": Facts(folder="gopro-gpmf", subjects=1, recordings=2, minutes=(0.377, 0.002)),
    "bandai_namco": Facts(
        folder="bandai-namco-bvh",
        subjects=1,  # nobody is named
        recordings=341,
        minutes=(32 - 341 * 0.55 / 60, 0.3),  # derivatives take a quarter of a second at both ends of a take
        labels={"walk": 58, "run": 43, "dash": 15, "walk_turn_left": 14, "raise_up_both_hands": 14, "kick": 1},
    ),
    "cmu_mocap": Facts(
        folder="cmu-mocap",
        subjects=18,
        recordings=127,
        minutes=(16.9 - 127 * 0.53 / 60, 0.1),  # derivatives take a quarter of a second at both ends of a take
        labels={"walk": 41, "dance": 28, "basketball": 11, "playground": 6},
    ),
    "pdiot": Facts(
        folder="pdiot-2023",
        subjects=20,
        recordings=1120,
        built=1119,  # one file repeats another one
        minutes=(9.4446 * 60 - 1120 / 25 / 60, 0.01),
        # 20 subjects x 7 signals; one file of lying_right is also one of sitting: neither has a label
        labels={"walking": 40, "running": 40, "sitting": 159, "lying_right": 139, "ascending_stairs": 40},
    ),
    "wisdm51_watch": Facts(
        folder="wisdm51-watch",
        subjects=51,
        recordings=310,
        minutes=(620 - 310 / 20 / 60, 0.01),
        labels={"walking": 52, "jogging": 51, "stairs": 51, "sitting": 52, "standing": 52, "kicking": 52},
        label_minutes={"walking": 104},
    ),
}


@pytest.fixture
def source(request: pytest.FixtureRequest, real_data_unpacked: Callable[[str], Path]) -> tuple[str, str]:
    """Name of an adapter and its folder."""
    return request.param, str(real_data_unpacked(FACTS[request.param].folder))


every = functools.partial(pytest.mark.parametrize, "source", indirect=True)


QUICK = ("daphnet", "mobilise_d")


@every([name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FACTS])
def test_counts(source: tuple[str, str]) -> None:
    name, root = source
    facts = FACTS[name]
    check_dataset({"name": name, "root": root})
    adapter = datasets.build({"name": name, "root": root})
    label_minutes: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    count, minutes = 0, 0.0
    for recording in adapter.recordings():
        count += 1
        minutes += max(stream.times[-1] - stream.times[0] for stream in recording.imu) / 60
        for segment in recording.segments:
            labels[segment.label] += 1
            label_minutes[segment.label] += (segment.end - segment.start) / 60
    assert len(adapter.subjects()) == facts.subjects
    assert count == facts.recordings
    assert minutes == pytest.approx(facts.minutes[0], abs=facts.minutes[1])
    assert set(labels) <= set(adapter.labels)
    assert {label: labels[label] for label in facts.labels} == facts.labels
    for label, expected in facts.label_minutes.items():
        assert label_minutes[label] == pytest.approx(expected, rel=0.02, abs=0.1), label


WINDOWS = {
    "bandai_namco": 1227,
    "berkeley_mhad": 658,
    "cmu_mocap": 741,
    "daphnet": 3253,
    "gopro": 9,
    "hapt": 5583,
    "mobilise_d": 280,
    "pdiot": 6621,
    "sp_sw_har": 2229,
    "umafall": 935,
    "utd_mhad": 861,
    "wisdm51_watch": 7440,
}


@every(["mobilise_d", *(pytest.param(name, marks=pytest.mark.slow) for name in FACTS if name != "mobilise_d")])
def test_the_shipped_config_builds_shards(source: tuple[str, str], tmp_path: Path) -> None:
    name, root = source
    config = load_config(f"configs/data/{name}.yaml", BuildConfig, overrides=[f"dataset.root={root}"])
    index = build(config, tmp_path / "out")
    people = {s for split in index.splits.values() for s in split.subjects}
    assert len(people) == FACTS[name].subjects
    assert index.build.recordings == (FACTS[name].built or FACTS[name].recordings)
    assert sum(split.samples for split in index.splits.values()) == WINDOWS[name]
    assert set(index.placements) <= set(datasets.get(name).placements)


# ------------------------------------------------------------------------------------- what single datasets claim


def recordings(real_data_unpacked: Callable[[str], Path], name: str, subjects: list[str] | None) -> list[Recording]:
    root = str(real_data_unpacked(FACTS[name].folder))
    return list(datasets.build({"name": name, "root": root}).recordings(subjects))


@pytest.mark.slow
def test_umafall_sensors_are_missing_where_their_rows_are(real_data_unpacked: Callable[[str], Path]) -> None:
    everybody = datasets.build({"name": "umafall", "root": str(real_data_unpacked("umafall"))}).subjects()
    found = recordings(real_data_unpacked, "umafall", everybody)
    assert Counter(len(r.imu) for r in found) == {5: 106, 4: 81}
    assert sum("ankle" not in [s.placement for s in r.imu] for r in found) == 31
    days = {r.session for r in found if r.subject == "s18" and r.segments[0].label == "walking"}
    assert {"2016-05-29", "2016-11-27"} <= days  # six months apart
    ages = {r.subject: int(r.tags["age"]) for r in found}
    assert min(ages.values()) == 19
    assert max(ages.values()) == 68
    norms = [np.median(np.linalg.norm(s.values[:3], axis=0)) for r in found for s in r.imu]
    assert np.median(norms) == pytest.approx(GRAVITY, rel=0.03)


@pytest.mark.slow
def test_berkeley_gravity_is_one_g_after_calibration(real_data_unpacked: Callable[[str], Path]) -> None:
    root = str(real_data_unpacked("berkeley-mhad"))
    spread = {}
    for calibrate in (True, False):
        source = datasets.build({"name": "berkeley_mhad", "root": root, "calibrate": calibrate})
        still = []
        for recording in source.recordings(["s01", "s06"]):
            if recording.segments[0].label not in ("sit_down", "stand_up", "clap"):
                continue
            for stream in recording.imu:
                first = stream.values[:, :20]
                if first.std(axis=1).max() < 0.3:
                    still.append(np.linalg.norm(first.mean(axis=1)) / GRAVITY)
        spread[calibrate] = np.percentile(still, [5, 95])
        assert len(still) > 40
    assert np.abs(spread[True] - 1).max() < 0.04
    assert np.abs(spread[False] - 1).max() > 0.15


@pytest.mark.slow
def test_berkeley_devices_begin_and_end_together(real_data_unpacked: Callable[[str], Path]) -> None:
    for recording in recordings(real_data_unpacked, "berkeley_mhad", ["s02"]):
        assert np.ptp([s.times[0] for s in recording.imu]) < 0.1
        assert np.median([s.times[-1] for s in recording.imu]) == pytest.approx(recording.segments[0].end, abs=0.5)


def test_daphnet_freezes_are_in_the_patients_that_freeze(real_data_unpacked: Callable[[str], Path]) -> None:
    minutes: Counter[str] = Counter()
    for recording in recordings(real_data_unpacked, "daphnet", ["S02", "S03", "S06"]):
        minutes[recording.name] += sum(s.end - s.start for s in recording.segments if s.label == "freeze") / 60
    assert minutes["S02R02"] == pytest.approx(2.1, abs=0.05)
    assert minutes["S03R03"] == minutes["S06R02"] == 0
    dead = recordings(real_data_unpacked, "daphnet", ["S03"])[1].imu[1]
    assert np.linalg.norm(dead.values, axis=0).mean() / GRAVITY == pytest.approx(0.527, abs=0.002)


@pytest.mark.slow
def test_cmu_rest_poses_and_glitches_are_those_of_its_description(real_data_unpacked: Callable[[str], Path]) -> None:
    found = recordings(real_data_unpacked, "cmu_mocap", None)
    described = {r.name for r in found if r.tags["description"]}
    assert len(described) == 127
    assert {r.name for r in found if "first_frame" not in r.tags} == {"131_01", "131_02", "131_03"}
    dance = {f"05_{take:02d}" for take in (5, 6, 8, 10, 13, *range(15, 21))}
    assert {r.name for r in found if "glitches" in r.tags} == {"01_12", "03_02", "08_07", "16_15"} | dance
    peaks = [np.linalg.norm(device.values[:3], axis=0).max() / GRAVITY for r in found for device in r.imu]
    assert max(peaks) < 20  # without these steps: hundreds of g


@pytest.mark.slow
def test_bandai_namco_second_part(real_data_unpacked: Callable[[str], Path]) -> None:
    source = datasets.build({"name": "bandai_namco", "root": str(real_data_unpacked("bandai-namco-bvh-2"))})
    assert len(source.files) == 657
    contents = Counter(source._told(path, "label") for path in source.files)
    assert contents["walk"] == 109
    assert contents["wave_both_hands"] == 112
    assert len({source._told(path, "style") for path in source.files}) == 7
    recording = next(source.recordings())
    assert "first_frame" not in recording.tags


@pytest.mark.slow
def test_smartfallmm_is_read_file_by_file(
    real_data_unpacked: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Trials per device as SOURCE.md counts them; what cannot be read is named, what repeats is tagged."""
    root = str(real_data_unpacked("smartfallmm"))
    check_dataset({"name": "smartfallmm", "root": root})
    source = datasets.build({"name": "smartfallmm", "root": root, "skeleton_fps": 15})
    files = Counter((take.tags["group"], take.tags["device"]) for take in source._takes)
    young = {device: files["young", device] for device in ("phone", "watch", "meta_wrist", "meta_hip")}
    assert young == {"phone": 755, "watch": 778, "meta_wrist": 823, "meta_hip": 795}
    skeletons = Counter(name.split("_")[0] for name in source._skeletons)
    assert skeletons == {"young": 751, "old": 378}
    older = {s for s in source.subjects() if s.startswith("old")}
    named = ["S01", "S02", "S04", "S06", "S08", "S09", "S11", "S12", "S14", "S16", "S18", "S21", "S23"]
    assert older == {f"old_{s}" for s in named} | {"old_S25"}  # SOURCE.md does not list the last one
    found = list(source.recordings())
    skipped = [message for message in caplog.messages if "skipped" in message]
    assert len(found) + len(skipped) == sum(files.values()) == 4626
    assert len(skipped) == 47
    assert sum("same_as" in r.tags for r in found) == 200
    assert Counter(r.tags["group"] for r in found if not r.segments) == {"young": 114}


@pytest.mark.slow
def test_sp_sw_har_walking_shows_on_both_devices_at_once(real_data_unpacked: Callable[[str], Path]) -> None:
    """One clock: the speed of turning of pocket and wrist rises and falls together."""
    together = []
    for recording in recordings(real_data_unpacked, "sp_sw_har", ["s03", "s04"]):
        grid = np.arange(1, recording.imu[1].times[-1] - 1, 0.05)
        slow = []
        for stream in recording.imu:
            turning = np.convolve(np.linalg.norm(stream.values[3:], axis=0), np.ones(50) / 50, "same")
            slow.append(np.interp(grid, stream.times, turning))
        together.append(np.corrcoef(*slow)[0, 1])
    assert np.median(together) > 0.5
