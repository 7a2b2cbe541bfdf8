"""CAPTURE-24: a day of free living on the wrist of 151 subjects; the annotated images are not public."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from imu_video.datasets.layout import SingleLayout, Take, Track, clock_tag, files_like, segments_of, stream
from imu_video.errors import RecordingError
from imu_video.readers.base import in_order
from imu_video.readers.tables import Table
from imu_video.registry import datasets
from imu_video.types import Recording

DICTIONARY = "annotation-label-dictionary.csv"


@datasets.register("capture24")
class Capture24(SingleLayout):
    """CAPTURE-24 (Chan et al., Scientific Data 2024): an accelerometer on the wrist of the dominant hand, about 24 h.

    One recording per subject, read as a whole: 8.6 million rows. The dictionary of the dataset maps annotations to the
    labels of a published scheme.

    Args:
        root: the folder ``capture24`` with ``P001.csv.gz`` .. and ``annotation-label-dictionary.csv``.
        scheme: column of the dictionary.

    Raises:
        RecordingError: missing files, no such scheme in the dictionary, or an annotation that it does not know.

    Example:
        >>> "sleep" in Capture24(root="capture24").labels
        True
    """

    name = "capture24"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "S. Chan, Y. Hang, C. Tong, A. Acquah, A. Schonfeldt, J. Gershuny, A. Doherty. CAPTURE-24: A large dataset of "
        "wrist-worn activity tracker data collected in the wild for human activity recognition. Scientific Data 11, "
        "2024."
    )
    url: ClassVar[str] = "https://ora.ox.ac.uk/objects/uuid:99d7c092-d865-4a19-b096-cc16440cd001"
    placements: ClassVar[tuple[str, ...]] = ("wrist",)
    labels: tuple[str, ...] = ("bicycling", "mixed", "sit-stand", "sleep", "vehicle", "walking")
    rate_hz: ClassVar[float] = 100.0
    files = "PNNN.csv.gz"

    def __init__(
        self,
        *,
        root: str,
        scheme: Literal[
            "Willetts2018",
            "WillettsSpecific2018",
            "WillettsMET2018",
            "DohertySpecific2018",
            "Doherty2018",
            "Walmsley2020",
        ] = "Willetts2018",
    ) -> None:
        super().__init__(root=root)
        path = next((p for p, _ in files_like(self.root, re.escape(DICTIONARY))), None)
        if path is None:
            raise RecordingError(f"{self.name}: no file {DICTIONARY} in {self.root}")
        table = Table(path, ["annotation", f"label:{scheme}"], texts=["annotation", f"label:{scheme}"])
        self._meaning = dict(zip(table.texts("annotation"), table.texts(f"label:{scheme}"), strict=True))
        self.labels = tuple(sorted({label for label in self._meaning.values() if label}))

    def _find(self) -> Iterator[Take]:
        for path, match in files_like(self.root, r"(P\d{3})\.csv(?:\.gz)?"):
            yield Take(subject=match[1], name=match[1], paths=(path,))

    def _read(self, take: Take) -> Recording:
        (path,) = take.paths
        table = Table(path, ["time", "x", "y", "z", "annotation"], texts=["time", "annotation"])
        clock = table.seconds("time", "iso8601")
        rows, faults = in_order(clock)
        times = clock[rows] - clock[rows[0]]
        values = np.stack([table.numbers(axis) for axis in "xyz"])[:, rows]
        annotations, which = np.unique(np.array(table.texts("annotation")), return_inverse=True)
        for text in annotations:
            if text and text not in self._meaning:
                raise RecordingError(f"{path}: annotation {str(text)!r} is not in {DICTIONARY}")
        number = {label: code for code, label in enumerate(self.labels, start=1)}
        codes = np.array([number.get(self._meaning.get(text, ""), 0) for text in annotations])[which][rows]
        imu = stream("wrist", acc=Track(times=times, values=values, unit="g"), source=str(path))
        segments = segments_of(times, codes, dict(enumerate(self.labels, start=1)), source=str(path))
        return self._recording(take, (imu,), segments, tags=clock_tag(faults))
