"""BVH motion capture: virtual IMU, rendered clip and skeleton of captured motion; subjects are not identified.

The files do not identify the subjects. All recordings therefore share one subject and cannot be split by subject: every
split or episode that needs other subjects raises an error. Use them for pretraining, or as one block of source data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from imu_video.datasets.bvh_file import BvhFile, read_bvh
from imu_video.datasets.common import chosen, existing_folder
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.registry import datasets
from imu_video.simulation.camera import VIEWS
from imu_video.simulation.mocap import BONES, NEEDED, Take, fit_axes, to_session
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.sensors import PLACEMENTS, PROFILES, look_up
from imu_video.simulation.world import film, wear
from imu_video.types import Recording

SUBJECT = "unknown"
"""The single subject of all recordings."""
NAMES: dict[str, tuple[str, ...]] = {
    "pelvis": ("Hips", "hip", "pelvis"),
    "spine": ("Spine", "LowerBack", "abdomen"),
    "neck": ("Neck", "Neck1"),
    "head": ("Head",),
    **{
        f"{side.lower()}_{joint}": names
        for side in ("Left", "Right")
        for joint, names in (
            ("shoulder", (f"UpperArm_{side[0]}", f"{side}Arm")),
            ("elbow", (f"LowerArm_{side[0]}", f"{side}ForeArm")),
            ("wrist", (f"Hand_{side[0]}", f"{side}Hand")),
            ("hip", (f"UpperLeg_{side[0]}", f"{side}UpLeg")),
            ("knee", (f"LowerLeg_{side[0]}", f"{side}Leg")),
            ("ankle", (f"Foot_{side[0]}", f"{side}Foot")),
            ("foot", (f"Toes_{side[0]}", f"{side}ToeBase", f"{side}Toe")),
        )
    },
}
"""Joint -> its names in common rigs (a prefix such as ``mixamorig:`` is ignored)."""
_TO_Z_UP = {"y": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), "z": np.eye(3)}
_REFERENCE_TAKES = 16


@datasets.register("bvh")
class Bvh:
    """Motion-capture files of any humanoid rig, worn and filmed in the simulated world.

    One recording per file: forward kinematics in metres, z up, as the 20 joints of the simulated body; devices at any
        of
    its placements, from the second derivative of position and the first of orientation; a clip rendered when read. The
    capture's frame rate limits the virtual IMU: at 30 frames a second it has nothing above 15 Hz. A quarter of a second
    at both ends of a take is lost to derivatives. Hands are the forearm's bone prolonged by the hand's orientation.

    Args:
        root: a folder, searched deeply for ``*.bvh``.
        pattern: of file names without ending, with groups ``label`` and ``style``, both optional; files that do not
            match have neither. No labels when None.
        placements: placements of the virtual devices.
        device: sensor profile of the simulated world.
        up: vertical axis of the files.
        metres_per_unit: 0.01 for centimetres.
        joints: joint -> its name in the files, for rigs with other names.
        cameras: camera views, one drawn per take.
        fps: frames per second of clip and skeleton, 1 to 100.
        image_size: side of the camera image in pixels, 16 to 1024.
        seed: of mounting, sensor errors, camera and looks.

    Raises:
        RecordingError: no BVH file in the folder.
        ConfigError: an unknown placement, device, camera or joint, or an invalid pattern.

    Example:
        >>> Bvh(root="mocap").subjects()
        ['unknown']
    """

    name = "bvh"
    licence: ClassVar[str] = "that of the files: these are your own"
    citation: ClassVar[str] = "as the files' authors ask; sensors and clips are simulated by imu-video"
    url: ClassVar[str] = "your own BVH files, or `bandai_namco` for a public set"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video", "skeleton")
    placements: tuple[str, ...] = tuple(PLACEMENTS)

    def __init__(
        self,
        *,
        root: str,
        pattern: str | None = None,
        placements: Sequence[str] = ("left_wrist", "right_wrist", "waist", "thigh", "ankle"),
        device: str = "research",
        up: Literal["y", "z"] = "y",
        metres_per_unit: float = 0.01,
        joints: dict[str, str] | None = None,
        cameras: Sequence[str] = ("front", "oblique", "side"),
        fps: float = 25.0,
        image_size: int = 144,
        seed: int = 0,
    ) -> None:
        self.root = existing_folder(root, dataset=self.name, hint="set dataset.root to a folder of .bvh files")
        self.placements, self.device, self.seed = tuple(placements), device, seed
        self.up, self.metres_per_unit, self.fps, self.image_size = up, metres_per_unit, fps, image_size
        self.cameras = sorted(cameras)
        for table, names, kind in (
            (PLACEMENTS, self.placements, "placement"),
            (PROFILES, (device,), "device"),
            (VIEWS, self.cameras, "camera"),
        ):
            for word in names:
                look_up(dict(table), word, kind)
            if not names:
                raise ConfigError(f"{self.name}: name at least one {kind}")
        if not metres_per_unit > 0 or not 1 <= fps <= 100 or not 16 <= image_size <= 1024:
            raise ConfigError(
                f"{self.name}: metres_per_unit {metres_per_unit}, fps {fps}, image_size {image_size}",
                hint="expected a scale above 0, fps 1 to 100, image_size 16 to 1024",
            )
        self.joints = dict(joints or {})
        for joint in self.joints:
            if joint not in NEEDED:
                raise ConfigError(f"{self.name}: joints names {joint!r}{nearest(joint, NEEDED)}")
        try:
            self.pattern = re.compile(pattern) if pattern is not None else None
        except re.error as error:
            raise ConfigError(f"{self.name}: pattern {pattern!r} is not a regular expression: {error}") from error
        self.files = sorted(self.root.rglob("*.bvh"))
        if not self.files:
            raise RecordingError(
                f"{self.name}: no .bvh file in {self.root}", hint="set dataset.root to a folder of .bvh files"
            )
        if self.pattern is not None and not any(self.pattern.fullmatch(path.stem) for path in self.files):
            raise ConfigError(
                f"{self.name}: pattern {pattern!r} matches none of {len(self.files)} names, the first: "
                f"{self.files[0].stem!r}",
                hint="match the whole name without its ending, or leave out the pattern for no labels",
            )
        self._names: dict[str, Path] = {}
        for path in self.files:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
            if name in self._names:
                raise RecordingError(
                    f"{path} and {self._names[name]} give the same recording name", hint="rename one of them"
                )
            self._names[name] = path
        self._axes: dict[tuple[str, ...], dict[str, np.ndarray]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that the pattern finds in the file names, sorted."""
        return tuple(sorted({label for path in self.files if (label := self._told(path, "label"))}))

    @property
    def rate_hz(self) -> float:
        """Nominal rate of the virtual devices."""
        return PROFILES[self.device].rate_hz

    def subjects(self) -> list[str]:
        """One subject for all files, since they do not identify subjects."""
        return [SUBJECT]

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by path."""
        if SUBJECT in chosen(subjects, [SUBJECT], dataset=self.name):
            for name, path in self._names.items():
                yield self._recording(name, path)

    def _told(self, path: Path, group: str) -> str:
        """The text of a group of the pattern in a file name, or ""."""
        match = self.pattern.fullmatch(path.stem) if self.pattern else None
        return (match.groupdict().get(group) or "").replace("-", "_") if match else ""

    def _recording(self, name: str, path: Path) -> Recording:
        file = read_bvh(path)
        label, style = self._told(path, "label"), self._told(path, "style")
        try:
            session = to_session(
                self._take(file),
                self._rig(file),
                person=draw_person(self.seed, SUBJECT),
                label=label,
            )
        except RecordingError as error:
            raise RecordingError(f"{path}: {error.message}", hint=error.hint) from error
        camera = self.cameras[int(stream(self.seed, name, "view").integers(len(self.cameras)))]
        video, skeleton = film(session, camera=camera, fps=self.fps, size=self.image_size, seed=self.seed, name=name)
        return Recording(
            dataset=self.name,
            subject=SUBJECT,
            name=name,
            imu=wear(session, placements=self.placements, device=self.device, seed=self.seed, name=name),
            streams={"video": video, "skeleton": skeleton},
            segments=session.segments if label else (),
            tags={"device": self.device, "camera": camera, **({"style": style} if style else {})},
        )

    def _rig(self, file: BvhFile) -> dict[str, np.ndarray]:
        """Axes of the file's rig, from takes spread evenly over the files that have the same joints."""
        if file.names not in self._axes:
            spread = np.unique(np.linspace(0, len(self.files) - 1, _REFERENCE_TAKES).round().astype(int))
            others = [read_bvh(self.files[i]) for i in spread]
            takes = [self._take(other) for other in others if other.names == file.names]
            self._axes[file.names] = fit_axes(takes or [self._take(file)])
        return self._axes[file.names]

    def _take(self, file: BvhFile) -> Take:
        positions, rotations = file.motion()
        turn = _TO_Z_UP[self.up]
        at = self._find(file)
        return Take(
            joints={joint: turn @ positions[number] * self.metres_per_unit for joint, number in at.items()},
            bones={s: np.einsum("ij,jkt->ikt", turn, rotations[at[joint]]) for s, joint in BONES.items()},
            rate_hz=1 / file.frame_s,
        )

    def _find(self, file: BvhFile) -> dict[str, int]:
        """Number in the file of every joint that is needed."""
        plain = {name.split(":")[-1]: number for number, name in reversed(list(enumerate(file.names)))}
        found = {}
        for joint in NEEDED:
            names = (self.joints[joint],) if joint in self.joints else NAMES.get(joint, ())
            numbers = [plain[n] for n in names if n in plain]
            if joint == "chest" and not names:
                continue  # the neck's parent, below
            if not numbers:
                raise RecordingError(
                    f"{file.path}: no joint for {joint!r} (looked for {', '.join(names)})",
                    hint=f"name it: dataset.joints.{joint}=NAME, one of {', '.join(plain)}",
                )
            found[joint] = numbers[0]
        return {"chest": file.parents[found["neck"]], **found}
