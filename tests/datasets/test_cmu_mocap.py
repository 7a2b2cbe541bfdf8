"""CMU motion capture: subjects and descriptions, a rig whose neck joint has no length, a rest pose first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.config import load_config
from imu_video.datasets.cmu_mocap import METRES_PER_UNIT, CmuMocap
from imu_video.errors import RecordingError
from imu_video.registry import datasets
from imu_video.shards.building.build import BuildConfig, build
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY

# joint: (parent, offset in centimetres); LowerBack, Neck and the hip joints only turn, as in the original
RIG: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "Hips": (None, (0, 0, 0)),
    **{
        f"{pre}{joint}": (parent.format(pre=pre, side=pre[0]), (sign * x, y, z))
        for pre, sign in (("Left", 1), ("Right", -1))
        for joint, parent, x, y, z in (
            ("UpLeg", "Hips", 9, -10, 3),
            ("Leg", "{pre}UpLeg", 0, -42, 0),
            ("Foot", "{pre}Leg", 0, -41, 0),
            ("ToeBase", "{pre}Foot", 0, -3, 12),
        )
    },
    "LowerBack": ("Hips", (0, 0, 0)),
    "Spine": ("LowerBack", (0, 12, -1)),
    "Spine1": ("Spine", (0, 12, 0)),
    "Neck": ("Spine1", (0, 0, 0)),
    "Neck1": ("Neck", (0, 9, 1)),
    "Head": ("Neck1", (0, 9, 0)),
    **{
        f"{pre}{joint}": (parent.format(pre=pre), (sign * x, y, z))
        for pre, sign in (("Left", 1), ("Right", -1))
        for joint, parent, x, y, z in (
            ("Shoulder", "Spine1", 0, 0, 0),
            ("Arm", "{pre}Shoulder", 20, 5, -1),
            ("ForeArm", "{pre}Arm", 28, 0, 0),
            ("Hand", "{pre}ForeArm", 19, 0, 0),
        )
    },
}
FPS = 120


def write(path: Path, *, rest: bool = True, frames: int = 180) -> None:
    """Arms that hang and swing after a first frame with stretched arms; units of the database."""
    order: list[str] = []
    lines = ["HIERARCHY"]

    def add(joint: str) -> None:
        parent, offset = RIG[joint]
        order.append(joint)
        numbers = " ".join(f"{v / 100 / METRES_PER_UNIT:.5f}" for v in offset)
        lines.extend([f"{'JOINT' if parent else 'ROOT'} {joint}", "{", f"OFFSET {numbers}"])
        turns = "Zrotation Yrotation Xrotation"
        lines.append(f"CHANNELS 3 {turns}" if parent else f"CHANNELS 6 Xposition Yposition Zposition {turns}")
        children = [j for j, (p, _) in RIG.items() if p == joint]
        for child in children:
            add(child)
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 0 0", "}"])
        lines.append("}")

    add("Hips")
    rows = []
    for frame in range(-int(rest), frames):
        swing = 20 * np.sin(2 * np.pi * frame / FPS)
        turned = {
            "LeftArm": (-80, 0, swing),
            "RightArm": (80, 0, -swing),
            "LeftLeg": (0, 0, 10),
            "RightLeg": (0, 0, 10),
        }
        if frame < 0:
            turned = {}
        row = [0.0, 17.0, 0.0, *(value for joint in order for value in turned.get(joint, (0, 0, 0)))]
        rows.append(" ".join(f"{v:.4f}" for v in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / FPS:.7f}", *rows]) + "\n")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cmu")
    write(folder / "02_01.bvh")
    write(folder / "131_01.bvh", rest=False)
    (folder / "index.csv").write_text(
        'trial,subject,description,frames,fps\n02_01,02,run/jog,181,120\n131_01,131,"dance - turn, bend",180,120\n'
    )
    return folder


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "cmu_mocap", "root": str(tree), "image_size": 32}, recordings=1)
    source = datasets.build(
        {"name": "cmu_mocap", "root": str(tree), "image_size": 32, "placements": ["waist", "ankle"]}
    )
    assert source.subjects() == ["02", "131"]
    assert source.labels == ("dance", "run_jog")
    second, third = source.recordings()
    assert (second.subject, second.segments[0].label, second.tags["description"]) == ("02", "run_jog", "run/jog")
    assert third.tags["description"] == "dance - turn, bend"
    assert second.tags["first_frame"] == "rest pose, dropped"
    assert "first_frame" not in third.tags
    for recording in (second, third):
        # Hips and shanks stand still: nothing but gravity, and no spike from the rest pose.
        for device in recording.imu:
            np.testing.assert_allclose(np.linalg.norm(device.values[:3], axis=0), GRAVITY, rtol=0.02)
    joints = second.streams["skeleton"].joints
    at = {name: joints[:, i] for i, name in enumerate(second.streams["skeleton"].names)}
    assert at["pelvis"][:, 2].mean() - at["left_ankle"][:, 2].mean() == pytest.approx(0.92, abs=0.03)  # metres
    assert (at["neck"][:, 2] - at["spine"][:, 2]).mean() == pytest.approx(0.21, abs=0.02)
    assert [r.subject for r in source.recordings(["131"])] == ["131"]


def test_the_shipped_config_builds_shards(tree: Path, tmp_path: Path) -> None:
    overrides = [f"dataset.root={tree}", "window.seconds=0.5", "window.stride_s=0.5", "window.clip_size=32"]
    splits = ["splits.fractions={train: 0.5, test: 0.5}"]
    config = load_config("configs/data/cmu_mocap.yaml", BuildConfig, overrides=[*overrides, *splits])
    index = build(config, tmp_path / "out")
    assert {s for split in index.splits.values() for s in split.subjects} == {"02", "131"}


def test_without_an_index_there_are_no_labels(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "02_01.BVH").write_bytes((tree / "02_01.bvh").read_bytes())
    source = CmuMocap(root=str(tmp_path), placements=["waist"], image_size=32)
    assert source.labels == ()
    (recording,) = source.recordings()
    assert recording.segments == ()
    assert "description" not in recording.tags
    write(tmp_path / "walk.bvh", frames=2)
    with pytest.raises(RecordingError, match=r"walk\.bvh: expected a name SUBJECT_TRIAL\.bvh"):
        CmuMocap(root=str(tmp_path))
