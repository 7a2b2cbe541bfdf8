"""Bandai Namco Research Motiondataset: acted motion in many styles as BVH; no subjects, no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from imu_video.arguments import LATER, Seed
from imu_video.datasets.bvh import Bvh
from imu_video.registry import datasets
from imu_video.simulation.randomise import Randomise

CONTENTS: tuple[str, ...] = (
    "bow",
    "bye",
    "byebye",
    "call",
    "dance_long",
    "dance_short",
    "dash",
    "guide",
    "kick",
    "punch",
    "raise_up_both_hands",
    "raise_up_left_hand",
    "raise_up_right_hand",
    "respond",
    "run",
    "slash",
    "walk",
    "walk_back",
    "walk_left",
    "walk_right",
    "walk_turn_left",
    "walk_turn_right",
    "wave_both_hands",
    "wave_left_hand",
    "wave_right_hand",
)
"""Contents of both parts of the set."""


@datasets.register("bandai_namco")
class BandaiNamco(Bvh):
    """Bandai Namco Research Motiondataset 1 and 2: contents as labels, acted styles (old, tired, ...) as tag ``style``.

    See `bvh` for the simulation. The styles are played by a few actors whom the files do not name: use them as shifts
    of style, never of subjects.

    Args:
        root: folder with the parts ``Bandai-Namco-Research-Motiondataset-1`` and ``-2``, or one of them.
        placements, device, cameras, fps, image_size, seed, randomise: as of `bvh`.

    Raises:
        RecordingError: no BVH file in the folder.
        ConfigError: an unknown placement, device or camera.

    Example:
        >>> BandaiNamco(root="data/bandai-namco").subjects()
        ['unknown']
    """

    name = "bandai_namco"
    licence: ClassVar[str] = "CC BY-NC 4.0"
    citation: ClassVar[str] = (
        "M. Kobayashi, C.-C. Liao, K. Inoue, S. Yojima, M. Takahashi. Motion capture dataset for practical use of "
        "AI-based motion editing and stylization. arXiv 2306.08861, 2023."
    )
    url: ClassVar[str] = "https://github.com/BandaiNamcoResearchInc/Bandai-Namco-Research-Motiondataset"
    labels = CONTENTS

    def __init__(
        self,
        *,
        root: str,
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
            pattern=r"dataset-\d_(?P<label>[^_]+)_(?P<style>[^_]+)_\d+",
            placements=placements,
            device=device,
            cameras=cameras,
            fps=fps,
            image_size=image_size,
            seed=seed,
            randomise=randomise,
        )
