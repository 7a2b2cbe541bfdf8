"""UCI HAPT: raw waist-worn phone signals of 30 subjects, six activities and six transitions; downloads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np

from imu_video.datasets.common import chosen, existing_folder
from imu_video.errors import RecordingError
from imu_video.readers.tables import number_table
from imu_video.recordings.signal import convert
from imu_video.registry import datasets
from imu_video.types import ImuStream, Recording, Segment

RATE_HZ = 50.0
ACTIVITIES = ("walking", "walking_upstairs", "walking_downstairs", "sitting", "standing", "laying")
TRANSITIONS = ("stand_to_sit", "sit_to_stand", "sit_to_lie", "lie_to_sit", "stand_to_lie", "lie_to_stand")
_NAME = re.compile(r"acc_exp(\d+)_user(\d+)\.txt")


@datasets.register("hapt")
class Hapt:
    """Smartphone-Based Recognition of Human Activities and Postural Transitions (Reyes-Ortiz et al., 2016).

    One recording per experiment; a subject's experiments are sessions 1, 2 (one subject has 3). x points up when
    upright.

    Args:
        root: the ``RawData`` folder, or its parent folder.
        transitions: label the six postural transitions too; otherwise these segments have no label.

    Raises:
        RecordingError: the folder is missing, not extracted, or without its label file.

    Example:
        >>> len(Hapt(root="data/hapt").subjects())
        30
    """

    name = "hapt"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "J.-L. Reyes-Ortiz, L. Oneto, A. Sama, X. Parra, D. Anguita. Transition-aware human activity recognition using "
        "smartphones. Neurocomputing 171, 2016."
    )
    url: ClassVar[str] = (
        "https://archive.ics.uci.edu/dataset/341/"
        "smartphone+based+recognition+of+human+activities+and+postural+transitions"
    )
    placements: ClassVar[tuple[str, ...]] = ("waist",)
    labels: ClassVar[tuple[str, ...]] = ACTIVITIES + TRANSITIONS
    rate_hz: ClassVar[float] = RATE_HZ

    def __init__(self, *, root: str, transitions: bool = False) -> None:
        folder = existing_folder(
            root, dataset=self.name, hint=f"download it from {self.url} and set dataset.root to its folder"
        )
        self.root = folder / "RawData" if (folder / "RawData").is_dir() else folder
        self.transitions = transitions
        found = (_NAME.fullmatch(path.name) for path in self.root.glob("acc_exp*_user*.txt"))
        experiments = sorted((int(m[2]), int(m[1]), m[2], m[1]) for m in found if m)
        if not experiments:
            archives = sorted([*folder.glob("*.tar.xz"), *folder.glob("*.zip")])
            hint = "set dataset.root to the folder RawData/ of the extracted dataset"
            if archives:
                command = "unzip" if archives[0].suffix == ".zip" else "tar -xf"
                hint = f"extract it: `{command} {archives[0]}`; set dataset.root to the extracted folder with RawData/"
            raise RecordingError(f"{self.name}: no files acc_expXX_userYY.txt in {self.root}", hint=hint)
        visits: dict[int, int] = {}
        self._experiments: list[tuple[str, str, str, int]] = []
        for user, _, user_text, experiment_text in experiments:
            visits[user] = visits.get(user, 0) + 1
            self._experiments.append((user_text, experiment_text, str(visits[user]), user))

    def subjects(self) -> list[str]:
        """Sorted subjects, from the file names."""
        return sorted({f"user{user}" for user, _, _, _ in self._experiments})

    def recordings(self, subjects: list[str] | None = None) -> Iterator[Recording]:
        """One recording per experiment, ordered by subject and experiment."""
        wanted = chosen(subjects, self.subjects(), dataset=self.name)
        for user, experiment, visit, number in self._experiments:
            if f"user{user}" not in wanted:
                continue
            stem = f"exp{experiment}_user{user}"
            acc = number_table(self.root / f"acc_{stem}.txt", 3)
            gyr = number_table(self.root / f"gyro_{stem}.txt", 3)
            if len(acc) != len(gyr) or len(acc) < 2:
                raise RecordingError(f"{self.root}: {stem} has {len(acc)} acceleration and {len(gyr)} gyroscope rows")
            values = np.concatenate([convert(acc, "g", "acc"), convert(gyr, "rad/s", "gyr")], axis=1).T
            yield Recording(
                dataset=self.name,
                subject=f"user{user}",
                name=stem,
                imu=(ImuStream(placement="waist", times=np.arange(len(acc)) / RATE_HZ, values=values),),
                segments=tuple(self._segments.get((int(experiment), number), ())),
                session=visit,
            )

    @cached_property
    def _segments(self) -> dict[tuple[int, int], list[Segment]]:
        path = self.root / "labels.txt"
        found: dict[tuple[int, int], list[Segment]] = {}
        for line, (experiment, user, activity, first, last) in enumerate(
            number_table(path, 5).astype(int).tolist(), start=1
        ):
            if not 1 <= activity <= len(self.labels) or not 1 <= first <= last:
                raise RecordingError(
                    f"{path}, line {line}: activity {activity}, samples {first} .. {last}",
                    hint=f"expected an activity 1 .. {len(self.labels)} and 1 <= first <= last",
                )
            if activity <= len(ACTIVITIES) or self.transitions:
                segment = Segment(start=(first - 1) / RATE_HZ, end=last / RATE_HZ, label=self.labels[activity - 1])
                found.setdefault((experiment, user), []).append(segment)
        return found
