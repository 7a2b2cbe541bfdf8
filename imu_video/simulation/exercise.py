"""Activities with the whole body in one place: vacuum, squats, jumping_jacks, cycle."""

from __future__ import annotations

import numpy as np

from imu_video.simulation.actor import TAU, Actor, Bout, Prop, smoothstep
from imu_video.simulation.body import SIDES


def vacuum(actor: Actor) -> Bout:
    """Vacuum: strokes of one arm from a staggered stance, trunk and weight following, steps to new places."""
    p, body, rng = actor.person, actor.body, actor.rng
    t = actor.t
    pose = actor.start()
    side, other = p.hand, p.other_hand
    s = 1.0 if side == "left" else -1.0
    rest = actor.episodes((5, 16), (0.4, 1.5), (0.3, 0.6))
    phase = actor.rhythm(1 / p["vacuum_period"] * p["tempo"] ** 0.5, 0.14, 1 - 0.9 * rest)
    amount = np.clip(1 + actor.wander(0.25, 2.0), 0.3, 1.8)
    stroke = 0.5 * p["vacuum_reach"] * amount * np.sin(phase)
    # Every few strokes both feet step to a new place, one after the other.
    home = {"left": np.zeros((2, len(t))), "right": np.zeros((2, len(t)))}
    lift = {"left": np.zeros(len(t)), "right": np.zeros(len(t))}
    weight = np.zeros((2, len(t)))
    now = t[0] + rng.uniform(0.5, 3)
    where = np.zeros(2)
    while now < t[-1]:
        move = np.clip(np.array([rng.normal(0.04, 0.14), rng.normal(0, 0.16)]) - 0.25 * where, -0.35, 0.35)
        order = SIDES if move[1] > 0 else SIDES[::-1]
        length = 0.55 / p["tempo"]
        for i, foot in enumerate(order):
            begin = now + i * length
            home[foot] += move[:, None] * smoothstep(t, begin, begin + length)
            inside = np.clip((t - begin) / length, 0, 1)
            lift[foot] += actor.soften(0.05 * np.sin(np.pi * inside) ** 2, 0.012)
        weight += move[:, None] * smoothstep(t, now, now + 2 * length)
        where = where + move
        now += 2 * length + rng.uniform(1.5, 6.0)
    pose["x"] = 0.05 + weight[0] + 0.22 * stroke
    pose["y"] = weight[1] + actor.wander(0.008, 1.0)
    pose["z"] = body.stand_height - 0.055 - 0.06 * stroke
    turning = actor.wander(0.14, 2.5)
    pose["yaw"] = turning + 0.12 * s * stroke / 0.15
    pose["bend"] = pose["bend"] + 0.28 + 0.6 * stroke
    pose["twist"] = pose["twist"] - s * 0.5 * stroke
    pose["nod"] = pose["nod"] + 0.2
    half = body.hip_half + 0.03
    forward = {side: -0.16, other: 0.18}
    feet = {
        foot: actor.fixed(home[foot][0] + forward[foot], home[foot][1] + k * half, body.ankle_height + lift[foot])
        for foot, k in zip(SIDES, (1.0, -1.0), strict=True)
    }
    actor.legs(pose, feet, {foot: -1.5 * lift[foot] for foot in SIDES})
    hip = 0.56 * body.height
    grip = actor.fixed(
        pose["x"] + 0.33 + stroke + actor.wander(0.006, 0.5),
        pose["y"] + s * 0.14 + 0.35 * stroke * np.sin(turning * 8) + actor.wander(0.008, 0.6),
        hip + 0.12 - 0.25 * stroke + actor.wander(0.006, 0.5),
    )
    actor.hand(pose, side, grip, 0.25)
    pose[f"{side}_pronation"] = 0.55 + actor.wander(0.05, 0.8) + 0.25 * stroke
    pose[f"{side}_wrist_flex"] = 0.15 - 0.6 * stroke
    if rng.random() < 0.4:
        second = grip + actor.fixed(0.1, -s * 0.15, -0.12)
        actor.hand(pose, other, second, 0.5)
    else:
        actor.arm(pose, other, str(rng.choice(["hang", "hips", "lap"])), 0.9)
    return Bout(pose=pose, props=[Prop(kind="held", name="stick", held_in=side, colour=(0.75, 0.15, 0.2))])


