"""Activities on foot: walk, jog, stairs_up, stairs_down, from one model of a stride; not activities in place.

A stride is planned in a frame that moves with the mean progression. In stance the foot is at rest on the ground, that
is it moves backwards in that frame at the mean speed; in swing it returns on a cubic that matches both velocities. The
legs follow by inverse kinematics. Feet therefore neither slide nor sink into the ground, and step frequency, heel
strike and knee flexion appear in the motion of every segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from imu_video.simulation.actor import TAU, Actor, Bout, Prop
from imu_video.simulation.body import SIDES, Body, Pose

_GRID = 256
_STANCE = 0.62  # fraction of stance of the knots below; plans with another fraction stretch their phases


@dataclass(frozen=True, kw_only=True)
class Stride:
    """The plan of one stride.

    Args:
        hz: strides per second.
        length: metres per stride along the path.
        rise: metres per stride upwards, negative downstairs.
        stance: fraction of the stride during which a foot is on the ground, below 0.5 for running.
        lift: (phase, height) knots of the ankle above its straight path, as a fraction of leg length.
        pitch: (phase, degrees) knots of the foot's pitch, toes up.
        behind: distance in metres of the middle of stance behind the hip; the foot rolls forward over its length.
        bob: amplitude of the pelvis' vertical oscillation (twice per stride) in metres, positive when highest in
            mid-stance.
        extension: fraction of the full leg length at the most extended moment of stance.
        impact: depth in metres of the brief dip after foot contact.
        softness: duration scale in seconds over which foot contact is smoothed.
    """

    hz: float
    length: float
    rise: float
    stance: float
    lift: tuple[tuple[float, float], ...]
    pitch: tuple[tuple[float, float], ...]
    behind: float
    bob: float
    extension: float
    impact: float
    softness: float = 0.011


def _periodic(values: np.ndarray, smooth_cycles: float) -> CubicSpline:
    """Twice differentiable periodic curve through smoothed grid values (G, n) over one cycle."""
    smooth = gaussian_filter1d(values, smooth_cycles * _GRID, axis=0, mode="wrap")
    closed = np.concatenate([smooth, smooth[:1]])
    return CubicSpline(np.linspace(0, 1, _GRID + 1), closed, bc_type="periodic")


def _foot_cycle(plan: Stride, body: Body, lift: float) -> np.ndarray:
    """One foot over its own cycle, contact at 0: (G, 3) forward and up in the moving frame (m), pitch (rad)."""
    u = np.arange(_GRID) / _GRID
    swing = u >= plan.stance
    reference = np.where(
        swing, _STANCE + (u - plan.stance) * (1 - _STANCE) / (1 - plan.stance), u * _STANCE / plan.stance
    )
    w = (u - plan.stance) / (1 - plan.stance)
    slope = -(1 - plan.stance)
    back = np.where(
        swing,
        -plan.stance / 2 * (2 * w**3 - 3 * w**2 + 1)
        # after push-off the ankle already moves forwards when it leaves the ground
        + 0.1 * slope * (w**3 - 2 * w**2 + w)
        + plan.stance / 2 * (3 * w**2 - 2 * w**3)
        + slope * (w**3 - w**2),
        plan.stance / 2 - u,
    )
    pitch = np.deg2rad(PchipInterpolator(*np.array(plan.pitch).T)(reference)) * min(lift, 1.0)
    height = PchipInterpolator(*np.array(plan.lift).T)(reference) * body.leg * lift
    # The heel rises by a rotation about the ball of the foot. Without this correction the ball would slide along the
    # ground or sink into it, and every segment would inherit an acceleration that no real step has.
    heel_up = np.maximum(-pitch, 0.0)
    height = np.maximum(height, body.foot * np.sin(heel_up))
    rolled = body.foot * (1 - np.cos(heel_up))
    return np.stack([plan.length * back - plan.behind + rolled, plan.rise * back + height, pitch], axis=1)


def _pelvis_cycle(plan: Stride, actor: Actor, foot: np.ndarray, offsets: dict[str, float]) -> np.ndarray:
    """Pelvis height (G,) over the left foot's cycle: the highest that stance legs allow, with bob and contact dips."""
    body, u = actor.body, np.arange(_GRID) / _GRID
    bob = plan.bob * np.cos(2 * TAU * (u - plan.stance / 2))
    stance = u < plan.stance
    reach = (plan.extension * body.leg) ** 2 - foot[:, 0] ** 2
    allowed = foot[:, 1] + body.ankle_height + np.sqrt(np.maximum(reach, (0.5 * body.leg) ** 2)) - bob
    base = float(allowed[stance].min())
    dips = np.zeros(_GRID)
    width = 0.018 * plan.hz
    for offset in offsets.values():
        since = (u + offset + 0.5) % 1 - 0.5 - 1.6 * width
        dips -= plan.impact * np.exp(-0.5 * (since / width) ** 2)
    return base + bob + dips


