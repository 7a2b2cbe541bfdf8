"""CMU motion capture in BVH: everyday motion, sports and dance at 120 frames per second, with descriptions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from imu_video.arguments import LATER, Seed
from imu_video.datasets.bvh import Bvh
from imu_video.errors import RecordingError
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.simulation.randomise import Randomise

METRES_PER_UNIT = 0.0254 / 0.45
"""The database counts in inches divided by 0.45."""
_TAKE = re.compile(r"(\d+)_(\d+)")


@datasets.register("cmu_mocap")
class CmuMocap(Bvh):
    """CMU Graphics Lab motion capture database, converted to BVH by B. Hahne: 18 subjects and more by file name.

    See `bvh` for the simulation; rest poses in the first frame are dropped, and glitches of the capture become gaps.
    The description of a take in ``index.csv`` is its tag ``description``. The label is the description up to `` - ``,
    in lower case with underscores: ``walk``, ``dance``, ``run_jog``. Without the index there are neither.

    Args:
        root: folder of the files ``SS_TT.bvh``, with or without ``index.csv`` (trial, subject, description).
        smooth_hz: low-pass of the motion in Hz; markers at 120 frames per second are noisy.
        placements, device, cameras, fps, image_size, seed, randomise: as of `bvh`.

    Raises:
        RecordingError: no BVH file in the folder, or a file that is not named by subject and trial.
        ConfigError: an unknown placement, device or camera.

    Example:
        >>> CmuMocap(root="cmu-mocap").subjects()[:2]
        ['01', '02']
    """

    name = "cmu_mocap"
    licence: ClassVar[str] = "free for research and commercial use; the data itself may not be resold"
    citation: ClassVar[str] = (
        "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from "
        "NSF EIA-0196217."
    )
    url: ClassVar[str] = "http://mocap.cs.cmu.edu"

    def __init__(
        self,
        *,
        root: str,
        smooth_hz: float | None = 8.0,
        placements: Sequence[str] = ("left_wrist", "right_wrist", "waist", "thigh", "ankle"),
        device: str = "research",
        cameras: Sequence[str] = ("front", "oblique", "side"),
        fps: float = 25.0,
        image_size: int = 144,
        seed: Seed = 0,
        randomise: Annotated[Randomise | None, LATER] = None,
    ) -> None:
        super().__init__(
            root=root,
            placements=placements,
            device=device,
            metres_per_unit=METRES_PER_UNIT,
            smooth_hz=smooth_hz,
            cameras=cameras,
            fps=fps,
            image_size=image_size,
            seed=seed,
            randomise=randomise,
        )
        for path in self.files:
            if not _TAKE.fullmatch(path.stem):
                raise RecordingError(
                    f"{path}: expected a name SUBJECT_TRIAL.bvh, such as 02_01.bvh",
                    hint="keep the file names of the database, or read other files with the adapter `bvh`",
                )
        self.descriptions = self._descriptions()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the descriptions, sorted."""
        return self._both_ways({_label(text) for path in self.files if (text := self.descriptions.get(path.stem))})

    def _subject(self, path: Path) -> str:
        return path.stem.split("_")[0]

    def _facts(self, path: Path) -> tuple[str, dict[str, str]]:
        text = self.descriptions.get(path.stem, "")
        return _label(text), {"description": text} if text else {}

    def _descriptions(self) -> dict[str, str]:
        """Description by take, from the table beside the files."""
        path = next((p for p in sorted({f.parent / "index.csv" for f in self.files}) if p.is_file()), None)
        if path is None:
            return {}
        table = Table(path, ["trial", "description"])
        return dict(zip(table.texts("trial"), table.texts("description"), strict=True))


def _label(description: str) -> str:
    """``Dance - small jetes, pirouette`` to ``dance``."""
    return re.sub(r"[^a-z0-9]+", "_", description.split(" - ")[0].lower()).strip("_")
