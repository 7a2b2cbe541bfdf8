"""BlazePose networks: pictures of one person to 33 landmarks in metres; the weights are files of a wheel of mediapipe.

The networks are those of Bazarevsky et al. 2020 (arXiv 2006.10204) and Grishchenko et al. 2022 (arXiv 2206.11678),
Apache-2.0. A detector finds a person and its orientation in the picture; a second network computes landmarks on an
upright square crop, and its auxiliary landmarks give the crop of the next picture. No package of mediapipe is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imu_video.errors import ConfigError

DETECTOR, LANDMARKS = "pose_detection", "pose_landmark_full"
FILES: dict[str, tuple[str, str]] = {
    DETECTOR: (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    LANDMARKS: (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
}
"""Path in the wheel and sha256 of each network."""
_WHEEL = "mediapipe==0.10.21"
HINT = f"pip download --no-deps {_WHEEL}, then weights: mediapipe-0.10.21-....whl (or pip install --no-deps {_WHEEL})"

_SIDES = ("left", "right")
NAMES: tuple[str, ...] = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "pinky", "index", "thumb") for side in _SIDES),
    *(f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "heel", "foot_index") for side in _SIDES),
)
"""The 33 landmarks, in order."""
JOINTS: dict[str, tuple[str, ...]] = {
    "pelvis": ("left_hip", "right_hip"),
    "neck": ("left_shoulder", "right_shoulder"),
    "head": ("left_ear", "right_ear"),
    **{f"{s}_{j}": (f"{s}_{j}",) for s in _SIDES for j in ("shoulder", "elbow", "wrist")},
    **{f"{s}_hand": (f"{s}_index", f"{s}_pinky") for s in _SIDES},
    **{f"{s}_{j}": (f"{s}_{j}",) for s in _SIDES for j in ("hip", "knee", "ankle")},
    **{f"{s}_foot": (f"{s}_foot_index",) for s in _SIDES},
}
"""Joints of a skeleton, each the mean of the landmarks named."""
_INPUT, _CROP = 224, 256
_STRIDES = (8, 16, 32, 32, 32)
_PRESENT = 0.5
"""Smallest probability of a person, of the detector and of the landmarks."""
_MARGIN = 1.25
"""Side of the crop relative to twice the distance between the hips' centre and the point that gives the scale."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A rotated square of a picture.

    Args:
        centre: (2,) column and row in pixels.
        side: in pixels.
        angle: rad; the person's upward direction is that of the picture, turned clockwise by it.
    """

    centre: np.ndarray
    side: float
    angle: float


def load_files(weights: str | Path | None = None) -> dict[str, bytes]:
    """The two networks, of a wheel, of a folder, or of an installed distribution that is not imported.

    Args:
        weights: a wheel of mediapipe, a folder with its content, or None for an installed one.

    Raises:
        ConfigError: no such file, or another version of a network.
    """
    if weights is None:
        spec = importlib.util.find_spec("mediapipe")
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        if not places:
            raise ConfigError("the BlazePose networks are not installed", hint=HINT)
        weights = Path(places[0]).parent
    found = {}
    for name, (path, expected) in FILES.items():
        try:
            found[name] = _read(Path(weights), path)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{weights}: no network {path}: {error}", hint=HINT) from error
        seen = hashlib.sha256(found[name]).hexdigest()
        if seen != expected:
            raise ConfigError(f"{weights}: {path} has sha256 {seen}, expected {expected}", hint=HINT)
    return found


def _read(source: Path, path: str) -> bytes:
    if source.is_dir():
        return (source / path).read_bytes()
    with zipfile.ZipFile(source) as wheel:
        return wheel.read(path)


def anchors() -> np.ndarray:
    """(2254, 2) centres of the detector's anchors in [0, 1], two per cell and layer (Liu et al. 2016, SSD).

    Example:
        >>> anchors().shape, anchors()[0].round(4).tolist()
        ((2254, 2), [0.0179, 0.0179])
    """
    rows = []
    for stride in dict.fromkeys(_STRIDES):
        cells = _INPUT // stride
        centres = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
        rows.append(np.repeat(grid, 2 * _STRIDES.count(stride), axis=0))
    return np.concatenate(rows)


class BlazePose:
    """Landmarks of the most visible person of each picture, with LiteRT. Needs ``pip install imu-video[pose]``.

    Args:
        weights: see `load_files`.
        threads: of the networks, at least 1.

    Raises:
        ConfigError: LiteRT or the networks are not installed.

    Example:
        ``BlazePose(weights="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl").track(frames)``
    """

    def __init__(self, *, weights: str | Path | None = None, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ConfigError("poses need the package ai-edge-litert", hint="pip install 'imu-video[pose]'") from error
        self._networks: dict[str, Any] = {}
        for name, content in load_files(weights).items():
            network = Interpreter(model_content=content, num_threads=threads)
            network.allocate_tensors()
            self._networks[name] = network
        self._anchors = anchors()

    def track(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks of consecutive frames; each frame's landmarks give the region of the next one.

        Args:
            frames: (F, H, W, 3) uint8.

        Returns:
            (F, 33, 3) metres from the centre of the hips, x right, y down, z away from the camera, NaN where no person
            is found; and (F, 33) visibility in [0, 1], 0 there.
        """
        world = np.full((len(frames), len(NAMES), 3), np.nan, np.float32)
        seen = np.zeros((len(frames), len(NAMES)), np.float32)
        region: Region | None = None
        for row, frame in enumerate(frames):
            for attempt in (region, None):  # where the tracked region has lost the person, detect again
                place = attempt or self.detect(frame)
                found = None if place is None else self.landmarks(frame, place)
                if found is not None:
                    world[row], seen[row], region = found
                    break
                region = None
                if attempt is None:
                    break
        return world, seen

    def detect(self, frame: np.ndarray) -> Region | None:
        """Region of the most probable person; None if there is none. Shapes: (H, W, 3) uint8."""
        height, width = frame.shape[:2]
        side = max(height, width)
        whole = Region(centre=np.array([width / 2, height / 2]), side=side, angle=0.0)
        boxes, scores = self._run(DETECTOR, crop(frame, whole, _INPUT) / 127.5 - 1)
        score = scores[0, :, 0]
        best = int(score.argmax())
        if score[best] < 0:  # a logit: probability below one half
            return None
        # Probable boxes that overlap the best one are averaged, weighted by their probability.
        values = boxes[0] / _INPUT
        points = values[:, 4:8].reshape(-1, 2, 2) + self._anchors[:, None]
        corners = np.concatenate(
            [
                values[:, :2] + self._anchors - values[:, 2:4] / 2,
                values[:, :2] + self._anchors + values[:, 2:4] / 2,
            ],
            axis=1,
        )
        alike = (score > 0) & (overlap(corners, corners[best]) > 0.3)
        weight = 1 / (1 + np.exp(-np.minimum(score[alike], 100.0)))
        hips, scale = (weight[:, None, None] * points[alike]).sum(0) / weight.sum()
        offset = np.array([(side - width) / 2, (side - height) / 2])
        return region_of(hips * side - offset, scale * side - offset)

    def landmarks(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, np.ndarray, Region] | None:
        """World landmarks (33, 3), visibility (33,) and the region of the next frame; None if no person is there."""
        points, flag, _, _, world = self._run(LANDMARKS, crop(frame, region, _CROP) / 255)
        if float(flag[0, 0]) < _PRESENT:
            return None
        turn = rotation(region.angle)
        points = points.reshape(-1, 5)
        pixels = region.centre + (points[:, :2] / _CROP - 0.5) * region.side @ turn.T
        world = world.reshape(-1, 3)[: len(NAMES)].copy()
        world[:, :2] = world[:, :2] @ turn.T
        visible = 1 / (1 + np.exp(-points[: len(NAMES), 3]))
        # The two landmarks behind the 33 of the body are the centre of the hips and the point that gives the scale.
        following = region_of(*pixels[len(NAMES) : len(NAMES) + 2])
        return world.astype(np.float32), visible.astype(np.float32), following

    def _run(self, name: str, picture: np.ndarray) -> list[np.ndarray]:
        network = self._networks[name]
        network.set_tensor(network.get_input_details()[0]["index"], picture[None].astype(np.float32))
        network.invoke()
        return [network.get_tensor(one["index"]) for one in network.get_output_details()]