def stride_bout(
    actor: Actor, plan: Stride, *, arm_swing: float, elbow: float, elbow_swing: float, turns: float
) -> Bout:
    """Perform strides for the length of the bout.

    Args:
        actor: person, times and random generator of the bout.
        plan: the stride.
        arm_swing: amplitude of the shoulder in rad.
        elbow: mean elbow flexion in rad.
        elbow_swing: additional flexion in rad while the arm is in front.
        turns: standard deviation of the heading in rad.
    """
    p, t, body = actor.person, actor.t, actor.body
    pose = actor.start()
    step = float(t[1] - t[0])
    unsteady = p["unsteadiness"]
    # Step length varies on level ground only, because the treads of stairs are equal.
    length = 1 + (actor.wander(0.03 * unsteady, 1.5) if plan.rise == 0 else 0.0)
    hesitation = actor.episodes((9.0, 30.0), (0.2, 1.2), (0.6, 1.2)) * actor.rng.uniform(0.1, 0.45)
    rate = plan.hz * np.clip(1 + actor.wander(0.018 * unsteady, 1.2) - hesitation, 0.25, 1.6)
    cycles = np.cumsum(rate) * step + actor.rng.random()
    offsets = {"left": 0.0, "right": 0.5}
    if p.weak:
        offsets[p.weak] += p["asymmetry"]
    else:
        offsets["right"] += p["asymmetry"]

    cycle = {side: _foot_cycle(plan, body, p["lift"] * (0.6 if side == p.weak else 1.0)) for side in SIDES}
    smooth = plan.softness * plan.hz
    foot = {side: _periodic(cycle[side], smooth)((cycles + offsets[side]) % 1.0).T for side in SIDES}
    pelvis = _periodic(_pelvis_cycle(plan, actor, cycle["left"], offsets)[:, None], 0.6 * smooth)(cycles % 1.0)[:, 0]

    phase = TAU * cycles
    mid = phase - TAU * plan.stance / 2
    swing_yaw = 0.07 + 0.05 * p["arm_swing"]
    yaw = -swing_yaw * np.cos(phase)
    pose["x"] = 0.012 * plan.length * np.sin(2 * mid)
    pose["y"] = 0.018 * p["sway"] * np.cos(mid) + actor.wander(0.006 * p["sway"], 1.5)
    pose["z"] = pelvis
    pose["yaw"] = yaw
    pose["roll"] = -0.045 * p["sway"] * np.cos(mid)
    pose["pitch"] = 0.3 * p["lean"] + 0.015 * np.cos(2 * phase)
    pose["side"] = pose["side"] + 0.03 * p["sway"] * np.cos(mid)
    pose["twist"] = pose["twist"] + 1.7 * swing_yaw * np.cos(phase)
    pose["turn"] = pose["turn"] - 0.6 * swing_yaw * np.cos(phase)

    ankles = {}
    for side in SIDES:
        s = 1.0 if side == "left" else -1.0
        ahead = foot[side][0] * length - (0.10 * plan.length if side == p.weak else 0.0)
        swinging = np.clip(foot[side][1] - plan.rise * foot[side][0] / plan.length, 0, None)
        across = s * (p["step_width"] / 2 + 0.02) + s * 0.15 * swinging
        ankles[side] = actor.fixed(ahead, across, foot[side][1] + body.ankle_height)
    actor.legs(pose, ankles, {side: foot[side][2] for side in SIDES})
    _swing_arms(actor, pose, cycles, offsets, arm_swing, elbow, elbow_swing)
    glance = actor.episodes((10 / p["restless"], 40 / p["restless"]), (0.5, 2.5), (0.4, 0.9))
    pose["turn"] = pose["turn"] + glance * actor.rng.choice([-0.6, 0.6])

    heading = actor.wander(turns, 5.0)
    heading = heading - heading[np.searchsorted(t, 0.0)]
    speed = plan.length * rate * length
    at = np.cumsum(np.stack([np.cos(heading), np.sin(heading)]) * speed * step, axis=1)
    at -= at[:, [int(np.searchsorted(t, 0.0))]]
    climbed = plan.rise * (cycles - cycles[int(np.searchsorted(t, 0.0))])
    local = np.stack([pose["x"], pose["y"]])
    pose["x"] = at[0] + np.cos(heading) * local[0] - np.sin(heading) * local[1]
    pose["y"] = at[1] + np.sin(heading) * local[0] + np.cos(heading) * local[1]
    pose["z"] = pose["z"] + climbed
    pose["yaw"] = pose["yaw"] + heading
    pose["level"] = climbed
    bout = Bout(pose=pose, floor=float(climbed.min()))
    if plan.rise:
        bout.props = _staircase(actor, plan, cycles)
    return bout


