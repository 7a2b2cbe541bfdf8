"""Activities in place: stand, sit, lie, type, drink, brush_teeth, wave, clap; not those on foot."""

from __future__ import annotations

import numpy as np

from imu_video.simulation.actor import Actor, Bout, Prop
from imu_video.simulation.body import SIDES, Pose

_WOOD = (0.55, 0.4, 0.26)
_GREY = (0.35, 0.37, 0.42)


def stand_still(actor: Actor, pose: Pose, *, width: float = 0.0) -> dict[str, np.ndarray]:
    """Stand with sway and weight shifts; returns the planted feet so that an activity may move on from there."""
    p, body = actor.person, actor.body
    shift = actor.episodes((3, 14), (2, 10), (0.7, 1.5)) * actor.rng.choice([-1.0, 1.0]) * 0.035 * p["restless"]
    pose["x"] = actor.wander(0.006 * p["unsteadiness"], 1.1)
    pose["y"] = shift + actor.wander(0.005 * p["unsteadiness"], 1.3)
    pose["z"] = body.stand_height - 0.12 * np.abs(shift) - 0.004
    pose["roll"] = -1.2 * shift
    pose["side"] = pose["side"] + 1.2 * shift
    pose["yaw"] = actor.wander(0.03, 3.0)
    half = body.hip_half + 0.02 + width / 2
    stagger = actor.rng.normal(0, 0.03)
    feet = {
        side: actor.fixed(-0.03 + s * stagger, s * half, body.ankle_height)
        for side, s in zip(SIDES, (1.0, -1.0), strict=True)
    }
    actor.legs(pose, feet, 0.0)
    return feet


def stand(actor: Actor) -> Bout:
    """Stand: sway, weight shifts, the person's preferred arm posture, occasional fidgeting."""
    pose = actor.start()
    stand_still(actor, pose, width=actor.rng.uniform(0, 0.12))
    style = actor.choose("stand_arms")
    if style in ("pocket", "phone"):
        sides = SIDES if style == "pocket" and actor.rng.random() < 0.5 else (actor.person.hand,)
    else:
        sides = SIDES
    for side in sides:
        actor.arm(pose, side, style, 0.93)
    if style == "phone":
        pose["nod"] = pose["nod"] + 0.35
        _thumb(actor, pose, actor.person.hand)
    actor.fidget(pose)
    return Bout(pose=pose, props=_phone(actor, style))


def _thumb(actor: Actor, pose: Pose, side: str) -> None:
    """Scrolling on a phone: small quick turns of the hand in bursts."""
    busy = actor.episodes((0.8, 4.0), (0.8, 4.0), (0.2, 0.4))
    pose[f"{side}_pronation"] = pose[f"{side}_pronation"] + busy * actor.wander(0.03, 0.12)
    pose[f"{side}_wrist_flex"] = pose[f"{side}_wrist_flex"] + busy * actor.wander(0.04, 0.12)


def _phone(actor: Actor, style: str) -> list[Prop]:
    if style != "phone":
        return []
    return [Prop(kind="held", name="phone", held_in=actor.person.hand, colour=(0.08, 0.08, 0.1))]


