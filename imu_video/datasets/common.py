"""What adapters share: finding the data folder, choosing subjects; nothing here knows a file format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from imu_video.errors import ConfigError, RecordingError, nearest


def existing_folder(root: str | Path, *, dataset: str, hint: str) -> Path:
    """The folder, if it is there.

    Raises:
        RecordingError: no such folder; the hint says how to obtain the data.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise RecordingError(f"{dataset}: no folder {folder}", hint=hint)
    return folder


def chosen(wanted: list[str] | None, known: Iterable[str], *, dataset: str) -> set[str]:
    """The subjects to read: all known ones when None.

    Raises:
        ConfigError: a subject that the dataset does not have.
    """
    everybody = set(known)
    if wanted is None:
        return everybody
    for subject in wanted:
        if subject not in everybody:
            raise ConfigError(f"{dataset} has no subject {subject!r}{nearest(subject, everybody)}")
    return set(wanted)