def _swing_arms(
    actor: Actor,
    pose: Pose,
    cycles: np.ndarray,
    offsets: dict[str, float],
    swing: float,
    elbow: float,
    elbow_swing: float,
) -> None:
    p = actor.person
    style = actor.choose("walk_arms")
    carrying = p.hand if actor.rng.random() < 0.7 else p.other_hand
    vigour = 1 + actor.wander(0.12 * p["unsteadiness"], 2.0)
    lag = actor.rng.normal(0.35, 0.1)
    for side, opposite in zip(SIDES, reversed(SIDES), strict=True):
        difference = p["swing_difference"] * (0.5 if side == "left" else -0.5)
        amplitude = swing * (1 + difference) * vigour * (0.35 if side == p.weak else 1.0)
        wave = np.cos(TAU * (cycles + offsets[opposite]) - lag)
        pose[f"{side}_shoulder_flex"] = pose[f"{side}_shoulder_flex"] + amplitude * wave - 0.1 * swing
        pose[f"{side}_shoulder_rot"] = pose[f"{side}_shoulder_rot"] + 0.2 + 0.25 * amplitude * wave
        bend = (
            elbow_swing
            * amplitude
            / max(swing, 1e-6)
            * (1 + np.cos(TAU * (cycles + offsets[opposite]) - lag - 0.4))
            / 2
        )
        pose[f"{side}_elbow"] = pose[f"{side}_elbow"] + elbow + bend
    if style != "free":
        kept = 0.75 + 0.25 * actor.episodes((3.0, 12.0), (3.0, 12.0), (0.6, 1.2))
        actor.arm(pose, carrying, style, np.clip(kept, 0, 1))
        if style == "phone":
            pose["nod"] = pose["nod"] + 0.3


def _staircase(actor: Actor, plan: Stride, cycles: np.ndarray) -> list[Prop]:
    """Treads on which the feet land; tread k belongs to half stride k."""
    start = cycles[int(np.searchsorted(actor.t, 0.0))]
    colour = actor.colour(0.4, 0.75)
    tread = plan.length / 2
    # A stance foot stays at its contact position: half the stance length ahead of the moving frame.
    first = int(np.floor(2 * cycles[0])) - 3
    props = []
    for k in range(first, int(np.ceil(2 * cycles[-1])) + 5):
        ahead = (k / 2 - start) + plan.stance / 2
        x, top = plan.length * ahead - plan.behind + 0.35 * actor.body.foot, plan.rise * ahead
        props.append(
            Prop(
                kind="box",
                at=(x, 0.0, top - 0.03),
                size=(tread, 1.0, 0.06),
                colour=colour,
                name="stair",
            )
        )
    return props