def seat(actor: Actor, pose: Pose, *, lean: float, desk: bool) -> tuple[float, list[Prop]]:
    """Sit down on a chair; returns the height of the seat and the chair (and desk) as props."""
    p, body, rng = actor.person, actor.body, actor.rng
    top = float(rng.normal(0.45, 0.02))
    shift = actor.episodes((5, 25), (3, 15), (0.6, 1.2)) * rng.choice([-1.0, 1.0])
    pose["z"] = top + 0.09 * p["girth"] ** 0.5 + 0.004 * shift
    pose["x"] = actor.wander(0.004, 2.0)
    pose["y"] = 0.012 * p["restless"] * shift
    pose["pitch"] = -0.18 - 0.5 * lean
    pose["roll"] = 0.03 * p["restless"] * shift
    pose["bend"] = pose["bend"] - lean * 0.5 + p["slouch"] * 0.5 + 0.12 + 0.05 * p["restless"] * shift
    pose["nod"] = pose["nod"] + 0.25 * lean - 0.1
    style = actor.choose("sit_legs") if not desk else str(rng.choice(["flat", "forward", "tucked"]))
    reach = {"flat": 0.0, "forward": 0.16, "tucked": -0.16, "crossed": 0.02}[style]
    bounce_on = actor.episodes((4 / p["restless"], 30 / p["restless"]), (1.0, 6.0), (0.4, 0.8))
    bounce_on = bounce_on * float(rng.random() < 0.35 * p["restless"])
    bouncing = str(rng.choice(SIDES))
    bounce = bounce_on * (1 + np.sin(actor.rhythm(4.6 * p["tempo"], 0.06))) * 0.012
    feet, pitch = {}, {}
    for side, s in zip(SIDES, (1.0, -1.0), strict=True):
        lift = bounce if side == bouncing else 0.0
        place = body.thigh * 0.98 + reach + rng.normal(0, 0.02)
        feet[side] = actor.fixed(
            place + actor.wander(0.004, 2.0),
            s * (body.hip_half + 0.05 + rng.uniform(0, 0.06)),
            body.ankle_height + lift,
        )
        pitch[side] = -np.asarray(lift) / 0.16 + np.zeros(len(actor.t))
    over = str(rng.choice(SIDES))
    if style == "crossed":
        s = 1.0 if over == "left" else -1.0
        feet[over] = actor.fixed(
            body.thigh * 0.98 + 0.27 + actor.wander(0.01, 0.8), -s * (body.hip_half * 0.6), body.ankle_height + 0.24
        )
        pitch[over] = np.full(len(actor.t), -0.25) + actor.wander(0.08, 0.7)
    actor.legs(pose, feet, pitch, toe_out=0.1)
    colour = actor.colour(0.15, 0.6)
    props = [
        Prop(kind="box", at=(0.03, 0, top - 0.03), size=(0.46, 0.44, 0.06), colour=colour),
        Prop(kind="box", at=(-0.22, 0, top + 0.3), size=(0.05, 0.42, 0.42), colour=colour),
    ]
    for x in (-0.18, 0.22):
        for y in (-0.18, 0.18):
            props.append(Prop(kind="rod", at=(x, y, 0), to=(x, y, top - 0.05), size=(0.018, 0, 0), colour=_GREY))
    if desk:
        height = top + 0.27
        props.append(Prop(kind="box", at=(0.68, 0, height), size=(0.6, 1.15, 0.035), colour=_WOOD, name="desk"))
        for x in (0.42, 0.94):
            for y in (-0.52, 0.52):
                props.append(Prop(kind="rod", at=(x, y, 0), to=(x, y, height), size=(0.02, 0, 0), colour=_GREY))
    return top, props


def sit(actor: Actor) -> Bout:
    """Sit on a chair: posture shifts, a bouncing leg in restless people, hands on the lap or busy with a phone."""
    pose = actor.start()
    _, props = seat(actor, pose, lean=actor.person["recline"], desk=False)
    style = actor.choose("sit_arms")
    for side in (actor.person.hand, actor.person.other_hand):
        actor.arm(pose, side, "lap" if style == "phone" and side != actor.person.hand else style, 0.93)
    if style == "phone":
        pose["nod"] = pose["nod"] + 0.35
        _thumb(actor, pose, actor.person.hand)
    actor.fidget(pose)
    return Bout(pose=pose, props=props + _phone(actor, style))


