"""Bandai Namco's layout on made-up takes: position channels at every joint, contents and styles in the file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imu_video.datasets.bandai_namco import CONTENTS, BandaiNamco
from imu_video.datasets.bvh import SUBJECT
from imu_video.registry import datasets
from imu_video.testing import check_dataset
from imu_video.types import GRAVITY

# joint: (parent, offset in cm when standing, y up, facing z)
RIG: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "joint_Root": (None, (0, 0, 0)),
    "Hips": ("joint_Root", (0, 94, 0)),
    "Spine": ("Hips", (0, 12, 0)),
    "Chest": ("Spine", (0, 12, 0)),
    "Neck": ("Chest", (0, 24, 0)),
    "Head": ("Neck", (0, 8, 0)),
    **{
        f"{name}_{side}": (f"{parent}_{side}" if parent in limb else parent, (sign * x, y, z))
        for side, sign in (("L", 1), ("R", -1))
        for limb in [("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")]
        for name, parent, x, y, z in (
            ("Shoulder", "Chest", 5, 18, 0),
            ("UpperArm", "Shoulder", 13, 0, 0),
            ("LowerArm", "UpperArm", 0, -28, 0),
            ("Hand", "LowerArm", 0, -25, 0),
            ("UpperLeg", "Hips", 9, -4, 0),
            ("LowerLeg", "UpperLeg", 0, -42, 0),
            ("Foot", "LowerLeg", 0, -42, 0),
            ("Toes", "Foot", 0, -4, 15),
        )
    },
}


def write(path: Path, *, frames: int = 90) -> None:
    """Somebody who bends elbows and knees now and then; the offsets of the hierarchy are wrong on purpose."""
    phase = np.sin(np.arange(frames) / 30 * 2 * np.pi * 0.5)
    order: list[str] = []
    lines = ["HIERARCHY"]

    def add(joint: str, depth: int) -> None:
        pad = "  " * depth
        order.append(joint)
        lines.extend(
            [f"{pad}{'ROOT' if RIG[joint][0] is None else 'JOINT'} {joint}", pad + "{", f"{pad}  OFFSET 1 2 3"]
        )
        lines.append(f"{pad}  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation")
        children = [j for j, (parent, _) in RIG.items() if parent == joint]
        for child in children:
            add(child, depth + 1)
        if not children:
            lines.extend([f"{pad}  End Site", pad + "  {", f"{pad}    OFFSET 0 0 0", pad + "  }"])
        lines.append(pad + "}")

    add("joint_Root", 0)
    bend = {"LowerArm": -30 * (1 + phase), "LowerLeg": 10 * (1 + phase)}
    rows = []
    for frame in range(frames):
        row: list[float] = []
        for joint in order:
            turn = bend.get(joint.split("_")[0])
            row += [*RIG[joint][1], 0.0, float(turn[frame]) if turn is not None else 0.0, 0.0]
        rows.append(" ".join(f"{v:g}" for v in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "MOTION", f"Frames:\t{frames}", "Frame Time:\t0.0333333", *rows]) + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part, name in [(1, "walk-back_not-confident_001"), (1, "bow_old_001"), (2, "walk-turn-left_normal_014")]:
        write(tmp_path / f"Bandai-Namco-Research-Motiondataset-{part}" / "data" / f"dataset-{part}_{name}.bvh")
    return tmp_path


def test_made_up_tree(tree: Path) -> None:
    check_dataset({"name": "bandai_namco", "root": str(tree), "image_size": 32})
    source = datasets.build({"name": "bandai_namco", "root": str(tree)})
    assert source.subjects() == [SUBJECT]
    recordings = list(source.recordings())
    assert [(r.segments[0].label, r.tags["style"]) for r in recordings] == [
        ("bow", "old"),
        ("walk_back", "not_confident"),
        ("walk_turn_left", "normal"),
    ]
    assert {r.segments[0].label for r in recordings} <= set(CONTENTS)
    first = recordings[0]
    assert "skeleton" in first.streams
    at = {n: first.streams["skeleton"].joints[:, i] for i, n in enumerate(first.streams["skeleton"].names)}
    assert at["left_hip"][:, 1].mean() > at["right_hip"][:, 1].mean() + 0.15  # left is +y when facing x
    np.testing.assert_allclose(at["pelvis"][:, 2] - at["left_ankle"][:, 2], 0.87, atol=0.02)
    assert at["left_wrist"][:, 0].max() > 0.15  # elbows bend forwards
    assert (at["left_ankle"][:, 0] < 0.01).all()  # knees bend backwards
    by_place = {s.placement: s for s in first.imu}
    assert by_place["waist"].values[1].mean() == pytest.approx(GRAVITY, rel=0.03)  # a waist device's y is up
    assert first.segments[0].end == pytest.approx(89 / 30 - 0.5, abs=0.01)


def test_only_its_own_arguments(tree: Path) -> None:
    devices = [s.placement for s in next(BandaiNamco(root=str(tree), placements=["head"]).recordings()).imu]
    assert devices == ["head"]
