"""Skeletons from the videos of another dataset, by BlazePose; the networks are in `imu_video.skeletons.blazepose`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from imu_video.arguments import Count, Positive
from imu_video.errors import ConfigError
from imu_video.modalities.base import stream_name
from imu_video.modalities.skeleton import SkeletonTrack
from imu_video.modalities.video import FrameSource
from imu_video.protocols import RecordingSource, Unread
from imu_video.registry import datasets
from imu_video.shards.building.sources import items
from imu_video.skeletons import blazepose
from imu_video.types import Recording

_FRAMES = 128
"""Frames in memory at once; each block of them begins with a detection."""


@datasets.register("pose")
class PosedDataset:
    """Another dataset whose videos show one person: joints in 3-D are computed from them and become its skeletons.

    BlazePose (Bazarevsky et al. 2020; Grishchenko et al. 2022) gives 33 landmarks in metres from the centre of the
    hips, of which 19 joints are kept (`imu_video.skeletons.blazepose.JOINTS`). Frames without a person have no
    skeleton, and windows with such frames have none. Needs ``pip install imu-video[pose]`` and the networks in the
    wheel of mediapipe 0.10.21, which is not imported.

    Args:
        of: entry of a dataset with videos, ``{name: folder, root: ...}``.
        weights: wheel of mediapipe or folder with its content; None: an installed one.
        fps: at most this many frames per second are read; build with ``window.skeleton_fps`` up to this number.
        camera: further camera of the recordings; None: the main video.
        threads: of the networks.

    Raises:
        ConfigError: as for the dataset, or the networks are not installed.

    Example:
        ``imu-video build pose.yaml data/mine`` with ``dataset: {name: pose, of: {name: folder, root: mine}}``
    """

    licence: ClassVar[str] = "that of the videos; networks Apache-2.0"
    citation: ClassVar[str] = "Bazarevsky et al. 2020, arXiv 2006.10204; Grishchenko et al. 2022, arXiv 2206.11678"
    url: ClassVar[str] = "https://pypi.org/project/mediapipe/0.10.21/"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video", "skeleton")
    tested_on: ClassVar[str] = "rendered clips of `synthetic`"

    def __init__(
        self,
        *,
        of: Mapping[str, Any],
        weights: str | None = None,
        fps: Positive = 12.5,
        camera: str | None = None,
        threads: Count = 1,
    ) -> None:
        self.of: RecordingSource = datasets.build(of)
        if isinstance(self.of, PosedDataset):
            raise ConfigError("dataset 'pose': `of` is a dataset 'pose' itself", hint="name the recordings there")
        self.name = self.of.name
        self._weights, self._fps, self._stream, self._threads = weights, fps, stream_name("video", camera), threads
        blazepose.load_files(weights)  # a missing file ends the build before the first recording is read

    def __getattr__(self, name: str) -> Any:
        """Optional members of the dataset: ``root``, ``version``, ``notes``, ``subject_tags`` ..."""
        if name == "of":  # not set yet, if its constructor has raised
            raise AttributeError(name)
        return getattr(self.of, name)

    @cached_property
    def _networks(self) -> blazepose.BlazePose:
        return blazepose.BlazePose(weights=self._weights, threads=self._threads)

    def subjects(self) -> list[str]:
        """Subjects of the dataset."""
        return self.of.subjects()

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """Recordings of the dataset, with joints computed from their videos."""
        yield from self._posed(self.of.recordings(subjects))

    def unread(self, subject: str) -> Iterator[Unread]:
        """Recordings of a subject before they are read."""
        for item in items(self.of, subject):
            yield replace(item, read=lambda read=item.read: self._posed(read()))  # type: ignore[misc]

    def provenance(self) -> dict[str, Any]:
        """What determines the joints, beside the provenance of the dataset."""
        own: dict[str, Any] = getattr(self.of, "provenance", dict)()
        hashes = {name: expected for name, (_, expected) in blazepose.FILES.items()}
        return {**own, "pose": {**hashes, "fps": self._fps, "stream": self._stream}}

    def _posed(self, recordings: Iterable[Recording]) -> Iterator[Recording]:
        for one in recordings:
            video = one.streams.get(self._stream)
            if video is None:
                yield one
                continue
            track, missed = track_of(video, self._networks, fps=self._fps)
            streams = {name: stream for name, stream in one.streams.items() if name != "skeleton"}
            if len(track.times):
                streams["skeleton"] = track
            note = f"{self._stream}: no person in {missed} of {missed + len(track.times)} frames"
            yield replace(one, streams=streams, notes=(*one.notes, *([note] if missed else ())))


def track_of(video: FrameSource, networks: blazepose.BlazePose, *, fps: float) -> tuple[SkeletonTrack, int]:
    """Joints of the person in a video.

    Args:
        video: frames with their times.
        networks: see `imu_video.skeletons.blazepose.BlazePose`.
        fps: at most this many frames per second are read.

    Returns:
        The joints at frames with a person, and the number of frames without one.
    """
    chosen: list[int] = []
    for index, moment in enumerate(video.times):
        if not chosen or moment - video.times[chosen[-1]] >= (1 - 1e-6) / fps:
            chosen.append(index)
    blocks = [chosen[i : i + _FRAMES] for i in range(0, len(chosen), _FRAMES)]
    joints = [blazepose.as_joints(networks.track(video.read(block))[0]) for block in blocks]
    names = tuple(blazepose.JOINTS)
    all_joints = np.concatenate(joints) if joints else np.empty((0, len(names), 3), np.float32)
    there = np.isfinite(all_joints).all(axis=(1, 2))
    times = np.asarray(video.times, float)[chosen][there]
    track = SkeletonTrack(times=times, joints=all_joints[there].astype(np.float32), names=names)
    return track, int((~there).sum())
