"""Activities move like people: bounded, grounded, at the person's own rhythm and with the person's own hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from imu_video.simulation.activities import ACTIVITIES
from imu_video.simulation.actor import Actor, Bout, smoothstep
from imu_video.simulation.body import SIDES, Motion, forward
from imu_video.simulation.person import Person, draw_person, stream

HZ = 200.0


def perform(name: str, person: Person, seconds: float = 12.0, seed: int = 0) -> tuple[Bout, Motion, np.ndarray]:
    t = np.arange(int((seconds + 2) * HZ)) / HZ - 1.0
    bout = ACTIVITIES[name](Actor(person=person, t=t, seconds=seconds, rng=stream(seed, person.name, name)))
    return bout, forward(bout.pose, person.body), t


def dominant_hz(signal: np.ndarray, low: float = 0.3) -> float:
    frequency, power = periodogram(signal - signal.mean(), HZ, window="hann", nfft=1 << 15)
    power = np.where(frequency >= low, power, 0)
    return float(frequency[power.argmax()])


def sagittal_rate(motion: Motion, segment: str) -> np.ndarray:
    axis = motion.segments[segment][:, 0]
    return np.gradient(np.unwrap(np.arctan2(axis[2], np.hypot(axis[0], axis[1]))), 1 / HZ)


@pytest.mark.parametrize("name", sorted(ACTIVITIES))
@pytest.mark.parametrize("subject", ["p00", "p01", "s00"])
def test_motion_is_finite_bounded_and_above_ground(name: str, subject: str) -> None:
    person = draw_person(0, subject, "slow_gait" if subject[0] == "s" else "general")
    bout, motion, _ = perform(name, person, 8.0)
    assert np.isfinite(bout.pose.values).all()
    height = motion.joints[:, 2] - bout.pose["level"]
    lowest = -0.25 if name.startswith("stairs") else -0.03
    assert height.min() > lowest
    speed = np.linalg.norm(np.diff(motion.joints, axis=2), axis=1) * HZ
    assert speed.max() < 11.0
    acceleration = np.linalg.norm(np.diff(motion.joints, n=2, axis=2), axis=1) * HZ**2
    assert acceleration.max() < 350.0
    for side in SIDES:
        assert bout.pose[f"{side}_knee"].min() > -0.05
        assert bout.pose[f"{side}_knee"].max() < 2.8
        assert bout.pose[f"{side}_elbow"].min() > -0.3
        assert bout.pose[f"{side}_elbow"].max() < 3.1


@pytest.mark.parametrize("subject", ["p00", "p01", "p02"])
@pytest.mark.parametrize(
    ("name", "trait"), [("walk", "walk_cadence"), ("jog", "jog_cadence"), ("stairs_up", "up_cadence")]
)
def test_step_frequency_in_the_thigh_is_the_persons_cadence(subject: str, name: str, trait: str) -> None:
    person = draw_person(0, subject)
    _, motion, _ = perform(name, person, 30.0)
    thigh = 2 * dominant_hz(sagittal_rate(motion, "left_thigh"))  # one stride is two steps
    assert thigh == pytest.approx(person[trait], rel=0.06)
    bob = dominant_hz(np.diff(motion.joint("pelvis")[2], n=2), low=0.8)
    assert bob == pytest.approx(person[trait], rel=0.06)


def test_feet_neither_slide_nor_sink_while_they_carry() -> None:
    person = draw_person(0, "p00")
    _, motion, _ = perform("walk", person, 10.0)
    ankle = motion.joint("left_ankle")
    speed = np.linalg.norm(np.gradient(ankle[:2], 1 / HZ, axis=1), axis=0)
    planted = ankle[2] < person.body.ankle_height + 0.006
    assert 0.25 < planted.mean() < 0.7
    assert np.median(speed[planted]) < 0.15
    assert np.median(speed[~planted]) > 1.0
    assert ankle[2].min() > person.body.ankle_height - 0.01


def test_running_has_flight_and_walking_has_double_support() -> None:
    person = draw_person(0, "p01")

    def airborne(name: str) -> float:
        _, motion, _ = perform(name, person)
        ball = 0.4 * person.body.ankle_height
        lowest = np.min([motion.joint(f"{s}_foot")[2] - ball for s in SIDES], axis=0)
        return float(np.mean(lowest > 0.015))

    assert airborne("jog") > 0.08
    assert airborne("walk") < 0.01


def test_stairs_climb_and_descend_one_tread_a_step() -> None:
    person = draw_person(0, "p02")
    for name, sign, trait in (("stairs_up", 1, "up_cadence"), ("stairs_down", -1, "down_cadence")):
        bout, motion, t = perform(name, person, 20.0)
        pelvis = motion.joint("pelvis")[2]
        per_second = (pelvis[t > 20][0] - pelvis[t > 0][0]) / 20.0
        assert sign * per_second == pytest.approx(0.17 * person[trait], rel=0.15)
        assert any(p.name == "stair" for p in bout.props)


def test_stance_foot_is_on_a_tread() -> None:
    person = draw_person(0, "p02")
    bout, motion, _ = perform("stairs_up", person, 8.0)
    ankle = motion.joint("right_ankle")
    still = np.linalg.norm(np.gradient(ankle, 1 / HZ, axis=1), axis=0) < 0.05
    tops = [(p.at[0], p.at[2] + p.size[2] / 2, p.size[0] / 2) for p in bout.props]
    for x, z in ankle[[0, 2]][:, still][:, ::50].T:
        under = [top for at, top, half in tops if abs(x - at) <= half + 0.02]
        assert min(abs(z - person.body.ankle_height - top) for top in under) < 0.03


@pytest.mark.parametrize(("name", "factor"), [("wave", 3.0), ("brush_teeth", 2.0)])
def test_one_handed_activities_use_the_dominant_hand(name: str, factor: float) -> None:
    left = next(p for p in (draw_person(0, f"p{i:02d}") for i in range(60)) if p.hand == "left")
    right = draw_person(0, "p00")
    assert right.hand == "right"
    for person in (left, right):
        path = {side: [] for side in SIDES}
        for seed in range(3):
            _, motion, _ = perform(name, person, 10.0, seed)
            for side in SIDES:
                path[side].append(np.abs(np.diff(motion.joint(f"{side}_hand"), axis=1)).sum())
        assert np.median(path[person.hand]) > factor * np.median(path[person.other_hand])


@pytest.mark.parametrize(("name", "trait"), [("brush_teeth", "brush_hz"), ("clap", "clap_hz")])
def test_hand_rhythms_are_the_persons(name: str, trait: str) -> None:
    person = draw_person(0, "p00")
    _, motion, _ = perform(name, person, 25.0)
    hand = motion.joint(f"{person.hand}_wrist") - motion.joint("head")
    assert dominant_hz(np.diff(hand[1]), low=0.8) == pytest.approx(person[trait], rel=0.12)


def test_lying_is_horizontal_and_standing_is_not() -> None:
    person = draw_person(0, "p03")
    for name, horizontal in (("lie", True), ("stand", False), ("sit", False)):
        _, motion, _ = perform(name, person)
        up = motion.segments["torso"][2, 2]
        assert (np.abs(up).max() < 0.5) == horizontal
    _, seated, _ = perform("sit", person)
    assert np.abs(seated.segments["left_thigh"][2, 2]).max() < 0.6


def test_hands_reach_what_they_are_said_to_reach() -> None:
    person = draw_person(0, "p04")
    _, motion, _ = perform("drink", person, 20.0)
    distance = [np.linalg.norm(motion.joint(f"{s}_hand") - motion.joint("head"), axis=0) for s in SIDES]
    assert min(d.min() for d in distance) < 0.24
    _, motion, _ = perform("clap", person, 20.0)
    apart = np.linalg.norm(motion.joint("left_hand") - motion.joint("right_hand"), axis=0)
    assert apart.min() < 0.12 < apart.max()


def test_slow_gait_is_slower_and_asymmetric() -> None:
    def walk(subject: str, population: str) -> tuple[float, float]:
        person = draw_person(0, subject, population)
        bout, motion, _ = perform("walk", person, 20.0)
        pelvis = motion.joint("pelvis")[:2]
        speed = float(np.linalg.norm(np.diff(pelvis, axis=1), axis=0).sum() * HZ / pelvis.shape[1])
        # Step times: from each foot's forward-most moment to the other's.
        heading = np.array([np.cos(bout.pose["yaw"]), np.sin(bout.pose["yaw"])])
        ahead = {s: ((motion.joint(f"{s}_ankle")[:2] - pelvis) * heading).sum(axis=0) for s in SIDES}
        times = {}
        for s in SIDES:
            a = ahead[s]
            peaks = np.flatnonzero((a[1:-1] > a[:-2]) & (a[1:-1] >= a[2:]) & (a[1:-1] > np.quantile(a, 0.9))) + 1
            times[s] = peaks / HZ
        first = np.array([times["right"][times["right"] > m][0] - m for m in times["left"][1:-2]])
        stride = np.median(np.diff(times["left"]))
        return speed, float(abs(np.median(first) / stride - 0.5))

    general = np.array([walk(f"p{i:02d}", "general") for i in range(6)])
    slow = np.array([walk(f"s{i:02d}", "slow_gait") for i in range(6)])
    assert slow[:, 0].max() < general[:, 0].min()
    assert np.median(slow[:, 1]) > 0.03 > np.median(general[:, 1])


def test_bouts_of_one_activity_are_not_copies() -> None:
    person = draw_person(0, "p00")
    first, _, _ = perform("walk", person, 10.0, seed=0)
    second, _, _ = perform("walk", person, 10.0, seed=1)
    assert np.abs(first.pose["left_knee"] - second.pose["left_knee"]).max() > 0.3
    # Within a bout the stride varies: no shift by whole strides repeats it.
    knee = first.pose["left_knee"]
    shifts = range(int(0.5 * HZ), int(4 * HZ), 2)
    assert min(float(np.abs(knee[s:] - knee[:-s]).mean()) for s in shifts) > 0.01


def test_smoothstep_is_flat_at_both_ends() -> None:
    t = np.linspace(-1, 2, 3001)
    step = smoothstep(t, 0.0, 1.0)
    assert step[0] == 0.0
    assert step[-1] == 1.0
    assert step[1500] == pytest.approx(0.5)
    assert np.all(np.diff(step) >= 0)
    assert np.abs(np.diff(step, n=2)).max() / 1e-6 < 5.9  # bounded acceleration of the quintic: 5.77


def test_actor_noise_has_the_stated_size_and_pace() -> None:
    actor = Actor(person=draw_person(0, "p00"), t=np.arange(40000) / HZ, seconds=200.0, rng=stream(1))
    noise = actor.wander(0.5, 1.0)
    assert noise.std() == pytest.approx(0.5, rel=0.2)
    slow = np.corrcoef(noise[:-20], noise[20:])[0, 1]
    far = np.corrcoef(noise[:-1000], noise[1000:])[0, 1]
    assert slow > 0.9
    assert abs(far) < 0.25
    weight = actor.episodes((1, 2), (1, 2), (0.2, 0.4))
    assert weight.min() > -1e-9
    assert weight.max() < 1 + 1e-9
    assert 0.3 < weight.mean() < 0.8