def region_of(hips: np.ndarray, scale: np.ndarray) -> Region:
    """The crop of a person from the centre of the hips and the point on the circle around the body.

    Example:
        >>> region_of(np.array([50.0, 60.0]), np.array([50.0, 20.0]))
        Region(centre=array([50., 60.]), side=100.0, angle=0.0)
    """
    right, down = scale - hips
    angle = float(np.arctan2(right, -down))  # 0 where the point lies above the hips
    return Region(centre=np.asarray(hips, float), side=float(2 * _MARGIN * np.hypot(right, down)), angle=angle)


def rotation(angle: float) -> np.ndarray:
    """(2, 2) rotation of (column, row), clockwise in the picture for positive angles."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def crop(frame: np.ndarray, region: Region, size: int) -> np.ndarray:
    """A rotated square of a picture, bilinear, black outside. Shapes: (H, W, 3) uint8 -> (size, size, 3) float32."""
    import torch
    import torch.nn.functional as F

    height, width = frame.shape[:2]
    steps = (np.arange(size) + 0.5) / size - 0.5
    grid = np.stack(np.meshgrid(steps, steps), -1) * region.side @ rotation(region.angle).T + region.centre
    # `align_corners=False`: the left edge of the first pixel is -1, the right edge of the last one is 1.
    unit = torch.from_numpy((2 * grid / np.array([width, height]) - 1).astype(np.float32))
    picture = torch.from_numpy(frame.copy()).permute(2, 0, 1).float()
    out = F.grid_sample(picture[None], unit[None], mode="bilinear", padding_mode="zeros", align_corners=False)
    return out[0].permute(1, 2, 0).numpy()


def overlap(boxes: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (N, 4) with one box, as left, top, right, bottom.

    Example:
        >>> overlap(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([1.0, 0.0, 3.0, 2.0])).round(3).tolist()
        [0.333]
    """
    inner = np.maximum(np.minimum(boxes[:, 2:], one[2:]) - np.maximum(boxes[:, :2], one[:2]), 0).prod(1)
    areas = [np.maximum(b[..., 2:] - b[..., :2], 0).prod(-1) for b in (boxes, one)]
    return inner / np.maximum(areas[0] + areas[1] - inner, 1e-12)


def as_joints(world: np.ndarray, names: Sequence[str] = tuple(JOINTS)) -> np.ndarray:
    """Joints of a skeleton from landmarks. Shapes: (F, 33, 3) -> (F, J, 3), with z up and y to the person's left.

    The axes of the camera (x right, y down, z away) become those of a skeleton (x towards the camera, y right in the
    picture, z up), which is a rotation.

    Example:
        >>> as_joints(np.zeros((2, 33, 3))).shape
        (2, 19, 3)
    """
    joints = np.stack([np.mean([world[:, NAMES.index(p)] for p in JOINTS[name]], axis=0) for name in names], axis=1)
    return np.stack([-joints[..., 2], joints[..., 0], -joints[..., 1]], axis=-1)
