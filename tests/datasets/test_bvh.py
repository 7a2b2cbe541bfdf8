"""BVH: a simulated session, written as a rig whose bone axes are turned at random, comes back as the same motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from imu_video.config import load_config
from imu_video.datasets.bvh import SUBJECT, Bvh
from imu_video.datasets.bvh_file import read_bvh
from imu_video.errors import ConfigError, RecordingError
from imu_video.recordings.splits import SplitConfig, assign
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.simulation.mocap import fit_axes, to_session
from imu_video.simulation.person import draw_person
from imu_video.simulation.session import PAD_S, RATE_HZ, Session, simulate
from imu_video.testing import check_dataset

FPS = 50.0
# joint: (parent, segment whose bone it is), parents first
JOINTS: dict[str, tuple[str | None, str]] = {
    "pelvis": (None, "pelvis"),
    "spine": ("pelvis", "torso"),
    "neck": ("spine", "torso"),
    "head": ("neck", "head"),
    **{
        f"{side}_{joint}": (parent.format(side=side), segment.format(side=side))
        for side in ("left", "right")
        for joint, parent, segment in (
            ("shoulder", "spine", "{side}_upper_arm"),
            ("elbow", "{side}_shoulder", "{side}_forearm"),
            ("wrist", "{side}_elbow", "{side}_hand"),
            ("hip", "pelvis", "{side}_thigh"),
            ("knee", "{side}_hip", "{side}_shank"),
            ("ankle", "{side}_knee", "{side}_foot"),
            ("foot", "{side}_ankle", "{side}_foot"),
        )
    },
}
NAMES = {
    "pelvis": "Hips",
    "spine": "Spine",
    "neck": "Neck",
    "head": "Head",
    **{
        f"{side}_{joint}": f"{side.capitalize()}{name}"
        for side in ("left", "right")
        for joint, name in (
            ("shoulder", "Arm"),
            ("elbow", "ForeArm"),
            ("wrist", "Hand"),
            ("hip", "UpLeg"),
            ("knee", "Leg"),
            ("ankle", "Foot"),
            ("foot", "ToeBase"),
        )
    },
}
_TO_Y_UP = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


def session(seconds: float = 4.0, *, activities: tuple[str, ...] = ("walk", "stand")) -> Session:
    """Somebody who walks and stands."""
    return simulate(draw_person(3, "someone"), activities=activities, seconds_per_activity=seconds, seed=3, session="1")


def write(path: Path, made: Session, *, positions_everywhere: bool = False) -> None:
    """Write the motion of a session, margins included, in centimetres and y up."""
    step = round(RATE_HZ / FPS)
    rng = np.random.default_rng(0)
    own = {joint: Rotation.random(rng=rng).as_matrix() for joint in JOINTS}
    own["neck"] = own["spine"]  # one rigid part
    at = {j: _TO_Y_UP @ made.motion.joint(j)[:, ::step] * 100 for j in JOINTS}
    bones = {
        j: np.einsum("ij,jkt,kl->ilt", _TO_Y_UP, made.motion.segments[s][:, :, ::step], own[j])
        for j, (_, s) in JOINTS.items()
    }
    columns: list[np.ndarray] = []
    text = ["HIERARCHY"]

    def add(joint: str, depth: int) -> None:
        parent = JOINTS[joint][0]
        pad = "  " * depth
        local, turn = at[joint], bones[joint]
        if parent is not None:
            local = np.einsum("jit,jt->it", bones[parent], at[joint] - at[parent])
            turn = np.einsum("jit,jkt->ikt", bones[parent], bones[joint])
        moves = parent is None or positions_everywhere
        offset = np.zeros(3) if moves else local.mean(axis=1)
        text.extend([f"{pad}{'ROOT' if parent is None else 'JOINT'} {NAMES[joint]}", pad + "{"])
        text.append(f"{pad}  OFFSET {' '.join(f'{v:.6f}' for v in offset)}")
        kinds = ["Xposition", "Yposition", "Zposition"] * moves + ["Zrotation", "Xrotation", "Yrotation"]
        text.append(f"{pad}  CHANNELS {len(kinds)} {' '.join(kinds)}")
        if moves:
            columns.append(local.T)
        columns.append(Rotation.from_matrix(turn.transpose(2, 0, 1)).as_euler("ZXY", degrees=True))
        children = [j for j, (p, _) in JOINTS.items() if p == joint]
        for child in children:
            add(child, depth + 1)
        if not children:
            text.extend([f"{pad}  End Site", pad + "  {", f"{pad}    OFFSET 0 0 0", pad + "  }"])
        text.append(pad + "}")

    add("pelvis", 0)
    table = np.concatenate(columns, axis=1)
    text += ["MOTION", f"Frames: {len(table)}", f"Frame Time: {1 / FPS:.7f}"]
    text += [" ".join(f"{v:.6f}" for v in row) for row in table]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n")


@pytest.fixture(scope="module")
def made() -> Session:
    return session()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, made: Session) -> Path:
    folder = tmp_path_factory.mktemp("bvh")
    write(folder / "part-1" / "set_walk-and-stand_old_001.bvh", made)
    write(folder / "part-1" / "set_walk-and-stand_normal_001.bvh", made, positions_everywhere=True)
    return folder


PATTERN = r"set_(?P<label>[^_]+)_(?P<style>[^_]+)_\d+"


def naive_motion(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Forward kinematics written out joint by joint and frame by frame, with matrices from sines and cosines."""
    file = read_bvh(path)
    positions = np.zeros((len(file.names), 3, len(file.values)))
    rotations = np.zeros((len(file.names), 3, 3, len(file.values)))
    for frame, row in enumerate(file.values):
        at = 0
        for joint, parent in enumerate(file.parents):
            local, turn = file.offsets[joint].copy(), np.eye(3)
            for kind in file.channels[joint]:
                axis = "XYZ".index(kind[0])
                if kind.endswith("position"):
                    local[axis] = row[at]
                else:
                    c, s = np.cos(np.deg2rad(row[at])), np.sin(np.deg2rad(row[at]))
                    i, j = [(1, 2), (2, 0), (0, 1)][axis]
                    one = np.eye(3)
                    one[i, i] = one[j, j] = c
                    one[j, i], one[i, j] = s, -s
                    turn = turn @ one
                at += 1
            base, frame_of = (
                (np.zeros(3), np.eye(3))
                if parent < 0
                else (positions[parent, :, frame], rotations[parent, :, :, frame])
            )
            positions[joint, :, frame] = base + frame_of @ local
            rotations[joint, :, :, frame] = frame_of @ turn
    return positions, rotations


