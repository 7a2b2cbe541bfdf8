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
from imu_video.simulation.session import RATE_HZ, Session, simulate
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
    found = to_session(source._take(file), source._rig(file), person=draw_person(0, SUBJECT), label="x")
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
    with pytest.raises(RecordingError, match=r"own\.bvh: no joint for 'left_wrist' \(looked for Hand_L, LeftHand\)"):
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
