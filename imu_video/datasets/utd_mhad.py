"""UTD-MHAD: wrist or thigh IMU with Kinect skeleton and depth video, 27 actions of 8 subjects; downloads nothing.

The Kinect dropped frames, so that no frame rate aligns the streams: each trial's frames are spread evenly over the
duration of its inertial recording. On the right wrist, angular rate and joint speed then correlate at 0.75 on average,
against 0.25 when frames are laid out at 30 per second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np

from imu_video.arguments import LATER
from imu_video.datasets.common import chosen, existing_folder
from imu_video.datasets.matlab import load_mat
from imu_video.errors import RecordingError
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

RATE_HZ = 50.0
ACTIONS = (
    "right_arm_swipe_left",
    "right_arm_swipe_right",
    "right_hand_wave",
    "two_hand_front_clap",
    "right_arm_throw",
    "cross_arms_in_chest",
    "basketball_shoot",
    "draw_x",
    "draw_circle_clockwise",
    "draw_circle_counter_clockwise",
    "draw_triangle",
    "bowling",
    "front_boxing",
    "baseball_swing",
    "tennis_forehand_swing",
    "arm_curl",
    "tennis_serve",
    "two_hand_push",
    "knock_on_door",
    "hand_catch",
    "pick_up_and_throw",
    "jogging_in_place",
    "walking_in_place",
    "sit_to_stand",
    "stand_to_sit",
    "forward_lunge",
    "squat",
)
"""Label of action a1 .. a27, in the dataset's order."""
JOINTS = (
    "head",
    "shoulder_center",
    "spine",
    "hip_center",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_hand",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_hand",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_foot",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_foot",
)
BODY_NAMES = {"hip_center": "pelvis", "shoulder_center": "neck"}
"""Joints of the Kinect that the simulated world and the motion capture have under another name."""
BODY_JOINTS = ("pelvis", "spine", "neck", "head", *JOINTS[4:])
"""The same joints with the names and in the order of the simulated world and the motion capture."""
_FIRST_THIGH_ACTION = 22
_RANGE_MM = 700.0
_NAME = re.compile(r"a(\d+)_s(\d+)_t(\d+)_inertial\.mat")


