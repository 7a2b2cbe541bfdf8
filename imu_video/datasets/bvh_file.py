"""BVH motion-capture files: hierarchy, motion and forward kinematics; no mapping of bones to limbs.

We do not use a package from PyPI: `bvhtools` depends on a window library (raylib), `bvhio` builds a Python object for
each joint and frame, and others have not been maintained for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from imu_video.errors import RecordingError
from imu_video.readers.tables import numbers_between

_CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")
_KINDS = {name.lower(): name for name in _CHANNELS}


@dataclass(frozen=True, kw_only=True, eq=False)
class BvhFile:
    """The content of one file, in its own units and axes.

    Args:
        path: file, for error messages.
        names: of the J joints, parents before children; end sites are left out.
        parents: number of each joint's parent, -1 for a root.
        offsets: (J, 3).
        channels: of each joint, in the order of the file.
        frame_s: seconds per frame.
        values: (T, all channels).
    """

    path: Path
    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    channels: tuple[tuple[str, ...], ...]
    frame_s: float
    values: np.ndarray

    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics: positions (J, 3, T) and orientations (J, 3, 3, T), bone to world.

        A joint's rotation is the product of its axis rotations in the order of its channels; position channels, at the
        root or at any joint, stand in for its offset.
        """
        frames = len(self.values)
        positions = np.empty((len(self.names), 3, frames))
        rotations = np.empty((len(self.names), 3, 3, frames))
        first = 0
        for joint, parent in enumerate(self.parents):
            columns = {name: self.values[:, first + i] for i, name in enumerate(self.channels[joint])}
            first += len(columns)
            local = np.repeat(self.offsets[joint][:, None], frames, axis=1)
            for axis, name in enumerate(_CHANNELS[:3]):
                if name in columns:
                    local[axis] = columns[name]
            turns = [name for name in columns if name.endswith("rotation")]
            turned = np.repeat(np.eye(3)[:, :, None], frames, axis=2)
            if turns:
                angles = np.stack([columns[name] for name in turns], axis=1)
                order = "".join(name[0] for name in turns)  # upper case: each turn about the axes turned so far
                turned = Rotation.from_euler(order, angles, degrees=True).as_matrix().transpose(1, 2, 0)
            if parent < 0:
                positions[joint], rotations[joint] = local, turned
            else:
                positions[joint] = positions[parent] + np.einsum("ijt,jt->it", rotations[parent], local)
                rotations[joint] = np.einsum("ijt,jkt->ikt", rotations[parent], turned)
        return positions, rotations

    def common_ancestor(self, joints: Sequence[int]) -> int:
        """The lowest joint above all of these, or one of them that carries the others; -1 if there is none."""
        lines = [self._up(joint) for joint in joints]
        return next((joint for joint in lines[0] if all(joint in line for line in lines[1:])), -1)

    def _up(self, joint: int) -> list[int]:
        """The joint and its ancestors, upwards."""
        out = []
        while joint >= 0:
            out.append(joint)
            joint = self.parents[joint]
        return out


def read_bvh(path: Path) -> BvhFile:
    """Read one file.

    Raises:
        RecordingError: no such file, or the first line that is not BVH.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: {'no such file' if not path.exists() else error.strerror}") from error
    names: list[str] = []
    parents: list[int] = []
    offsets: list[np.ndarray] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []  # -1 stands for an end site
    number = 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0] in ("HIERARCHY", "{"):
            continue
        if words[0] == "MOTION":
            break
        if len(words) > 1 and words[-1] == "{":
            words = words[:-1]  # the bracket on the line of its joint
        if words[0] in ("ROOT", "JOINT") and len(words) > 1:
            parents.append(open_joints[-1] if open_joints else -1)
            open_joints.append(len(names))
            names.append(" ".join(words[1:]))
            offsets.append(np.zeros(3))
            channels.append(())
        elif words[0] == "End":
            open_joints.append(-1)
        elif words[0] == "}" and open_joints:
            open_joints.pop()
        elif words[0] == "OFFSET" and open_joints:
            if open_joints[-1] >= 0:
                offsets[open_joints[-1]] = numbers_between([" ".join(words[1:])], 3, path=path, lines=[number])[0]
        elif words[0] == "CHANNELS" and open_joints and open_joints[-1] >= 0:
            kinds = tuple(_KINDS.get(word.lower(), word) for word in words[2:])
            if words[1:2] != [str(len(kinds))] or not set(kinds) <= set(_CHANNELS) or len(set(kinds)) != len(kinds):
                raise RecordingError(f"{path}, line {number}: {line.strip()!r}, expected a count and as many channels")
            channels[open_joints[-1]] = kinds
        else:
            raise RecordingError(f"{path}, line {number}: {line.strip()[:60]!r} is not a line of a BVH hierarchy")
    if not names or number == len(lines):
        raise RecordingError(f"{path}: no {'MOTION' if names else 'joints'}: incomplete BVH file")
    frames, frame_s = _header(path, lines, number)
    begin = number + 2
    where = range(begin + 1, len(lines) + 1)
    values = numbers_between(lines[begin:], sum(map(len, channels)), path=path, lines=where)
    if len(values) != frames:
        raise RecordingError(
            f"{path}: {len(values)} frames of motion, expected {frames} as declared in line {number + 1}"
        )
    return BvhFile(
        path=path,
        names=tuple(names),
        parents=tuple(parents),
        offsets=np.stack(offsets),
        channels=tuple(channels),
        frame_s=frame_s,
        values=values,
    )


def _header(path: Path, lines: list[str], motion: int) -> tuple[int, float]:
    """Frame count and seconds per frame from the two lines after ``MOTION``, which is line ``motion``."""
    found = []
    for at, key in ((motion, "Frames:"), (motion + 1, "Frame Time:")):
        text = lines[at].strip() if at < len(lines) else ""
        try:
            value = float(text.removeprefix(key)) if text.startswith(key) else 0.0
        except ValueError:
            value = 0.0
        if not 0 < value < np.inf:
            raise RecordingError(f"{path}, line {at + 1}: {text[:60]!r}, expected {key!r} and a number above 0")
        found.append(value)
    return round(found[0]), found[1]
