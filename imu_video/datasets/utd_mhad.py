"""UTD-MHAD: wrist or thigh IMU with Kinect skeleton and depth video, 27 actions of 8 people; downloads nothing.

The Kinect dropped frames, so that no frame rate aligns the streams: each trial's frames are spread evenly over the
duration of its inertial recording. On the right wrist, angular rate and joint speed then correlate at 0.75 on average,
against 0.25 when frames are laid out at 30 per second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder
from imu_video.errors import RecordingError
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment, SkeletonTrack

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
_FIRST_THIGH_ACTION = 22
_FOCAL_PIXELS = 285.6  # Kinect v1 depth camera at 320 x 240
_RANGE_MM = 700.0
_NAME = re.compile(r"a(\d+)_s(\d+)_t(\d+)_inertial\.mat")


@datasets.register("utd_mhad")
class UtdMhad:
    """UT Dallas Multimodal Human Action Dataset (Chen, Jafari, Kehtarnavaz, ICIP 2015).

    One recording a trial (1.5 .. 6.5 s): one IMU, on the right wrist for actions 1-21 and on the right thigh for 22-27.

    Args:
        root: folder with ``Inertial/`` and, as far as wanted, ``Skeleton/`` and ``Depth/``, as distributed.
        depth: offer depth clips as video where the file exists; see `depth_to_rgb`.
        skeleton: offer skeletons where the file exists.
        trials: trial numbers to read; all when None.

    Raises:
        RecordingError: the folder is missing or holds no inertial files.

    Example:
        >>> UtdMhad(root="data/utd-mhad").subjects()  # doctest: +SKIP
        ['s1', 's2', 's3', 's4', 's5', 's6', 's7', 's8']
    """

    name = "utd_mhad"
    licence: ClassVar[str] = "free for research; cite the paper (no formal licence text)"
    citation: ClassVar[str] = (
        "C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A multimodal dataset for human action recognition utilizing a "
        "depth camera and a wearable inertial sensor. ICIP 2015."
    )
    url: ClassVar[str] = "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html"
    placements: ClassVar[tuple[str, ...]] = ("right_wrist", "right_thigh")
    labels: ClassVar[tuple[str, ...]] = ACTIONS
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(
        self, *, root: str, depth: bool = True, skeleton: bool = True, trials: list[int] | None = None
    ) -> None:
        self.root = existing_folder(root, dataset=self.name, hint=f"download it from {self.url} and name its folder")
        self.depth, self.skeleton = depth, skeleton
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
                hint="root is the folder that holds Inertial/, Skeleton/ and Depth/",
            )

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({f"s{subject}" for subject, _, _ in self._trials})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording a trial, ordered by subject, action, trial."""
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
        depth = self.root / "Depth" / f"{stem}_depth.mat"
        return Recording(
            dataset=self.name,
            subject=f"s{subject}",
            name=stem,
            imu=(ImuStream(placement=placement, times=times, values=values.T),),
            video=DepthClip(depth, duration_s=times[-1]) if self.depth and depth.is_file() else None,
            skeleton=self._skeleton(stem, times[-1]) if self.skeleton else None,
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
        return SkeletonTrack(
            times=np.linspace(0.0, duration_s, joints.shape[2]), joints=joints.transpose(2, 0, 1), names=JOINTS
        )


class DepthClip:
    """Depth frames as a FrameSource, spread evenly over the inertial duration; the file is read at first use.

    Args:
        path: ``.mat`` file with ``d_depth`` (H, W, F) uint16 in mm, 0 = background.
        duration_s: time of the last frame in seconds; the first is at 0.
    """

    def __init__(self, path: Path, *, duration_s: float) -> None:
        self.path, self.duration_s = path, float(duration_s)
        self._depth: np.ndarray | None = None
        self._centre = 0.0

    @property
    def times(self) -> np.ndarray:
        """(F,) seconds."""
        return np.linspace(0.0, self.duration_s, self._load().shape[2])

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The named frames as (F, H, W, 3) uint8, see `depth_to_rgb`."""
        depth = self._load()
        return depth_to_rgb(np.moveaxis(depth[:, :, list(indices)], 2, 0), centre_mm=self._centre)

    def _load(self) -> np.ndarray:
        if self._depth is None:
            depth = load_mat(self.path, "d_depth")
            if depth.ndim != 3:
                raise RecordingError(f"{self.path}: d_depth has shape {depth.shape}, expected (H, W, F)")
            person = depth[depth > 0]
            self._centre = float(np.median(person)) if len(person) else 0.0
            self._depth = depth
        return self._depth


def depth_to_rgb(depth: np.ndarray, *, centre_mm: float) -> np.ndarray:
    """Show segmented depth as a colour picture, by a fixed map without any adaptation between frames.

    Red is nearness: 255 at 0.7 m before the person's median depth, 55 at 0.7 m behind it. Green and blue are the
    horizontal and the vertical component of the surface normal (128 = facing the camera), so that the shape of the body
    shows as shading does. Background is black.

    Args:
        depth: (F, H, W) in mm, 0 = background.
        centre_mm: median depth of the person over the clip.

    Returns:
        (F, H, W, 3) uint8.

    Example:
        >>> depth_to_rgb(np.full((1, 4, 4), 2000), centre_mm=2000)[0, 1, 1].tolist()
        [155, 128, 128]
    """
    z = depth.astype(np.float32)
    person = z > 0
    near = np.clip((centre_mm - z) / _RANGE_MM, -1, 1)
    pixel_mm = np.maximum(z, 1.0) / _FOCAL_PIXELS
    across = _slope(z, person, axis=2) / pixel_mm
    down = _slope(z, person, axis=1) / pixel_mm
    length = np.sqrt(1 + across**2 + down**2)
    picture = np.stack([155 + 100 * near, 128 + 127 * across / length, 128 + 127 * down / length], axis=-1)
    picture[~person] = 0
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _slope(z: np.ndarray, person: np.ndarray, axis: int) -> np.ndarray:
    """Depth difference per pixel between the neighbours along an axis; 0 where one of them is background."""
    before, after = np.roll(z, 1, axis), np.roll(z, -1, axis)
    known = person & np.roll(person, 1, axis) & np.roll(person, -1, axis)
    edge: list[Any] = [slice(None)] * z.ndim
    for end in (0, -1):
        edge[axis] = end
        known[tuple(edge)] = False
    return np.where(known, (after - before) / 2, 0.0)


def load_mat(path: Path, key: str) -> np.ndarray:
    """One array of a MATLAB file.

    Raises:
        RecordingError: missing or damaged file, or no such array in it.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=[key])
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file") from error
    except Exception as error:  # damaged files make scipy raise a dozen types, IndexError among them
        raise RecordingError(f"{path}: not a readable MATLAB file: {error}") from error
    if key not in content:
        raise RecordingError(f"{path}: holds no array {key!r}")
    return np.asarray(content[key])
