"""BVH motion capture: virtual IMU, rendered clip and skeleton of captured motion; subjects are not identified.

The files do not identify the subjects. All recordings therefore share one subject and cannot be split by subject: every
split or episode that needs other subjects raises an error. Use them for pretraining, or as one block of source data.
Adapters of sets whose file names do identify subjects derive from this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np

from imu_video.arguments import LATER, Seed
from imu_video.datasets.bvh_file import BvhFile, read_bvh
from imu_video.datasets.common import chosen, existing_folder
from imu_video.datasets.layout import files_like
from imu_video.errors import ConfigError, RecordingError, nearest
from imu_video.registry import datasets
from imu_video.simulation.body import SIDES
from imu_video.simulation.camera import VIEWS
from imu_video.simulation.capture import GLITCH_S, cut, smoothed, spans, too_fast
from imu_video.simulation.mocap import (
    BONES,
    LIMBS,
    NEEDED,
    Take,
    fit_axes,
    mirrored,
    rescaled,
    stature_of,
    to_session,
)
from imu_video.simulation.person import draw_person, stream
from imu_video.simulation.randomise import Randomise, check_names
from imu_video.simulation.sensors import PLACEMENTS, PROFILES, look_up
from imu_video.simulation.session import PAD_S
from imu_video.simulation.world import dress, film
from imu_video.types import Recording

SUBJECT = "unknown"
"""The single subject of all recordings."""
NAMES: dict[str, tuple[str, ...]] = {
    "pelvis": ("Hips", "hip", "pelvis"),
    "spine": ("Spine", "LowerBack", "abdomen", "Chest"),
    "neck": ("Neck", "Neck1", "Head"),
    "head": ("Head",),
    **{
        f"{side.lower()}_{joint}": names
        for side in ("Left", "Right")
        for joint, names in (
            ("shoulder", (f"UpperArm_{side[0]}", f"{side}Arm", f"{side}Shoulder")),
            ("elbow", (f"LowerArm_{side[0]}", f"{side}ForeArm", f"{side}Elbow")),
            ("wrist", (f"Hand_{side[0]}", f"{side}Hand", f"{side}Wrist")),
            ("hip", (f"UpperLeg_{side[0]}", f"{side}UpLeg", f"{side}Hip")),
            ("knee", (f"LowerLeg_{side[0]}", f"{side}Leg", f"{side}Knee")),
            ("ankle", (f"Foot_{side[0]}", f"{side}Foot", f"{side}Ankle")),
            ("foot", (f"Toes_{side[0]}", f"{side}ToeBase", f"{side}Toe")),
        )
    },
}
"""Joint -> its names in common rigs, in order of preference (a prefix such as ``mixamorig:`` is ignored).

Biovision's ``LeftShoulder`` is the shoulder only where it carries the elbow; elsewhere it is the collar bone."""
_LENGTHS: tuple[tuple[str, str], ...] = (
    ("chest", "neck"),
    ("pelvis", "spine"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    *LIMBS.values(),
    *((f"{side}_ankle", f"{side}_foot") for side in SIDES),
)
"""Pairs of joints whose distance gives a segment its direction."""
_STATURE_M = (0.8, 2.4)
_UNITS_M = (1.0, 0.1, 0.01, 0.001, 0.0254, 0.0254 / 0.45)
"""Units in use: metres to millimetres, inches, and the unit of the CMU database."""
_UPRIGHT = 0.8  # mean component of the direction from ankles to neck
_SHORTEST = 1e-3  # of the distance from pelvis to ankle; nearer joints are one joint
_TO_Z_UP = {"y": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), "z": np.eye(3)}
_REFERENCE_TAKES = 16
_RINGING_S = 0.8
"""Seconds around a glitch for which a device on a strap of 3 Hz rings."""