def type_text(actor: Actor) -> Bout:
    """Type at a desk: bursts of key strokes in wrists and fingers, moving hands, occasional use of the mouse."""
    p, rng = actor.person, actor.rng
    pose = actor.start()
    top, props = seat(actor, pose, lean=0.3 * p["recline"] - 0.05, desk=True)
    pose["nod"] = pose["nod"] + actor.episodes((1.5, 6), (0.5, 2.5), (0.3, 0.5)) * 0.3
    burst = actor.episodes((0.3, 2.5), (1.0, 6.0), (0.15, 0.35), first=-2.0)
    mouse = actor.episodes((4, 14), (1.5, 6), (0.4, 0.7))
    desk_top = top + 0.29
    size = p["typing_size"]
    for side, s in zip(SIDES, (1.0, -1.0), strict=True):
        stroke = np.sin(actor.rhythm(p["typing_hz"] * rng.normal(1, 0.05), 0.2)) * (0.55 + actor.wander(0.35, 0.4))
        travel = actor.wanders(2, 0.012 * size, 0.45)
        keys = actor.fixed(
            0.42 + burst * travel[0], s * 0.10 + burst * travel[1], desk_top + 0.04 + 0.0022 * size * burst * stroke
        )
        if side == p.hand:
            tracking = actor.wanders(2, 0.02, 0.35)
            pointer = actor.fixed(0.43 + tracking[0], s * 0.27 + tracking[1], desk_top + 0.035)
            keys = actor.mix((keys, 1 - mouse), (pointer, mouse))
        actor.hand(pose, side, keys, 0.55)
        pose[f"{side}_pronation"] = 1.15 + actor.wander(0.03, 1.2) + 0.05 * size * burst * actor.wander(1.0, 0.15)
        pose[f"{side}_wrist_flex"] = -0.25 + 0.07 * size * burst * stroke
        pose[f"{side}_wrist_dev"] = 0.06 * size * burst * actor.wander(1.0, 0.2)
    desk = props[6]
    props.append(Prop(kind="box", at=(0.52, 0, desk.at[2] + 0.03), size=(0.16, 0.42, 0.02), colour=(0.1, 0.1, 0.12)))
    props.append(Prop(kind="box", at=(0.86, 0, desk.at[2] + 0.26), size=(0.03, 0.52, 0.32), colour=(0.07, 0.08, 0.12)))
    return Bout(pose=pose, props=props)


def drink(actor: Actor) -> Bout:
    """Drink from a cup, seated or standing: raise, tilt, sip, lower and rest between sips."""
    p, rng = actor.person, actor.rng
    pose = actor.start()
    side = p.hand if rng.random() < 0.9 else p.other_hand
    s = 1.0 if side == "left" else -1.0
    props: list[Prop] = []
    gap = p["sip_gap"] / p["tempo"]
    sip = actor.episodes(
        (0.35 * gap, 1.2 * gap), (0.7 * p["sip_hold"], 1.5 * p["sip_hold"]), (0.7 / p["tempo"], 1.2 / p["tempo"])
    )
    pose["nod"] = pose["nod"] - 0.18 * sip
    other = "left" if side == "right" else "right"
    if actor.choose("drink_where") == "sit":
        top, props = seat(actor, pose, lean=p["recline"], desk=rng.random() < 0.6)
        actor.arm(pose, other, "lap" if rng.random() < 0.6 else "clasped", 0.93)
        held = actor.fixed(0.36 + actor.wander(0.008, 1.5), s * 0.15 + actor.wander(0.012, 1.5), top + 0.34)
    else:
        stand_still(actor, pose)
        actor.arm(pose, other, str(rng.choice(["hang", "pocket", "hips"])), 0.93)
        frames = actor.frames(pose)
        low = (
            frames.joint("spine") + frames.segments["torso"][:, 0] * 0.27 + frames.segments["torso"][:, 1] * (s * 0.16)
        )
        held = low + np.stack(list(actor.wanders(3, 0.012, 1.2)))
    mouth, head = actor.mouth(pose)
    raised = mouth + head[:, 0] * 0.06 + head[:, 1] * (s * 0.075) - head[:, 2] * 0.075
    actor.hand(pose, side, actor.mix((held, 1 - sip), (raised, sip)), 0.5 - 0.2 * sip)
    tilt = sip * (0.5 + actor.wander(0.1, 0.8))
    pose[f"{side}_pronation"] = 0.1 - 0.25 * sip + actor.wander(0.03, 0.6)
    pose[f"{side}_wrist_dev"] = 0.1 + 0.7 * tilt
    props.append(Prop(kind="held", name="cup", held_in=side, colour=actor.colour(0.5, 1.0)))
    return Bout(pose=pose, props=props)