def squats(actor: Actor) -> Bout:
    """Squats with the person's own depth, period and arms, and rests at the top."""
    p, body = actor.person, actor.body
    pose = actor.start()
    rest = actor.episodes((6, 18), (0.5, 2.0), (0.3, 0.5))
    phase = actor.rhythm(1 / p["squat_period"], 0.08, 1 - 0.97 * rest)
    # Time at the top is longer than at the bottom.
    down = actor.soften((0.5 - 0.5 * np.cos(phase)) ** 1.3, 0.03) * (1 - rest)
    depth = p["squat_depth"] * np.clip(1 + actor.wander(0.08, 4.0), 0.6, 1.3)
    drop = down * depth
    pose["z"] = body.stand_height - 0.01 - drop * body.leg
    pose["x"] = -0.16 * drop + actor.wander(0.006, 0.9)
    pose["y"] = actor.wander(0.006, 1.0)
    pose["pitch"] = 0.75 * drop
    pose["bend"] = pose["bend"] + 0.55 * drop
    pose["nod"] = pose["nod"] - 0.9 * drop
    half = 0.16 + 0.1 * p["step_width"]
    feet = {k: actor.fixed(0.0, s * half, body.ankle_height) for k, s in zip(SIDES, (1.0, -1.0), strict=True)}
    actor.legs(pose, feet, 0.0, toe_out=0.3)
    style = actor.choose("squat_arms")
    for side in SIDES:
        if style == "front":
            pose[f"{side}_shoulder_flex"] = pose[f"{side}_shoulder_flex"] + 2.6 * np.minimum(drop * 1.3, 0.6)
        else:
            actor.arm(pose, side, {"hips": "hips", "chest": "folded"}[style], 0.95)
    return Bout(pose=pose)


def jumping_jacks(actor: Actor) -> Bout:
    """Jumping jacks: two hops per cycle, feet apart and together, arms overhead and down, with pauses."""
    p, body = actor.person, actor.body
    pose = actor.start()
    rest = actor.episodes((6, 16), (0.6, 2.2), (0.4, 0.7))
    phase = actor.rhythm(1 / p["jack_period"], 0.05, 1 - 0.98 * rest)
    go = 1 - rest
    size = np.clip(1 + actor.wander(0.08, 2.5), 0.6, 1.3) * go
    opened = 0.5 - 0.5 * np.cos(phase)
    opened = 0.6 * opened + 0.4 * opened * opened * (3 - 2 * opened)
    air = np.maximum(np.sin(2 * (phase - TAU * 0.02)), 0.0) ** 1.5  # in the air while the feet travel
    hop = p["jack_hop"] * size
    air = actor.soften(air, 0.012)
    pose["z"] = body.stand_height - 0.012 + hop * (air - 0.3 * np.cos(2 * phase)) - 0.02 * opened * size
    pose["x"] = actor.wander(0.01, 1.2)
    pose["y"] = actor.wander(0.01, 1.2)
    pose["yaw"] = actor.wander(0.05, 3.0)
    pose["bend"] = pose["bend"] + 0.05 * np.cos(2 * phase) * go
    spread = 0.26 * body.leg * opened * size
    feet = {}
    for side, s in zip(SIDES, (1.0, -1.0), strict=True):
        feet[side] = actor.fixed(pose["x"] - 0.02, s * (0.09 + spread), body.ankle_height + 0.9 * hop * air)
        lift = p["jack_arms"] * opened * size
        pose[f"{side}_shoulder_abd"] = pose[f"{side}_shoulder_abd"] + lift
        pose[f"{side}_shoulder_rot"] = pose[f"{side}_shoulder_rot"] - 0.5 * opened
        pose[f"{side}_elbow"] = pose[f"{side}_elbow"] + 0.15 + 0.25 * np.sin(phase) ** 2 * go
    actor.legs(pose, feet, -0.6 * air * go)
    return Bout(pose=pose)