@pytest.mark.parametrize("style", ["old", "normal"])
def test_forward_kinematics_equals_the_naive_twin(tree: Path, style: str) -> None:
    path = tree / "part-1" / f"set_walk-and-stand_{style}_001.bvh"
    file = read_bvh(path)
    assert file.names[0] == "Hips"
    assert file.frame_s == pytest.approx(1 / FPS)
    short = Bvh(root=str(tree))
    assert short.subjects() == [SUBJECT]
    positions, rotations = file.motion()
    expected_positions, expected_rotations = naive_motion(path)
    np.testing.assert_allclose(positions, expected_positions, atol=1e-9)
    np.testing.assert_allclose(rotations, expected_rotations, atol=1e-9)


def test_the_motion_comes_back_from_a_rig_with_axes_of_its_own(tree: Path, made: Session) -> None:
    source = Bvh(root=str(tree), pattern=PATTERN)
    file = read_bvh(source.files[1])
    found = to_session(source._motion(file).take, source._rig(file), person=draw_person(0, SUBJECT), label="x")
    assert found.seconds == pytest.approx(made.seconds, abs=0.03)
    assert found.person.body.height == pytest.approx(made.person.body.height * made.person.body.legs, rel=0.01)
    # The same motion up to a turn about the vertical and a shift: compare what does not depend on these.
    samples = min(found.motion.joints.shape[2], made.motion.joints.shape[2])
    for joint in ("left_wrist", "right_ankle", "head", "neck"):
        theirs, ours = (s.motion.joint(joint) - s.motion.joint("pelvis") for s in (made, found))
        np.testing.assert_allclose(ours[2, :samples], theirs[2, :samples], atol=0.02)
        np.testing.assert_allclose(
            np.linalg.norm(ours[:2, :samples], axis=0), np.linalg.norm(theirs[:2, :samples], axis=0), atol=0.02
        )

    def turned(s: Session) -> np.ndarray:
        return s.motion.segments["pelvis"][:, :, :samples]

    # How far a forearm is turned about its own length when the arm hangs, no rig tells: its axes are off by a constant,
    # as if the strap sat turned on the wrist.
    for segment, degrees in {
        "torso": 8,
        "head": 15,
        "left_upper_arm": 8,
        "left_forearm": 45,
        "right_shank": 8,
        "left_thigh": 8,
        "left_foot": 8,
    }.items():
        ours, theirs = (
            np.einsum("jit,jkt->ikt", turned(s), s.motion.segments[segment][:, :, :samples]) for s in (found, made)
        )
        between = np.einsum("jit,jkt->ikt", ours, theirs).trace(axis1=0, axis2=1)
        error = np.rad2deg(np.arccos(np.clip((between - 1) / 2, -1, 1)))
        assert np.median(error) < degrees, f"{segment}: {np.median(error):.1f} degrees"
        assert np.ptp(error) < 12, f"{segment}: moves by {np.ptp(error):.1f} degrees against the original"