def brush_teeth(actor: Actor) -> Bout:
    """Brush teeth standing at a basin: fast small strokes at the mouth, changing side and style, pausing to spit."""
    p, rng = actor.person, actor.rng
    pose = actor.start()
    spit = actor.episodes((10, 30), (0.6, 1.8), (0.6, 1.0))
    pose["bend"] = pose["bend"] + 0.12 + 0.55 * spit
    stand_still(actor, pose)
    side, other = p.hand, p.other_hand
    s = 1.0 if side == "left" else -1.0
    active = (1 - spit) * (1 - 0.95 * actor.episodes((3, 10), (0.3, 1.2), (0.2, 0.4)))
    phase = actor.rhythm(p["brush_hz"], 0.08)
    quadrant = np.tanh(2.5 * actor.wander(1.0, 3.5))
    style = 0.5 + 0.5 * np.tanh(2.0 * actor.wander(1.0, 5.0))
    amount = p["brush_size"] * active * np.clip(1 + actor.wander(0.25, 1.0), 0.2, 2)
    mouth, head = actor.mouth(pose)
    along = amount * np.sin(phase)
    up = amount * (0.25 + 0.75 * style) * np.cos(phase)
    path = (
        mouth
        + head[:, 0] * (0.075 + 0.4 * along)
        + head[:, 1] * (s * 0.105 + 0.02 * quadrant + along)
        + head[:, 2] * (-0.055 + 0.012 * quadrant * s + up)
    )
    actor.hand(pose, side, path, 0.75)
    pose[f"{side}_pronation"] = 0.45 - 0.4 * quadrant + 6.0 * amount * style * np.sin(phase + 0.5)
    pose[f"{side}_wrist_flex"] = 0.1 + 5.0 * amount * np.sin(phase + 0.3)
    actor.arm(pose, other, str(rng.choice(["hang", "hips", "lap"])), 0.93)
    props = [
        Prop(kind="box", at=(0.5, 0, 0.78), size=(0.42, 0.7, 0.12), colour=(0.86, 0.88, 0.9)),
        Prop(kind="rod", at=(0.55, 0, 0), to=(0.55, 0, 0.75), size=(0.06, 0, 0), colour=(0.8, 0.82, 0.85)),
        Prop(kind="held", name="brush", held_in=side, colour=(0.2, 0.6, 0.85)),
    ]
    return Bout(pose=pose, props=props)


def lie(actor: Actor) -> Bout:
    """Lie on a bed on the back, a side or the front; breathe, shift, turn over occasionally."""
    p, body, rng = actor.person, actor.body, actor.rng
    pose = actor.start()
    top = float(rng.normal(0.42, 0.04))
    angles = {"back": 0.0, "left": np.pi / 2, "right": -np.pi / 2, "front": np.pi}
    first, second = actor.choose("lie"), actor.choose("lie")
    turn = actor.episodes((14, 60), (8, 40), (1.2, 2.2))
    stays = rng.random() > 0.35 * p["restless"]
    second = first if stays else second
    sideways = _lies(first, ("left", "right")) * (1 - turn) + _lies(second, ("left", "right")) * turn
    face_down = _lies(first, ("front",)) * (1 - turn) + _lies(second, ("front",)) * turn
    pose["spin"] = (
        angles[first] * (1 - turn)
        + angles[second] * turn
        + actor.wander(0.02, 2.5)
        + 0.12 * rng.normal() * (1 - face_down)
    )
    pose["pitch"] = -np.pi / 2 + 0.05 * rng.normal() + actor.wander(0.006, 2.0)
    breath = np.sin(actor.rhythm(0.24, 0.1))
    girth = 0.11 * p["girth"] ** 0.5
    pose["z"] = top + girth + 0.03 * sideways + 0.0025 * breath
    pose["bend"] = 0.05 + 0.015 * breath + 0.15 * sideways
    pose["nod"] = 0.15 + 0.1 * sideways
    pose["turn"] = actor.wander(0.2, 4.0) * (1 - sideways) + 1.2 * face_down
    arms = actor.choose("lie_arms")
    small = actor.episodes((5 / p["restless"], 25 / p["restless"]), (1, 6), (0.5, 1.2))
    bent = rng.uniform(0, 0.5) * float(rng.random() < 0.5)
    for side in SIDES:
        top_leg = 0.15 if (side == "left") == (first == "right") else 0.0
        pose[f"{side}_hip_flex"] = 0.06 + bent + sideways * (0.6 + top_leg) + 0.05 * small + actor.wander(0.006, 3)
        pose[f"{side}_knee"] = 0.1 + 2 * bent + sideways * 0.9 + 0.1 * small + actor.wander(0.006, 3)
        pose[f"{side}_hip_rot"], pose[f"{side}_hip_abd"] = -0.3 * (1 - sideways), 0.08 * (1 - sideways)
        pose[f"{side}_ankle"] = -0.45
        style = arms if arms != "phone" or side == p.hand else "sides"
        actor.arm(pose, side, {"sides": "hang", "phone": "raised_phone"}.get(style, style), 0.93 * (1 - 0.7 * sideways))
        pose[f"{side}_shoulder_flex"] = pose[f"{side}_shoulder_flex"] + 0.75 * sideways + 0.12 * small
        pose[f"{side}_elbow"] = pose[f"{side}_elbow"] + 0.7 * sideways
    if arms == "phone":
        _thumb(actor, pose, p.hand)
    props = [
        Prop(kind="box", at=(0.05, 0, top - 0.11), size=(2.05, 0.95, 0.22), colour=(0.8, 0.8, 0.84)),
        Prop(kind="box", at=(0.05, 0, top - 0.32), size=(2.05, 0.9, 0.18), colour=_WOOD),
        Prop(kind="box", at=(-0.36 * body.height, 0, top + 0.03), size=(0.36, 0.6, 0.07), colour=(0.92, 0.92, 0.95)),
    ]
    return Bout(pose=pose, props=props + _phone(actor, arms))


