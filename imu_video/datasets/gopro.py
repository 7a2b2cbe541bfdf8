"""GoPro MP4 files: accelerometer, gyroscope and video of the camera from one file; no estimate of the sync offset.

The telemetry, its times and its axes are read by the reader of the same name; here is the video on the same clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from imu_video.datasets.common import chosen
from imu_video.datasets.layout import stream
from imu_video.errors import ConfigError, RecordingError
from imu_video.modalities.mp4 import Mp4Source
from imu_video.readers.gopro import GoProTelemetry
from imu_video.registry import datasets
from imu_video.types import Recording


@datasets.register("gopro")
class GoPro:
    """Clips of GoPro cameras (HERO5 and later, Fusion, MAX) as recordings with one IMU, placement ``camera``.

    One recording per file. The camera's own motion, not labelled activity. Accelerometer and gyroscope keep their own
    sample times: where these differ, a sample of one sensor is NaN in the channels of the other. A camera without one
    of the two sensors leaves its channels out.

    Args:
        root: an MP4 file, or a folder with MP4 files (not searched deeper).
        subjects: file name without ending -> subject; other files have the subject ``camera``.
        video_offset_s: added to all frame times, to correct a known latency; positive = frames taken later.

    Raises:
        RecordingError: no such file or no MP4 in the folder.
        ConfigError: ``subjects`` names a missing file.

    Example:
        >>> GoPro(root="clips", subjects={"GX010001": "anna"}).subjects()
        ['anna', 'camera']
    """

    name = "gopro"
    licence: ClassVar[str] = "yours: these are your own files"
    citation: ClassVar[str] = "own recordings; telemetry format: GoPro GPMF, https://github.com/gopro/gpmf-parser"
    url: ClassVar[str] = "https://github.com/gopro/gpmf-parser"
    streams: ClassVar[tuple[str, ...]] = ("imu", "video")
    placements: ClassVar[tuple[str, ...]] = ("camera",)
    labels: ClassVar[tuple[str, ...]] = ()
    rate_hz: ClassVar[float] = 200.0

    def __init__(self, *, root: str, subjects: dict[str, str] | None = None, video_offset_s: float = 0.0) -> None:
        path = Path(root).expanduser()
        if path.is_file():
            self.files = [path]
        else:
            self.files = sorted(p for p in path.glob("*") if p.suffix.lower() == ".mp4") if path.is_dir() else []
        if not self.files:
            raise RecordingError(
                f"{self.name}: no MP4 file at {path}", hint="set dataset.root to an MP4 file or a folder of them"
            )
        self.people = dict(subjects or {})
        missing = sorted(set(self.people) - {p.stem for p in self.files})
        if missing:
            raise ConfigError(f"{self.name}: subjects names {missing[0]!r}, but {path} has no {missing[0]}.mp4")
        self.video_offset_s = video_offset_s

    def subjects(self) -> list[str]:
        """Sorted subjects, from the configuration."""
        return sorted({self.people.get(p.stem, "camera") for p in self.files})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per file, ordered by file name."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for path in self.files:
            subject = self.people.get(path.stem, "camera")
            if subject in wanted:
                yield self._recording(path, subject)

    def _recording(self, path: Path, subject: str) -> Recording:
        reading = GoProTelemetry().read(path)
        tracks = reading.devices[0].tracks
        return Recording(
            dataset=self.name,
            subject=subject,
            name=re.sub(r"[^A-Za-z0-9_-]", "_", path.stem),
            imu=(stream("camera", acc=tracks.get("acc"), gyr=tracks.get("gyr"), source=str(path)),),
            streams={"video": Mp4Source(path, offset_s=self.video_offset_s)},
            tags=reading.tags,
            notes=reading.notes,
        )