def test_virtual_devices_measure_what_the_session_says(tree: Path, made: Session) -> None:
    """Sizes of acceleration and turning at a placement do not depend on the rig's axes."""
    recording = next(Bvh(root=str(tree), placements=["waist", "ankle"], seed=0).recordings())
    for stream, segment, joint in zip(recording.imu, ("pelvis", "right_shank"), ("pelvis", "right_knee"), strict=True):
        dt = 1 / RATE_HZ
        rotation = made.motion.segments[segment]
        turning = np.gradient(rotation, dt, axis=2)
        rate = np.sqrt(np.einsum("ijt,ijt->t", turning, turning) / 2)
        expected = np.interp(stream.times, made.times, rate)
        measured = np.linalg.norm(stream.values[3:], axis=0)
        assert np.corrcoef(measured, expected)[0, 1] > 0.98, joint
    assert np.median(np.linalg.norm(recording.imu[0].values[:3], axis=0)) == pytest.approx(9.81, rel=0.05)


def test_recordings(tree: Path) -> None:
    check_dataset({"name": "bvh", "root": str(tree), "pattern": PATTERN, "image_size": 32})
    source = datasets.build({"name": "bvh", "root": str(tree), "pattern": PATTERN, "device": "watch", "fps": 10})
    normal, old = source.recordings()
    assert source.labels == ("walk_and_stand",)
    assert (normal.name, normal.tags["style"], old.tags["style"]) == ("set_walk-and-stand_normal_001", "normal", "old")
    assert normal.tags["device"] == "watch"
    (segment,) = normal.segments
    assert (segment.label, segment.start) == ("walk_and_stand", 0.0)
    assert "skeleton" in normal.streams
    assert "video" in normal.streams
    assert np.array_equal(normal.streams["skeleton"].times, normal.streams["video"].times)
    assert len(normal.streams["skeleton"].names) == 20
    assert normal.streams["skeleton"].joints[..., 2].min() == pytest.approx(0.02, abs=0.05)  # on the floor, z up
    assert normal.streams["skeleton"].joints[:, normal.streams["skeleton"].names.index("head"), 2].mean() > 1.3
    frames = normal.streams["video"].read([0, len(normal.streams["video"].times) - 1])
    assert frames.shape == (2, 144, 144, 3)
    assert not np.array_equal(frames[0], frames[1])


def test_nobody_can_be_divided(tree: Path) -> None:
    source = Bvh(root=str(tree))
    assert source.subjects() == [SUBJECT]
    assert {r.subject for r in source.recordings()} == {SUBJECT}
    with pytest.raises(ConfigError, match="1 subjects cannot be divided into 3 splits"):
        assign(source.subjects(), SplitConfig())
    assert [r.segments for r in source.recordings()] == [(), ()]  # no pattern, no labels


def test_the_shipped_config_builds_shards(tree: Path, tmp_path: Path) -> None:
    config = load_config(
        "configs/data/bvh.yaml",
        BuildConfig,
        overrides=[f"dataset.root={tree}", f"dataset.pattern={PATTERN}", "window.clip_size=32"],
    )
    index = build(config, tmp_path / "out")
    assert index.splits["train"].samples > 2
    assert "video" in index.streams
    assert "skeleton" in index.streams