def walk(actor: Actor) -> Bout:
    """Walk on level ground with a slowly varying heading and the person's own arm motion."""
    p = actor.person
    step = p["walk_step"] * actor.body.height
    plan = Stride(
        hz=p["walk_cadence"] / 2,
        length=2 * step,
        rise=0.0,
        stance=p["stance"],
        lift=(
            (0, 0.018),
            (0.09, 0),
            (0.35, 0),
            (0.48, 0.03),
            (0.62, 0.15),
            (0.7, 0.2),
            (0.79, 0.12),
            (0.88, 0.045),
            (1, 0.018),
        ),
        pitch=((0, 20), (0.1, 0), (0.38, 0), (0.5, -20), (0.62, -58), (0.69, -52), (0.8, -18), (0.9, 12), (1, 20)),
        behind=0.5 * actor.body.foot,
        bob=0.025 * p["bob"] ** 0.5 * (step / 0.7) ** 1.5,
        extension=0.997,
        impact=0.0011 * p["impact"] * (step / 0.7),
    )
    pace = plan.hz * plan.length / 1.3
    return stride_bout(
        actor, plan, arm_swing=p["arm_swing"] * pace, elbow=p["elbow_carry"] - 0.1, elbow_swing=0.3 * pace, turns=0.16
    )


def jog(actor: Actor) -> Bout:
    """Jog on level ground: flight phases, bent elbows, hard contacts."""
    p = actor.person
    step = p["jog_step"] * actor.body.height
    plan = Stride(
        hz=p["jog_cadence"] / 2,
        length=2 * step,
        rise=0.0,
        stance=0.40,
        lift=((0, 0.015), (0.08, 0), (0.4, 0), (0.62, 0.13), (0.73, 0.30), (0.85, 0.17), (0.95, 0.05), (1, 0.015)),
        pitch=((0, 8), (0.12, 0), (0.36, -5), (0.62, -65), (0.75, -70), (0.9, -5), (1, 8)),
        behind=0.55 * actor.body.foot,
        bob=-0.030 * p["bob"],
        extension=0.99,
        impact=0.0030 * p["impact"],
        softness=0.008,
    )
    return stride_bout(
        actor, plan, arm_swing=0.15 + p["arm_swing"], elbow=1.15 + p["elbow_carry"], elbow_swing=0.3, turns=0.16
    )


def stairs_up(actor: Actor) -> Bout:
    """Climb stairs of equal treads, one tread per step."""
    p = actor.person
    plan = Stride(
        hz=p["up_cadence"] / 2,
        length=2 * 0.285,
        rise=2 * 0.17,
        stance=min(p["stance"] + 0.02, 0.7),
        lift=((0, 0), (0.3, 0), (0.5, 0.02), (0.62, 0.07), (0.74, 0.19), (0.86, 0.15), (0.96, 0.03), (1, 0)),
        pitch=((0, 3), (0.1, 0), (0.4, 0), (0.52, -14), (0.62, -38), (0.75, -25), (0.9, 2), (1, 3)),
        behind=0.1 * actor.body.foot,
        bob=0.014 * p["bob"],
        extension=0.99,
        impact=0.0007 * p["impact"],
    )
    bout = stride_bout(actor, plan, arm_swing=0.55 * p["arm_swing"], elbow=p["elbow_carry"], elbow_swing=0.2, turns=0.0)
    bout.pose["bend"] = bout.pose["bend"] + 0.12
    bout.pose["nod"] = bout.pose["nod"] + 0.15
    return bout


def stairs_down(actor: Actor) -> Bout:
    """Descend stairs of equal treads, forefoot first, with harder contacts than on the way up."""
    p = actor.person
    plan = Stride(
        hz=p["down_cadence"] / 2,
        length=2 * 0.285,
        rise=-2 * 0.17,
        stance=min(p["stance"], 0.68),
        lift=((0, 0.0), (0.08, 0), (0.4, 0), (0.52, 0.03), (0.62, 0.07), (0.74, 0.07), (0.88, 0.03), (1, 0.0)),
        pitch=((0, -18), (0.1, 0), (0.36, 0), (0.5, -18), (0.62, -35), (0.75, -12), (0.9, -10), (1, -18)),
        behind=0.3 * actor.body.foot,
        bob=0.016 * p["bob"],
        extension=0.99,
        impact=0.0024 * p["impact"],
        softness=0.010,
    )
    bout = stride_bout(
        actor, plan, arm_swing=0.45 * p["arm_swing"], elbow=p["elbow_carry"], elbow_swing=0.15, turns=0.0
    )
    bout.pose["nod"] = bout.pose["nod"] + 0.3
    return bout