def cycle(actor: Actor) -> Bout:
    """Pedal an exercise bike: legs driven by the cranks, hands on the bar, occasional coasting."""
    p, body, rng = actor.person, actor.body, actor.rng
    pose = actor.start()
    coast = actor.episodes((6, 25), (0.5, 2.5), (0.4, 0.9))
    phase = actor.rhythm(p["pedal_hz"] * p["tempo"] ** 0.3, 0.05, 1 - 0.95 * coast)
    crank, effort = 0.17, 1 + actor.wander(0.2, 3.0)
    axle = (0.22, 0.0, 0.32)
    saddle = axle[2] + np.sqrt((0.955 * (body.leg + 0.03)) ** 2 - 0.2**2) - crank + 0.02
    lean = p["ride_lean"]
    shake = actor.wanders(3, 0.00025, 0.03)
    pose["x"] = actor.wander(0.004, 1.5) + shake[0]
    pose["y"] = 0.012 * p["sway"] * np.sin(phase) + shake[1]
    pose["z"] = saddle + 0.004 * np.cos(2 * phase) * effort + shake[2]
    pose["roll"] = 0.035 * p["sway"] * effort * np.sin(phase)
    pose["pitch"] = 0.45 * lean
    pose["bend"] = pose["bend"] + 0.5 * lean
    pose["side"] = pose["side"] - 0.03 * p["sway"] * effort * np.sin(phase)
    pose["nod"] = pose["nod"] - 0.6 * lean
    feet, pitch = {}, {}
    for side, s, offset in zip(SIDES, (1.0, -1.0), (0.0, np.pi), strict=True):
        angle = phase + offset
        px, pz = axle[0] + crank * np.sin(angle), axle[2] + crank * np.cos(angle)
        tip = -0.25 + 0.22 * np.sin(angle + 0.5)
        pitch[side] = tip
        feet[side] = actor.fixed(px - 0.8 * body.foot, s * 0.11, pz + body.ankle_height - body.foot * tip * 0.6)
    actor.legs(pose, feet, pitch, toe_out=0.02)
    bar = (
        0.28 + 0.26 * body.height * (0.55 + 0.5 * np.sin(lean)),
        saddle + 0.34 * body.height * np.cos(0.9 * lean) - 0.22,
    )
    for side, s in zip(SIDES, (1.0, -1.0), strict=True):
        grip = actor.fixed(bar[0] - 0.05 + shake[0], s * 0.2 + 0.3 * shake[1], bar[1] + shake[2])
        actor.hand(pose, side, grip, 0.2)
        pose[f"{side}_pronation"] = 1.1 + actor.wander(0.03, 2.0)
    if rng.random() < 0.3:  # sits up with one hand off the bar for a while
        side = str(rng.choice(SIDES))
        actor.arm(pose, side, "hang", 0.9 * actor.episodes((4, 15), (2, 6), (0.7, 1.2)))
    return Bout(pose=pose, props=_bike(axle, float(saddle) - 0.1, bar))


def _bike(axle: tuple[float, float, float], saddle: float, bar: tuple[float, float]) -> list[Prop]:
    frame, dark = (0.2, 0.3, 0.55), (0.16, 0.16, 0.19)
    rods = [
        ((axle[0], 0, axle[2]), (-0.02, 0, saddle), 0.03),
        ((axle[0], 0, axle[2]), (bar[0] + 0.05, 0, bar[1] - 0.1), 0.03),
        ((bar[0] + 0.05, 0, bar[1] - 0.1), (bar[0] + 0.04, 0, bar[1]), 0.025),
        ((bar[0], -0.24, bar[1]), (bar[0], 0.24, bar[1]), 0.018),
        ((axle[0] - 0.5, 0, 0.03), (axle[0] + 0.75, 0, 0.03), 0.03),
        ((axle[0] + 0.1, 0, 0.3), (axle[0] - 0.3, 0, 0.05), 0.025),
    ]
    props = [Prop(kind="rod", at=a, to=b, size=(r, 0, 0), colour=frame) for a, b, r in rods]
    props.append(Prop(kind="rod", at=(-0.1, 0, saddle), to=(0.1, 0, saddle), size=(0.06, 0, 0), colour=dark))
    props.append(Prop(kind="box", at=(axle[0] + 0.42, 0, 0.3), size=(0.42, 0.09, 0.42), colour=dark))
    return props