def test_other_names_and_axes(tree: Path, tmp_path: Path) -> None:
    text = (tree / "part-1" / "set_walk-and-stand_old_001.bvh").read_text()
    path = tmp_path / "own.bvh"
    path.write_text(text.replace("LeftHand", "Pfote links"))
    with pytest.raises(
        RecordingError, match=r"own\.bvh: no joint for 'left_wrist' \(looked for Hand_L, LeftHand, LeftWrist\)"
    ):
        next(Bvh(root=str(tmp_path)).recordings())
    named = next(Bvh(root=str(tmp_path), joints={"left_wrist": "Pfote links"}).recordings())
    path.write_text(text.replace("ROOT Hips", "ROOT mixamorig:Hips"))
    prefixed = next(Bvh(root=str(tmp_path)).recordings())
    assert np.array_equal(named.imu[0].values, prefixed.imu[0].values)
    with pytest.raises(ConfigError, match="joints names 'left_paw'"):
        Bvh(root=str(tmp_path), joints={"left_paw": "x"})


def test_faults(tree: Path, tmp_path: Path) -> None:
    good = (tree / "part-1" / "set_walk-and-stand_old_001.bvh").read_text().splitlines()
    motion = good.index("MOTION")
    path = tmp_path / "broken.bvh"
    for lines, message in [
        ([*good[:3], "  OFFSET 0 0", *good[4:]], r"broken\.bvh, line 4: .* has 2 fields, expected 3"),
        ([*good[:4], "  CHANNELS 6 Xposition Yposition", *good[5:]], r"line 5: .* expected a count and as many"),
        ([*good[:5], "SOMETHING else", *good[5:]], r"line 6: 'SOMETHING else' is not a line of a BVH hierarchy"),
        (good[:motion], "no MOTION: incomplete BVH file"),
        (["HIERARCHY", "MOTION", "Frames: 1"], "no joints"),
        ([*good[: motion + 1], "Frames: many", *good[motion + 2 :]], rf"line {motion + 2}: 'Frames: many', expected"),
        ([*good[: motion + 5], good[motion + 5][:40], *good[motion + 6 :]], rf"line {motion + 6}: .* fields, expected"),
        (good[:-3], r"frames of motion, expected \d+ as declared"),
        ([*good[: motion + 1], "Frames: 9", *good[motion + 2 : motion + 12]], r"take of 0\.18 s, expected more than"),
    ]:
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(RecordingError, match=message) as caught:
            next(Bvh(root=str(tmp_path)).recordings())
        assert "broken.bvh" in str(caught.value)
    source = Bvh(root=str(tmp_path))
    path.unlink()
    with pytest.raises(RecordingError, match="no such file"):
        next(source.recordings())
    with pytest.raises(RecordingError, match=r"no \.bvh file"):
        Bvh(root=str(tmp_path))
    with pytest.raises(ConfigError, match="is not a regular expression"):
        Bvh(root=str(tree), pattern="(")
    with pytest.raises(ConfigError, match=r"pattern '\\\\d\+' matches none of \d+ names, the first: '"):
        Bvh(root=str(tree), pattern=r"\d+")
    with pytest.raises(ConfigError, match="unknown placement 'nose'"):
        Bvh(root=str(tree), placements=["nose"])
    with pytest.raises(ConfigError, match="metres_per_unit 0"):
        Bvh(root=str(tree), metres_per_unit=0.0)
    with pytest.raises(RecordingError, match="no takes, expected at least one"):
        fit_axes([])


# -------------------------------------------------------------------------------------------- faults of real captures


@pytest.fixture
def lines(tree: Path) -> list[str]:
    """The first three seconds of a take."""
    whole = (tree / "part-1" / "set_walk-and-stand_old_001.bvh").read_text().splitlines()
    motion = whole.index("MOTION")
    return [*whole[: motion + 1], "Frames: 150", *whole[motion + 2 : motion + 153]]


def folder_of(tmp_path: Path, lines: list[str], name: str = "own.bvh") -> str:
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return str(tmp_path)


def with_turning_neck(lines: list[str], *, between: str) -> list[str]:
    """A joint `Neck` of zero length on the chest, as in the CMU takes; the neck proper is below it."""
    at = next(i for i, line in enumerate(lines) if line.split() == ["JOINT", "Neck"])
    depth = 0
    for end in range(at + 1, len(lines)):
        depth += lines[end].count("{") - lines[end].count("}")
        if depth == 0:
            break
    inner = [lines[at].replace("Neck", between), *lines[at + 1 : end + 1]]
    outer = ["JOINT Neck", "{", "OFFSET 0 0 0", "CHANNELS 3 Zrotation Xrotation Yrotation", *inner, "}"]
    first = sum(int(line.split()[1]) for line in lines[:at] if line.split()[:1] == ["CHANNELS"])
    body = [*lines[:at], *outer, *lines[end + 1 :]]
    motion = body.index("MOTION") + 3
    rows = [row.split() for row in body[motion:]]
    return [*body[:motion], *(" ".join([*row[:first], "0", "0", "0", *row[first:]]) for row in rows)]


