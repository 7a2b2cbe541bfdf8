"""Shocks of foot contacts: when they come, how they ring, and that they are off unless stated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imu_video.errors import ConfigError
from imu_video.simulation.body import Motion
from imu_video.simulation.impacts import Impact, contacts, shock
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.randomise import ImpactRanges, Randomise
from imu_video.simulation.session import RATE_HZ, Session, simulate
from imu_video.simulation.world import dress

UP, LEFT = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])


def impact(**changes: float) -> Impact:
    sides = {"left": UP, "right": UP}
    turns = {"left": LEFT, "right": LEFT}
    values = {"share": 0.1, "hz": 8.0, "damping": 0.2, "radius": 0.3, **changes}
    return Impact(**values, directions=sides, axes=turns)


@pytest.fixture(scope="module")
def session() -> Session:
    person = draw_person(0, "p00")
    return simulate(person, activities=["walk", "sit"], seconds_per_activity=8.0, seed=0, session="1")


def within(session: Session, label: str) -> np.ndarray:
    segment = next(s for s in session.segments if s.label == label)
    return (session.times > segment.start + 0.5) & (session.times < segment.end - 0.5)


def test_each_step_of_a_walk_is_a_contact_and_sitting_has_none(session: Session) -> None:
    walk, sit = within(session, "walk"), within(session, "sit")
    steps = [contacts(session.motion, side, RATE_HZ) for side in ("left", "right")]
    count = sum(int(np.count_nonzero(each[walk])) for each in steps)
    expected = session.person["walk_cadence"] * np.count_nonzero(walk) / RATE_HZ
    assert count == pytest.approx(expected, abs=2)
    assert not any(each[sit].any() for each in steps)


def test_a_contact_rings_as_the_equation_says() -> None:
    """A foot that falls at 0.5 m/s and stops: the response from there on is written down in the module."""
    joints = np.zeros((20, 3, 400))
    fall = 0.5 * np.clip(1.0 - np.arange(400) / RATE_HZ, 0, None)
    joints[:, 2] = fall
    motion = Motion(joints=joints, segments={})
    one = impact()
    force, rate = shock(motion, "pelvis", one, RATE_HZ)
    at = int(np.flatnonzero(contacts(motion, "left", RATE_HZ))[0])
    assert at == pytest.approx(RATE_HZ, abs=3)
    t, w = np.arange(100) / RATE_HZ, 2 * np.pi * one.hz
    ringing = np.exp(-one.damping * w * t) * np.sin(w * t) * 0.1 * 0.5 * 2  # both feet land
    assert_allclose(force[2, at : at + 100], w * ringing, atol=1e-9)
    assert_allclose(rate[1, at : at + 100], ringing / one.radius, atol=1e-9)
    assert not force[:2].any()
    other, _ = shock(motion, "left_thigh", one, RATE_HZ)  # of the right foot's contact only a part arrives
    assert_allclose(other[2], force[2] * (1 + 0.3) / 2, atol=1e-9)


def test_impacts_are_off_unless_stated_and_are_recorded(session: Session) -> None:
    def worn(randomise: Randomise) -> tuple[np.ndarray, str]:
        found = dress(session, placements=["waist"], device="watch", seed=0, name="1", randomise=randomise)
        return found.imu[0].values, found.notes[0]

    plain, without = worn(Randomise())
    shaken, stated = worn(Randomise(impacts=ImpactRanges()))
    assert "impacts" not in Randomise().model_dump()  # the identity of a folder without them is what it was
    assert "impacts" not in without
    assert "impacts 0." in stated
    assert without.split("; impacts")[0] in stated
    assert plain.shape == shaken.shape
    assert np.abs(plain - shaken).max() > 0.5


def test_impacts_lie_in_their_ranges() -> None:
    for number in range(50):
        one = ImpactRanges(hz=(5.0, 6.0)).draw("right_forearm", stream("impact", number))
        assert 5.0 <= one.hz <= 6.0
        assert 0.04 <= one.share <= 0.16
        assert np.linalg.norm(one.directions["left"]) == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="expected a share"):
        impact(damping=1.0)
