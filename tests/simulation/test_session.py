"""Sessions: exact labels, smooth transitions, functions of (seed, subject, session)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from imu_video.errors import ConfigError
from imu_video.simulation.person import draw_person
from imu_video.simulation.session import RATE_HZ, Session, simulate

SOME = ("walk", "sit", "stairs_up", "lie", "wave")


@pytest.fixture(scope="module")
def session() -> Session:
    return simulate(draw_person(0, "p00"), activities=SOME, seconds_per_activity=6.0, seed=0, session="1")


def test_each_activity_is_labelled_once_for_about_the_asked_time(session: Session) -> None:
    assert sorted(s.label for s in session.segments) == sorted(SOME)
    for segment in session.segments:
        assert 0.85 * 6 <= segment.end - segment.start <= 1.15 * 6
    ends = [(s.start, s.end) for s in session.segments]
    assert ends[0][0] == 0.0
    assert ends[-1][1] == session.seconds
    for (_, end), (start, _) in itertools.pairwise(ends):
        assert 1.5 < start - end < 3.3  # transitions carry no label
    assert session.times[0] < -0.2
    assert session.times[-1] > session.seconds + 0.2


def test_labels_are_where_the_activity_is(session: Session) -> None:
    torso = session.motion.segments["torso"][2, 2]
    pelvis = session.motion.joint("pelvis")
    for segment in session.segments:
        inside = (session.times >= segment.start) & (session.times < segment.end)
        assert (np.abs(torso[inside]) < 0.6).all() == (segment.label == "lie")
        travelled = float(np.linalg.norm(np.ptp(pelvis[:2, inside], axis=1)))
        assert (travelled > 1.0) == (segment.label in ("walk", "stairs_up")), segment
        climbed = float(pelvis[2, inside][-1] - pelvis[2, inside][0])
        assert (climbed > 0.8) == (segment.label == "stairs_up")


def test_nothing_jumps_not_even_in_transitions(session: Session) -> None:
    speed = np.linalg.norm(np.diff(session.motion.joints, axis=2), axis=1) * RATE_HZ
    assert speed.max() < 9.0
    acceleration = np.linalg.norm(np.diff(session.motion.joints, n=2, axis=2), axis=1) * RATE_HZ**2
    assert acceleration.max() < 250.0


def test_bouts_know_where_their_things_are(session: Session) -> None:
    for bout in session.bouts:
        inside = (session.times >= bout.start) & (session.times < bout.end)
        pelvis = session.motion.joint("pelvis")[:, inside]
        if bout.label == "sit":
            seat = bout.props[0]
            assert np.abs(pelvis[0] - bout.origin[0] - seat.at[0]).max() < 0.15
            assert np.abs(pelvis[1] - bout.origin[1] - seat.at[1]).max() < 0.15
            assert np.abs(pelvis[2] - bout.origin[2] - seat.at[2] - 0.12).max() < 0.08
    untils = [b.until for b in session.bouts]
    assert untils == sorted(untils)


def test_a_session_is_a_function_of_its_arguments(session: Session) -> None:
    again = simulate(draw_person(0, "p00"), activities=SOME, seconds_per_activity=6.0, seed=0, session="1")
    assert np.array_equal(again.pose.values, session.pose.values)
    other = simulate(draw_person(0, "p00"), activities=SOME, seconds_per_activity=6.0, seed=0, session="2")
    assert [s.start for s in other.segments] != [s.start for s in session.segments]


def test_tremor_shows_in_the_hand_at_its_frequency() -> None:
    person = draw_person(0, "s00", "slow_gait")
    motion = simulate(person, activities=["stand"], seconds_per_activity=30.0, seed=0, session="1")
    turn = np.diff(motion.pose[f"{person.weak}_pronation"])
    power = np.abs(np.fft.rfft(turn * np.hanning(len(turn)))) ** 2
    frequency = np.fft.rfftfreq(len(turn), 1 / RATE_HZ)
    power[frequency < 2.5] = 0
    assert frequency[power.argmax()] == pytest.approx(person["tremor_hz"], abs=0.7)


@pytest.mark.parametrize(
    ("activities", "seconds", "match"),
    [
        (["wlak"], 5.0, "did you mean 'walk'"),
        ([], 5.0, "at least one"),
        (["walk", "walk"], 5.0, "no duplicates"),
        (["sit"], 1.0, "2 or more"),
    ],
)
def test_impossible_sessions_are_refused(activities: list[str], seconds: float, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        simulate(draw_person(0, "p00"), activities=activities, seconds_per_activity=seconds, seed=0, session="1")