@datasets.register("bvh")
class Bvh:
    """Motion-capture files of any humanoid rig, worn and filmed in the simulated world.

    One recording per file: forward kinematics in metres, z up, as the 20 joints of the simulated body; devices at any
    of its placements, from the second derivative of position and the first of orientation; a clip rendered when read.
    The capture's frame rate limits the virtual IMU: at 30 frames a second it has nothing above 15 Hz. A quarter of a
    second at both ends of a take is lost to derivatives. Hands are the forearm's bone prolonged by the hand's
    orientation.

    A first frame from which any joint jumps at more than 15 m/s is a rest pose and dropped (tag ``first_frame``). Later
    jumps are glitches of the capture: devices and skeleton have a gap there (tag ``glitches``).

    Args:
        root: a folder, searched deeply for ``*.bvh``.
        pattern: of file names without ending, with groups ``label`` and ``style``, both optional; files that do not
            match have neither. No labels when None.
        placements: placements of the virtual devices: fixed ones, or regions of the body's surface (``anywhere_1``).
        device: sensor profile of the simulated world, or ``random``.
        up: vertical axis of the files.
        metres_per_unit: 0.01 for centimetres; checked by the length of the legs.
        smooth_hz: low-pass of the motion in Hz; None for none. Captures at 100 Hz and more need one, see `smoothed`.
        joints: joint -> its name in the files, for rigs with other names.
        cameras: camera views, one drawn per take.
        fps: frames per second of clip and skeleton, 1 to 100.
        image_size: side of the camera image in pixels, 16 to 1024.
        seed: of mounting, sensor errors, camera and looks.
        randomise: domain randomisation of devices and motion; None for fixed placements on rigid mounts. Files of
            unknown subjects then have a person of their own each (girth, pocket, habits of wearing).

    Raises:
        RecordingError: no BVH file in the folder; when read: a damaged file, a joint that is missing or coincides with
            another, a body of implausible size, or one that lies in the declared vertical axis.
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
        smooth_hz: float | None = None,
        joints: dict[str, str] | None = None,
        cameras: Sequence[str] = ("front", "oblique", "side"),
        fps: float = 25.0,
        image_size: int = 144,
        seed: Seed = 0,
        randomise: Annotated[Randomise | None, LATER] = None,
    ) -> None:
        self.root = existing_folder(root, dataset=self.name, hint="set dataset.root to a folder of .bvh files")
        self.placements, self.device, self.seed = tuple(placements), device, seed
        self.up, self.metres_per_unit, self.fps, self.image_size = up, metres_per_unit, fps, image_size
        self.smooth_hz, self.cameras, self.randomise = smooth_hz, sorted(cameras), randomise
        check_names(self.placements, [device], randomise, dataset=self.name)
        for word in self.cameras:
            look_up(dict(VIEWS), word, "camera")
        for names, kind in ((self.placements, "placement"), (self.cameras, "camera")):
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
        self.files = [path for path, _ in files_like(self.root, r"[^/]+\.bvh")]
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
        """Labels that the pattern finds in the file names, sorted; of mirrored takes as well where there may be any."""
        return self._both_ways({label for path in self.files if (label := self._told(path, "label"))})

    def _both_ways(self, labels: set[str]) -> tuple[str, ...]:
        may_mirror = self.randomise and self.randomise.motion and self.randomise.motion.mirror > 0
        return tuple(sorted(labels | {_exchanged(label) for label in labels} if may_mirror else labels))

    @property
    def rate_hz(self) -> float | None:
        """Nominal rate of the virtual devices, None for the device ``random``."""
        return PROFILES[self.device].rate_hz if self.device in PROFILES else None

    def subjects(self) -> list[str]:
        """Sorted subjects: one for all files, unless their names identify subjects."""
        return sorted({self._subject(path) for path in self.files})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by path."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for name, path in self._names.items():
            if self._subject(path) in wanted:
                yield self._recording(name, path)

    def _subject(self, path: Path) -> str:
        return SUBJECT

    def _facts(self, path: Path) -> tuple[str, dict[str, str]]:
        """Label, or "", and tags of a file."""
        style = self._told(path, "style")
        return self._told(path, "label"), {"style": style} if style else {}

    def _told(self, path: Path, group: str) -> str:
        """The text of a group of the pattern in a file name, or ""."""
        match = self.pattern.fullmatch(path.stem) if self.pattern else None
        return (match.groupdict().get(group) or "").replace("-", "_") if match else ""

    def _recording(self, name: str, path: Path) -> Recording:
        file = read_bvh(path)
        subject = self._subject(path)
        label, facts = self._facts(path)
        motion, axes = self._motion(file), self._rig(file)
        camera = self.cameras[int(stream(self.seed, name, "view").integers(len(self.cameras)))]
        tags = {"device": self.device, "camera": camera, **facts}
        try:
            take = motion.take if self.smooth_hz is None else smoothed(motion.take, self.smooth_hz)
            take, mirror, notes = self._varied(take, name)
            session = to_session(take, axes, person=draw_person(self.seed, self._person(subject, name)), label=label)
            if mirror:
                session = mirrored(session)
            video, skeleton = film(
                session, camera=camera, fps=self.fps, size=self.image_size, seed=self.seed, name=name
            )
            worn = dress(
                session,
                placements=self.placements,
                device=self.device,
                seed=self.seed,
                name=name,
                randomise=self.randomise,
            )
            imu, tags = worn.imu, {**tags, **worn.tags}
            if motion.first_frame:
                tags["first_frame"] = "rest pose, dropped"
            if motion.glitches.any():
                margin = GLITCH_S if self.randomise is None or self.randomise.strap is None else _RINGING_S
                # The session begins where the margin of the derivatives ends.
                gaps = [(a - PAD_S, b - PAD_S) for a, b in spans(motion.glitches, take.rate_hz, margin_s=margin)]
                imu, skeleton = cut(imu, skeleton, gaps)
                tags["glitches"] = f"{np.count_nonzero(motion.glitches)} steps of {len(motion.glitches)}, left out"
        except RecordingError as error:
            raise RecordingError(f"{path}: {error.message}", hint=error.hint) from error
        segments = session.segments if label else ()
        if mirror:
            tags = {**tags, "mirrored": "yes", **{k: _exchanged(tags[k]) for k in ("description",) if k in tags}}
            segments = tuple(replace(s, label=_exchanged(s.label)) for s in segments)
        return Recording(
            dataset=self.name,
            subject=subject,
            name=name,
            imu=imu,
            streams={"video": video, "skeleton": skeleton},
            segments=segments,
            tags=tags,
            notes=(*notes, *worn.notes),
        )

    def _person(self, subject: str, name: str) -> str:
        """Whose girth, pocket and habits a take has: those of its subject, or with randomisation its own if unknown."""
        return subject if self.randomise is None or subject != SUBJECT else f"{subject}/{name}"

    def _varied(self, take: Take, name: str) -> tuple[Take, bool, tuple[str, ...]]:
        """The take at a drawn tempo and of a drawn size, whether it is mirrored, and a note on what was drawn."""
        if self.randomise is None or self.randomise.motion is None:
            return take, False, ()
        tempo, size, mirror = self.randomise.motion.draw(stream(self.seed, self.randomise.seed, name, "motion"))
        note = f"motion: tempo {tempo:.3f}, size {size:.3f}{', mirrored' if mirror else ''}"
        return rescaled(take, tempo=tempo, size=size), mirror, (note,)

    def _rig(self, file: BvhFile) -> dict[str, np.ndarray]:
        """Axes of the file's rig, from takes spread evenly over the files that have the same joints."""
        if file.names not in self._axes:
            spread = np.unique(np.linspace(0, len(self.files) - 1, _REFERENCE_TAKES).round().astype(int))
            takes = list(self._references(file, [self.files[i] for i in spread])) or [self._motion(file).take]
            self._check_upright(file.path, takes)
            self._axes[file.names] = fit_axes(takes)
        return self._axes[file.names]

    def _references(self, file: BvhFile, paths: Sequence[Path]) -> Iterator[Take]:
        """Takes of the files that have the joints of this one; unreadable files are reported when they are read."""
        for path in paths:
            with suppress(RecordingError):
                other = read_bvh(path)
                if other.names == file.names:
                    yield self._motion(other).take

    def _motion(self, file: BvhFile) -> _Motion:
        turn = _TO_Z_UP[self.up]
        positions, rotations = file.motion()
        try:
            at = self._find(file, positions)
            joints = {joint: turn @ positions[number] * self.metres_per_unit for joint, number in at.items()}
            self._check_size(joints)
        except RecordingError as error:
            raise RecordingError(f"{file.path}: {error.message}", hint=error.hint) from error
        rate_hz = 1 / file.frame_s
        steps = too_fast(positions * self.metres_per_unit, rate_hz)
        first = int(len(steps) > 0 and bool(steps[0]))
        take = Take(
            joints={joint: track[:, first:] for joint, track in joints.items()},
            bones={s: np.einsum("ij,jkt->ikt", turn, rotations[at[joint], :, :, first:]) for s, joint in BONES.items()},
            rate_hz=rate_hz,
        )
        return _Motion(take=take, first_frame=bool(first), glitches=steps[first:])

    def _find(self, file: BvhFile, positions: np.ndarray) -> dict[str, int]:
        """Number in the file of every joint that is needed."""
        plain = {name.split(":")[-1]: number for number, name in reversed(list(enumerate(file.names)))}
        found: dict[str, int] = {}
        for joint in NEEDED:
            names = (self.joints[joint],) if joint in self.joints else NAMES.get(joint, ())
            numbers = [plain[n] for n in names if n in plain]
            if joint == "chest" and not names:
                continue  # from neck and shoulders, below
            if not numbers:
                raise RecordingError(
                    f"no joint for {joint!r} (looked for {', '.join(names)})",
                    hint=f"name it: dataset.joints.{joint}=NAME, one of {', '.join(plain)}",
                )
            found[joint] = numbers[0]
        carries = file.common_ancestor([found["neck"], found["left_shoulder"], found["right_shoulder"]])
        chest = found.setdefault("chest", carries)
        size = _distance(positions, found["left_ankle"], found["pelvis"])
        if "neck" not in self.joints:
            # Some rigs have a joint named Neck that only turns: it lies on the chest, and the next one is the neck.
            above = [plain[n] for n in NAMES["neck"] if n in plain]
            found["neck"] = next((n for n in above if _distance(positions, chest, n) > _SHORTEST * size), found["neck"])
        for side in SIDES:
            shoulder, elbow = found[f"{side}_shoulder"], found[f"{side}_elbow"]
            collar = file.names[shoulder].split(":")[-1] == f"{side.capitalize()}Shoulder"
            if collar and f"{side}_shoulder" not in self.joints and file.parents[elbow] != shoulder:
                raise RecordingError(
                    f"{file.names[shoulder]!r} does not carry {file.names[elbow]!r} and may be a collar bone",
                    hint=f"name the shoulder: dataset.joints.{side}_shoulder={file.names[file.parents[elbow]]}",
                )
        for a, b in _LENGTHS:
            if not _distance(positions, found[a], found[b]) > _SHORTEST * size:
                raise RecordingError(
                    f"joint {file.names[found[b]]!r} for {b!r} lies on {file.names[found[a]]!r} for {a!r}: their "
                    "segment has no direction",
                    hint=f"name another one: dataset.joints.{b}=NAME, one of {', '.join(plain)}",
                )
        return found

    def _check_size(self, joints: Mapping[str, np.ndarray]) -> None:
        """Raise an error for a body of implausible size in the declared unit."""
        stature = stature_of(joints)
        low, high = _STATURE_M
        if not low <= stature <= high:
            fits = [u for u in _UNITS_M if low <= stature / self.metres_per_unit * u <= high]
            raise RecordingError(
                f"the legs are those of a person of {stature:.3g} m at {self.metres_per_unit:g} m per unit, expected "
                f"{low} to {high} m",
                hint=f"set dataset.metres_per_unit={fits[0]:.5g}"
                if fits
                else "the file is damaged or does not contain a human body",
            )

    def _check_upright(self, path: Path, takes: Sequence[Take]) -> None:
        """Raise an error if the bodies of a rig are upright along another axis than the declared one."""
        bodies = [t.joints["neck"] - (t.joints["left_ankle"] + t.joints["right_ankle"]) / 2 for t in takes]
        mean = np.mean([(b / np.linalg.norm(b, axis=0)).mean(axis=1) for b in bodies], axis=0)
        along = _TO_Z_UP[self.up].T @ mean  # in the axes of the file
        axis = int(np.argmax(np.abs(along)))
        if "xyz"[axis] != self.up and abs(along[axis]) > _UPRIGHT and abs(mean[2]) < 0.5:
            raise RecordingError(
                f"{path}: the bodies are upright along {'xyz'[axis]}, expected {self.up}",
                hint=f"set dataset.up={'xyz'[axis]}" if axis else "rotate the files: their vertical axis is x",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Motion:
    """A file's motion without its rest pose, and its implausibly fast steps."""

    take: Take
    first_frame: bool
    glitches: np.ndarray


def _exchanged(text: str) -> str:
    """``wave_left_hand`` to ``wave_right_hand``: the words left and right exchanged, as in a mirror.

    Example:
        >>> _exchanged("wave_left_hand"), _exchanged("Right turn, bright")
        ('wave_right_hand', 'Left turn, bright')
    """
    other = {"left": "right", "Left": "Right", "right": "left", "Right": "Left"}
    return re.sub(r"(?<![A-Za-z])([Ll]eft|[Rr]ight)(?![A-Za-z])", lambda found: other[found[1]], text)


def _distance(positions: np.ndarray, a: int, b: int) -> float:
    """Median distance of two joints."""
    return float(np.median(np.linalg.norm(positions[a] - positions[b], axis=0)))
