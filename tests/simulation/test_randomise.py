"""Domain randomisation: what is drawn, that it repeats, that it is recorded, and that it is off by default."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imu_video.datasets.synthetic import Group, SyntheticWorld
from imu_video.errors import ConfigError
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig
from imu_video.simulation.mocap import mirrored
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.randomise import DeviceRanges, MotionRanges, Randomise, StrapRanges, put_on
from imu_video.simulation.sensors import PLACEMENTS
from imu_video.simulation.session import Session, simulate
from imu_video.simulation.surface import REGIONS
from imu_video.simulation.world import Worn, dress, wear
from imu_video.types import GRAVITY


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(draw_person(1, "one"), activities=["walk", "sit"], seconds_per_activity=4.0, seed=1, session="1")


def dressed(session: Session, placements: list[str], **changes: Any) -> Worn:
    settings: dict[str, Any] = {"device": "random", "seed": 0, "name": "1", "randomise": Randomise(), **changes}
    return dress(session, placements=placements, **settings)


def test_draws_repeat_and_do_not_depend_on_the_other_devices(session: Session) -> None:
    names = ["left_wrist", "anywhere_1", "anywhere_2", "forearm"]
    all_of_them, alone = dressed(session, names), dressed(session, ["anywhere_2"])
    assert [s.placement for s in all_of_them.imu] == names
    assert np.array_equal(all_of_them.imu[2].values, alone.imu[0].values)
    assert all_of_them.tags["segment_anywhere_2"] == alone.tags["segment_anywhere_2"]
    assert "segment_left_wrist" not in all_of_them.tags  # its name says where it is
    one, two = (next(n for n in all_of_them.notes if n.startswith(f"device anywhere_{i}")) for i in (1, 2))
    assert one.split("on ")[1] != two.split("on ")[1]
    other = dressed(session, ["anywhere_2"], randomise=Randomise(seed=1))
    assert other.notes != alone.notes
    assert dressed(session, ["anywhere_2"], name="2").notes != alone.notes


def test_every_device_measures_gravity_and_its_own_rate(session: Session) -> None:
    names = [*PLACEMENTS, *(name for name in REGIONS if name not in PLACEMENTS)]
    for one in dressed(session, names).imu:
        rate = 1 / one.period
        assert 18 < rate < 105, one.placement
        assert 0.75 * GRAVITY < np.linalg.norm(np.median(one.values[:3], axis=1)) < 1.25 * GRAVITY, one.placement


def test_places_lie_in_their_regions_and_are_written_down() -> None:
    ranges = Randomise(regions={"calf": {"segments": ["left_shank"], "height": [0.2, 0.4], "azimuth_deg": [90, 120]}})
    seen = set()
    for number in range(30):
        person = draw_person(0, f"p{number}")
        worn = put_on(person, "calf_3", device="watch", seed=0, name="1", randomise=ranges)
        assert worn.mount.segment == "left_shank"
        assert worn.place is not None
        height, azimuth, _ = worn.place
        assert 0.2 <= height <= 0.4
        assert 90 <= azimuth <= 120
        assert worn.note.startswith(f"device calf_3: on left_shank, height {height:.3f}, azimuth {azimuth:.1f} deg")
        assert worn.out @ worn.out == pytest.approx(1.0)
        seen.add(put_on(person, "anywhere", device="watch", seed=0, name="1", randomise=ranges).mount.segment)
    assert len(seen) > 8


def test_each_item_can_be_off(session: Session) -> None:
    rigid = Randomise(mount=False, strap=None, motion=None)
    fixed = dressed(session, ["waist", "thigh"], device="watch", randomise=rigid)
    plain = wear(session, placements=["waist", "thigh"], device="watch", seed=0, name="1")
    assert all(np.array_equal(a.values, b.values) for a, b in zip(fixed.imu, plain, strict=True))
    assert fixed.notes == ()
    strapped = dressed(session, ["thigh"], device="watch", randomise=Randomise(mount=False)).notes[0]
    assert "strap" in strapped
    assert "height" not in strapped
    assert "rate" not in strapped


def test_profiles_cover_their_ranges() -> None:
    ranges = DeviceRanges(rate_hz=(25.0, 50.0), acc_range_g=[4.0], acc_step=(0.02, 0.02))
    drawn = [ranges.draw(stream("profile", i)) for i in range(200)]
    rates = np.array([p.rate_hz for p in drawn])
    assert rates.min() > 25
    assert rates.max() < 50
    assert abs(np.median(np.log(rates)) - np.log(25 * 50) / 2) < 0.06
    assert {p.acc_range for p in drawn} == {4 * GRAVITY}
    assert drawn[0].acc_step == pytest.approx(0.02)
    straps = [StrapRanges().draw("pocket", stream("strap", i)) for i in range(50)]
    assert all(3 <= s.hz <= 10 and 0.2 <= s.damping <= 0.6 for s in straps)


def test_a_mirrored_session_exchanges_the_sides(session: Session) -> None:
    other = mirrored(session)
    left, right = (other.motion.joint(f"{side}_wrist") for side in ("left", "right"))
    assert np.array_equal(right * [[1], [-1], [1]], session.motion.joint("left_wrist"))
    assert np.array_equal(left * [[1], [-1], [1]], session.motion.joint("right_wrist"))
    for rotation in other.motion.segments.values():
        assert np.linalg.det(rotation[:, :, 7]) == pytest.approx(1.0)
    again = mirrored(other)
    assert np.allclose(again.motion.joints, session.motion.joints)
    tempo, size, _ = MotionRanges().draw(stream("motion"))
    assert 0.85 <= tempo <= 1.18
    assert 0.92 <= size <= 1.08


def world(**changes: Any) -> dict[str, Any]:
    group = {"prefix": "p", "count": 1, "devices": ["random"], "seconds_per_activity": 3.0}
    return {"name": "synthetic", "groups": [group], "activities": ["walk"], "placements": ["anywhere_1"], **changes}


def test_a_config_builds_a_randomised_world_and_keeps_what_it_drew() -> None:
    source = datasets.build(world(randomise={"strap": None, "device": {"rate_hz": [50, 60]}}))
    assert source.rate_hz is None
    (recording,) = source.recordings()
    assert recording.tags["device"] == "random"
    assert recording.tags["segment_anywhere_1"] in recording.notes[0]
    assert 48 < 1 / recording.imu[0].period < 62
    entry = datasets.entry(world())
    assert "randomise" not in entry.config  # a config of before has the same identity
    assert datasets.entry(world(randomise={})).config["randomise"] is not None
    assert "randomise" not in BuildConfig(dataset=world()).resolved()["dataset"]  # nor has its data folder another
    drawn = BuildConfig(dataset=world(randomise={"strap": None})).resolved()
    assert BuildConfig(**drawn).resolved() == drawn


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"placements": ["anywere_1"]}, "did you mean"),
        ({"placements": ["anywhere_1", "anywhere_1"]}, "distinct"),
        ({"randomise": {"device": {"rate_hz": [100, 20]}}}, r"expected \[lowest, highest\]"),
        ({"randomise": {"device": {"rate_hz": [20, 400]}}}, "1 to 120 Hz"),
        ({"randomise": {"strap": {"pocket_hz": [0.1, 5]}}}, "1 to 1000 Hz"),
        ({"randomise": {"tempo": 2}}, "tempo"),
        ({"randomise": {"regions": {"nose": {"segments": ["nose"]}}}}, "unknown segment"),
    ],
)
def test_impossible_randomisations_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        datasets.build(world(**changes))


def test_world_without_randomise_takes_regions_and_random_devices() -> None:
    source = SyntheticWorld(
        groups=[Group(count=1, devices=["random"], seconds_per_activity=3.0)],
        activities=["sit"],
        placements=["torso_1"],
    )
    (recording,) = source.recordings()
    assert "strap" not in recording.notes[0].split("; ")[1]
    assert "rate" in recording.notes[0]


@pytest.mark.parametrize(
    "device",
    [{"losses_per_minute": [1e6, 1e6]}, {"acc_range_g": [1e-9]}, {"scale_error": [1.0, 1e6]}, {"jitter": [0.1, 0.4]}],
)
def test_devices_that_measure_nothing_are_refused(device: dict[str, Any]) -> None:
    """They would end in an error about times without samples, or in folders of flat and saturated windows."""
    with pytest.raises(ConfigError, match="randomise"):
        datasets.build(world(randomise={"device": device}))