def test_a_neck_without_length_is_not_the_neck(tmp_path: Path, lines: list[str]) -> None:
    """The next joint of a usual name is; the chest is the joint that carries neck and shoulders, as before."""
    plain = next(Bvh(root=folder_of(tmp_path, lines)).recordings())
    turning = next(Bvh(root=folder_of(tmp_path, with_turning_neck(lines, between="Neck1"))).recordings())
    for ours, theirs in zip(turning.imu, plain.imu, strict=True):
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-6)
    odd = with_turning_neck(lines, between="Hals")
    root = folder_of(tmp_path, [line.replace("JOINT Head", "JOINT Kopf") for line in odd])
    named = {"head": "Kopf"}
    with pytest.raises(RecordingError, match=r"joint 'Neck' for 'neck' lies on 'Spine' for 'chest'") as caught:
        next(Bvh(root=root, joints=named).recordings())
    assert "dataset.joints.neck=NAME, one of" in str(caught.value)
    obeyed = next(Bvh(root=root, joints={**named, "neck": "Hals"}).recordings())
    np.testing.assert_allclose(obeyed.imu[0].values, plain.imu[0].values, atol=1e-6)


def test_a_rest_pose_in_the_first_frame_is_dropped(tmp_path: Path, lines: list[str]) -> None:
    motion = lines.index("MOTION") + 3
    values = lines[motion].split()
    rest = " ".join([*values[:3], *["0"] * (len(values) - 3)]).replace(values[0], str(float(values[0]) + 60), 1)
    frames = f"Frames: {len(lines) - motion + 1}"
    posed = [*lines[: motion - 2], frames, lines[motion - 1], rest, *lines[motion:]]
    plain = next(Bvh(root=folder_of(tmp_path, lines)).recordings())
    recording = next(Bvh(root=folder_of(tmp_path, posed)).recordings())
    assert recording.tags["first_frame"] == "rest pose, dropped"
    assert "first_frame" not in plain.tags
    for ours, theirs in zip(recording.imu, plain.imu, strict=True):
        assert np.array_equal(ours.times, theirs.times)
        np.testing.assert_allclose(ours.values, theirs.values, atol=1e-9)


def test_a_glitch_is_a_gap(tmp_path: Path, lines: list[str]) -> None:
    motion = lines.index("MOTION") + 3
    at = motion + round(1.5 * FPS)
    row = lines[at].split()
    jumped = [*lines[:at], " ".join([str(float(row[0]) + 100), *row[1:]]), *lines[at + 1 :]]
    recording = next(Bvh(root=folder_of(tmp_path, jumped)).recordings())
    assert recording.tags["glitches"] == f"2 steps of {len(lines) - motion - 1}, left out"
    for device in recording.imu:
        gap = int(np.argmax(np.diff(device.times)))
        assert device.times[gap] < 1.5 - PAD_S < device.times[gap + 1]  # seconds of the session
        assert np.diff(device.times)[gap] == pytest.approx(0.3 + 2 / FPS, abs=0.05)
        assert np.linalg.norm(device.values[:3], axis=0).max() < 60
    frames = recording.streams["skeleton"].times
    assert np.diff(frames).max() > 0.3


def test_the_scale_is_told_from_the_legs(tmp_path: Path, lines: list[str]) -> None:
    source = Bvh(root=folder_of(tmp_path, lines), metres_per_unit=1.0)
    with pytest.raises(RecordingError, match=r"person of 1\d\d m at 1 m per unit, expected 0\.8 to 2\.4 m") as caught:
        next(source.recordings())
    assert "set dataset.metres_per_unit=0.01" in str(caught.value)
    next(Bvh(root=str(tmp_path), metres_per_unit=0.01).recordings())