def _lies(how: str, options: tuple[str, ...]) -> float:
    return float(how in options)


def wave(actor: Actor) -> Bout:
    """Wave with a raised hand, a few waves at a time; the arm sinks in between."""
    p, rng = actor.person, actor.rng
    pose = actor.start()
    stand_still(actor, pose)
    side = p.hand if rng.random() < 0.85 else p.other_hand
    s = 1.0 if side == "left" else -1.0
    up = actor.episodes((0.4, 2.5), (1.5, 6.0), (0.45, 0.9), first=float(rng.uniform(-1.5, 0.5)))
    phase = actor.rhythm(p["wave_hz"], 0.07)
    size = p["wave_size"] * np.clip(1 + actor.wander(0.2, 1.5), 0.3, 1.8)
    actor.arm(pose, side, "raised", up)
    pose[f"{side}_shoulder_rot"] = pose[f"{side}_shoulder_rot"] + up * size * np.sin(phase)
    pose[f"{side}_shoulder_abd"] = pose[f"{side}_shoulder_abd"] + up * 0.15 * size * np.sin(phase + 0.4)
    pose[f"{side}_wrist_dev"] = up * 0.3 * size * np.sin(phase - 0.6)
    pose["side"] = pose["side"] + s * 0.05 * up
    return Bout(pose=pose)


def clap(actor: Actor) -> Bout:
    """Clap hands in front of the chest, in rounds with rests; each contact stops the hands abruptly."""
    p = actor.person
    pose = actor.start()
    stand_still(actor, pose)
    rate = p["clap_hz"]
    on = actor.episodes((0.5, 2.5), (2.0, 8.0), (0.35, 0.6), first=-1.0)
    phase = actor.rhythm(rate, 0.06)
    # Open slowly, close fast: a sharpened wave whose minimum is the contact.
    gap = (1 - np.exp(-3.0 * (1 - np.cos(phase)) / 2)) / (1 - np.exp(-3.0))
    span = p["clap_span"] * np.clip(1 + actor.wander(0.15, 1.2), 0.4, 1.7)
    frames = actor.frames(pose)
    torso, spine = frames.segments["torso"], frames.joint("spine")
    for side, s in zip(SIDES, (1.0, -1.0), strict=True):
        ahead = 0.30 + actor.wander(0.008, 1.0)
        high = (0.17 if side == p.hand else 0.13) + 0.02 * np.sin(phase)
        apart = s * (0.035 + on * span * gap + (1 - on) * 0.03)
        wrist = spine + torso[:, 0] * ahead + torso[:, 1] * apart + torso[:, 2] * (high - 0.15 * (1 - on))
        actor.hand(pose, side, wrist, 0.45)
        pose[f"{side}_pronation"] = 0.2 + 0.1 * np.cos(phase) * on
    return Bout(pose=pose)