@datasets.register("utd_mhad")
class UtdMhad:
    """UT Dallas Multimodal Human Action Dataset (Chen, Jafari, Kehtarnavaz, ICIP 2015).

    One recording per trial (1.5 .. 6.5 s): one IMU, on the right wrist for actions 1-21 and on the right thigh for
    22-27.

    Args:
        root: folder with ``Inertial/`` and optionally ``Skeleton/`` and ``Depth/``, as distributed.
        depth: read depth clips if the file exists (see `depth_to_rgb`): True as the video, ``view`` as a further camera
            ``depth``, for folders that are merged with others whose video is RGB.
        skeleton: read skeletons if the file exists.
        trials: trial numbers to read; all when None.
        joints: names and order of the joints: ``kinect`` as distributed, or ``body``, those of the simulated world and
            the motion capture, with whose folders the data can then be merged. Positions are the same.

    Raises:
        RecordingError: the folder is missing or contains no inertial files.

    Example:
        >>> UtdMhad(root="data/utd-mhad").subjects()
        ['s1', 's2', 's3', 's4', 's5', 's6', 's7', 's8']
    """

    name = "utd_mhad"
    licence: ClassVar[str] = "free for research; cite the paper (no formal licence text)"
    citation: ClassVar[str] = (
        "C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A multimodal dataset for human action recognition utilizing a "
        "depth camera and a wearable inertial sensor. ICIP 2015."
    )
    url: ClassVar[str] = "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video", "skeleton")
    placements: ClassVar[tuple[str, ...]] = ("right_wrist", "right_thigh")
    labels: ClassVar[tuple[str, ...]] = ACTIONS
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(
        self,
        *,
        root: str,
        depth: bool | Literal["view"] = True,
        skeleton: bool = True,
        trials: list[int] | None = None,
        joints: Annotated[Literal["kinect", "body"], LATER] = "kinect",
    ) -> None:
        self.root = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self.depth, self.skeleton, self.joints = depth, skeleton, joints
        found = (_NAME.fullmatch(path.name) for path in (self.root / "Inertial").glob("*.mat"))
        self._trials = sorted(
            (subject, action, trial)
            for action, subject, trial in (tuple(map(int, m.groups())) for m in found if m)
            if trials is None or trial in trials
        )
        if not self._trials:
            raise RecordingError(
                f"{self.name}: no files Inertial/aA_sS_tT_inertial.mat in {self.root}"
                + (f" with trial in {trials}" if trials else ""),
                hint="set dataset.root to the folder that contains Inertial/, Skeleton/ and Depth/",
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({f"s{subject}" for subject, _, _ in self._trials})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per trial, ordered by subject, action, trial."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for subject, action, trial in self._trials:
            if f"s{subject}" in wanted:
                yield self._recording(subject, action, trial)

    def _recording(self, subject: int, action: int, trial: int) -> Recording:
        stem = f"a{action}_s{subject}_t{trial}"
        path = self.root / "Inertial" / f"{stem}_inertial.mat"
        if not 1 <= action <= len(ACTIONS):
            raise RecordingError(f"{path}: action {action}, expected 1 .. {len(ACTIONS)}")
        inertial = load_mat(path, "d_iner")
        if inertial.ndim != 2 or inertial.shape[1] != 6 or len(inertial) < 2:
            raise RecordingError(f"{path}: d_iner has shape {inertial.shape}, expected (n, 6)")
        placement = "right_thigh" if action >= _FIRST_THIGH_ACTION else "right_wrist"
        times = np.arange(len(inertial)) / RATE_HZ
        values = np.concatenate([convert(inertial[:, :3], "g", "acc"), convert(inertial[:, 3:], "deg/s", "gyr")], 1)
        label = ACTIONS[action - 1]
        file = self.root / "Depth" / f"{stem}_depth.mat"
        depth = DepthClip(file, duration_s=times[-1]) if self.depth and file.is_file() else None
        return Recording(
            dataset=self.name,
            subject=f"s{subject}",
            name=stem,
            imu=(ImuStream(placement=placement, times=times, values=values.T),),
            streams={
                "video": depth if self.depth is True else None,
                "video.depth": depth if self.depth == "view" else None,
                "skeleton": self._skeleton(stem, times[-1]) if self.skeleton else None,
            },
            segments=(Segment(start=0.0, end=len(times) / RATE_HZ, label=label),),
            tags={"trial": str(trial)},
        )

    def _skeleton(self, stem: str, duration_s: float) -> SkeletonTrack | None:
        path = self.root / "Skeleton" / f"{stem}_skeleton.mat"
        if not path.is_file():
            return None
        joints = load_mat(path, "d_skel")
        if joints.ndim != 3 or joints.shape[:2] != (len(JOINTS), 3):
            raise RecordingError(f"{path}: d_skel has shape {joints.shape}, expected ({len(JOINTS)}, 3, F)")
        names, positions = JOINTS, joints.transpose(2, 0, 1)
        if self.joints == "body":
            found = [BODY_NAMES.get(name, name) for name in JOINTS]
            names, positions = BODY_JOINTS, positions[:, [found.index(name) for name in BODY_JOINTS]]
        return SkeletonTrack(times=np.linspace(0.0, duration_s, joints.shape[2]), joints=positions, names=names)


class DepthClip:
    """Depth frames as a FrameSource, spread evenly over the inertial duration; the file is read at first use.

    Frames are cropped to the square around all positions of the subject during the clip, the same square for all
    frames, so that the subject fills the image and moves within it.

    Args:
        path: ``.mat`` file with ``d_depth`` (H, W, F) uint16 in mm, 0 = background.
        duration_s: time of the last frame in seconds; the first is at 0.
    """

    def __init__(self, path: Path, *, duration_s: float) -> None:
        self.path, self.duration_s = path, float(duration_s)
        self._depth: np.ndarray | None = None
        self._centre_mm = 0.0

    @property
    def times(self) -> np.ndarray:
        """(F,) seconds."""
        return np.linspace(0.0, self.duration_s, len(self._load()))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The named frames as (F, S, S, 3) uint8, see `depth_to_rgb`."""
        return depth_to_rgb(self._load()[list(indices)], centre_mm=self._centre_mm)

    def _load(self) -> np.ndarray:
        """(F, S, S) depth in mm."""
        if self._depth is None:
            depth = load_mat(self.path, "d_depth")
            if depth.ndim != 3 or 0 in depth.shape:
                raise RecordingError(f"{self.path}: d_depth has shape {depth.shape}, expected (H, W, F)")
            person = depth[depth > 0]
            self._centre_mm = float(np.median(person)) if len(person) else 0.0
            self._depth = _person_square(np.moveaxis(depth, 2, 0))
        return self._depth


def _person_square(depth: np.ndarray) -> np.ndarray:
    """(F, H, W) cut to the smallest square that holds the person in all frames, filled up with background."""
    covered: np.ndarray = np.any(depth > 0, axis=0)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not len(rows):
        return depth
    box = depth[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(box.shape[1:])
    top, left = (side - box.shape[1]) // 2, (side - box.shape[2]) // 2
    return np.pad(box, ((0, 0), (top, side - box.shape[1] - top), (left, side - box.shape[2] - left)))


def depth_to_rgb(depth: np.ndarray, *, centre_mm: float) -> np.ndarray:
    """Map segmented depth to grey levels by a fixed map, without adaptation between frames.

    155 at the person's median depth, 255 at 0.7 m before it, 55 at 0.7 m behind it; background is black.

    Args:
        depth: (F, H, W) in mm, 0 = background.
        centre_mm: median depth of the person over the clip.

    Returns:
        (F, H, W, 3) uint8.

    Example:
        >>> depth_to_rgb(np.array([[[2000, 1300, 0]]]), centre_mm=2000)[0, 0, :, 0].tolist()
        [155, 255, 0]
    """
    near = np.clip((centre_mm - depth.astype(np.float32)) / _RANGE_MM, -1, 1)
    grey = np.where(depth > 0, np.round(155 + 100 * near), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