def test_the_vertical_axis_is_told_from_the_bodies(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(RecordingError, match=r"own\.bvh: the bodies are upright along y, expected z") as caught:
        next(Bvh(root=folder_of(tmp_path, lines), up="z").recordings())
    assert "set dataset.up=y" in str(caught.value)


BIOVISION = {
    **{f"{s}UpLeg": f"{s}Hip" for s in ("Left", "Right")},
    **{f"{s}Leg": f"{s}Knee" for s in ("Left", "Right")},
    **{f"{s}Foot": f"{s}Ankle" for s in ("Left", "Right")},
    **{f"{s}ForeArm": f"{s}Elbow" for s in ("Left", "Right")},
    **{f"{s}Arm": f"{s}Shoulder" for s in ("Left", "Right")},
    **{f"{s}Hand": f"{s}Wrist" for s in ("Left", "Right")},
}


def test_names_of_biovision(tmp_path: Path, lines: list[str]) -> None:
    plain = next(Bvh(root=folder_of(tmp_path, lines)).recordings())

    def renamed(names: dict[str, str]) -> list[str]:
        return [" ".join(names.get(word, word) for word in line.split()) for line in lines]

    other = next(Bvh(root=folder_of(tmp_path, renamed(BIOVISION))).recordings())
    for ours, theirs in zip(other.imu, plain.imu, strict=True):
        assert np.array_equal(ours.values, theirs.values)
    # Where LeftShoulder does not carry the elbow, it is the collar bone of other rigs.
    names = {**BIOVISION, "LeftArm": "OberarmL", "Spine": "LeftShoulder"}
    source = Bvh(root=folder_of(tmp_path, renamed(names)), joints={"spine": "LeftShoulder"})
    with pytest.raises(RecordingError, match="'LeftShoulder' does not carry 'LeftElbow'") as caught:
        next(source.recordings())
    assert "dataset.joints.left_shoulder=OberarmL" in str(caught.value)


def test_spellings_of_the_format(tmp_path: Path, lines: list[str]) -> None:
    """A byte order mark, brackets on the line of their joint, capitals, Windows line ends, an ending in capitals."""
    plain = next(Bvh(root=folder_of(tmp_path, lines)).recordings())
    (tmp_path / "own.bvh").unlink()
    motion = lines.index("MOTION")
    text = "\n".join(line.replace("rotation", "Rotation") for line in lines[:motion]).replace("\n{", " {")
    content = "\r\n".join(["\ufeff" + text.replace("\n", "\r\n"), *lines[motion:]]) + "\r\n"
    (tmp_path / "own.BVH").write_bytes(content.encode())
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "own.bvh").write_text("not motion capture")
    (recording,) = Bvh(root=str(tmp_path)).recordings()
    for ours, theirs in zip(recording.imu, plain.imu, strict=True):
        assert np.array_equal(ours.values, theirs.values)


def test_takes_are_varied_mirrored_and_what_was_drawn_is_recorded(tmp_path: Path) -> None:
    made = session(2.0)
    for number in range(4):
        write(tmp_path / f"wave-left_calm_{number}.bvh", made)
    settings = {
        "root": str(tmp_path),
        "pattern": r"(?P<label>[^_]+)_(?P<style>[^_]+)_\d",
        "placements": ["arm_1", "waist"],
    }
    plain = next(Bvh(**settings).recordings())
    source = datasets.build({"name": "bvh", **settings, "device": "random", "randomise": {"seed": 3}})
    assert source.labels == ("wave_left", "wave_right")
    takes = list(source.recordings())
    mirrored = [take for take in takes if take.tags.get("mirrored") == "yes"]
    assert 0 < len(mirrored) < 4
    for take in takes:
        assert take.segments[0].label == ("wave_right" if take in mirrored else "wave_left")
        assert take.tags["segment_arm_1"].split("_", 1)[1] in ("upper_arm", "forearm", "hand")
        motion, *devices = take.notes
        assert ("mirrored" in motion) == (take in mirrored)
        tempo = float(motion.split("tempo ")[1].split(",")[0])
        # The margins of derivatives at both ends keep their length.
        whole = plain.segments[0].end + 2 * PAD_S
        assert take.segments[0].end + 2 * PAD_S == pytest.approx(whole / tempo, abs=0.03)
        assert len(devices) == 2
    assert len({take.notes for take in takes}) == 4
    assert len(plain.notes) == 1  # of the region
    still = datasets.build({"name": "bvh", **settings, "randomise": {"motion": None}})
    assert still.labels == ("wave_left",)
