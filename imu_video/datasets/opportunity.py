"""Opportunity: five inertial units and a hip accelerometer on four subjects in a kitchen; objects are not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from imu_video.datasets.layout import (
    Device,
    SingleLayout,
    Take,
    clock_tag,
    files_like,
    segments_of,
    streams_of,
)
from imu_video.readers.base import in_order
from imu_video.readers.tables import number_table
from imu_video.registry import datasets
from imu_video.types import Recording

LOCOMOTION = {1: "stand", 2: "walk", 4: "sit", 5: "lie"}
GESTURES = {
    406516: "open_door_1",
    406517: "open_door_2",
    404516: "close_door_1",
    404517: "close_door_2",
    406520: "open_fridge",
    404520: "close_fridge",
    406505: "open_dishwasher",
    404505: "close_dishwasher",
    406519: "open_drawer_1",
    404519: "close_drawer_1",
    406511: "open_drawer_2",
    404511: "close_drawer_2",
    406508: "open_drawer_3",
    404508: "close_drawer_3",
    408512: "clean_table",
    407521: "drink_from_cup",
    405506: "toggle_switch",
}
_TRACKS = {"locomotion": (243, LOCOMOTION), "gestures": (249, GESTURES)}
# Stored in milli-g and in thousandths of the output of the Xsens units, which is rad/s; the dataset documents no unit.
DEVICES = (
    Device(placement="hip", acc=4, acc_unit="mg"),
    *(
        Device(placement=placement, acc=first, gyr=first + 3, acc_unit="mg", gyr_scale=1e-3)
        for placement, first in (
            ("back", 37),
            ("right_upper_arm", 50),
            ("right_forearm", 63),
            ("left_upper_arm", 76),
            ("left_forearm", 89),
        )
    ),
)


@datasets.register("opportunity")
class Opportunity(SingleLayout):
    """Opportunity activity recognition (Chavarriaga et al., Pattern Recognition Letters 2013).

    One recording per run: five of daily living (sessions ADL1 .. ADL5) and one drill per subject. The shoes are not
    read: their accelerations come from an estimator that may have removed gravity.

    Args:
        root: the folder ``OpportunityUCIDataset`` or its ``dataset``.
        track: labels to read: modes of locomotion, or the gestures of both arms.

    Raises:
        RecordingError: missing files, or one that is not 250 columns of numbers.

    Example:
        >>> Opportunity(root="OpportunityUCIDataset").subjects()[0]
        'S1'
    """

    name = "opportunity"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "R. Chavarriaga, H. Sagha, A. Calatroni, S. T. Digumarti, G. Troester, J. del R. Millan, D. Roggen. The "
        "Opportunity challenge: A benchmark database for on-body sensor-based activity recognition. Pattern "
        "Recognition Letters 34(15), 2013."
    )
    url: ClassVar[str] = "https://archive.ics.uci.edu/dataset/226/opportunity+activity+recognition"
    placements: ClassVar[tuple[str, ...]] = tuple(device.placement for device in DEVICES)
    labels: ClassVar[tuple[str, ...]] = (*LOCOMOTION.values(), *GESTURES.values())
    rate_hz: ClassVar[float] = 30.0
    files = "dataset/SN-ADLN.dat"

    def __init__(self, *, root: str, track: Literal["locomotion", "gestures"] = "locomotion") -> None:
        self.track = track
        super().__init__(root=root)

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"(S\d)-(ADL\d|Drill)\.dat"):
            yield Take(subject=match[1], name=f"{match[1]}-{match[2]}", paths=(path,), session=match[2])

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        table = number_table(path, 250, missing=True)
        rows, faults = in_order(table[:, 0])
        table = table[rows]
        times = table[:, 0] / 1e3
        column, names = _TRACKS[self.track]
        return self._recording(
            take,
            streams_of(table, times, DEVICES, source=str(path)),
            segments_of(times, table[:, column], names, source=str(path)),
            tags=clock_tag(faults),
        )
