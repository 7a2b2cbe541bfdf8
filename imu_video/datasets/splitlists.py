"""Published lists of training, validation and test recordings, checked against published counts; no list is shipped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imu_video.errors import ConfigError, LeakageError, RecordingError

SplitName = Literal["train", "val", "test"]
_log = logging.getLogger(__name__)
COMODO_URL = "https://github.com/Breezelled/COMODO (folder dataset/)"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of a list: its split, and its label if the list has labels."""

    split: str
    label: str | None


def read_lists(
    folder: str | Path,
    *,
    dataset: str,
    protocol: str,
    counts: Mapping[str, int],
    parse: Callable[[str], tuple[str, str | None]],
) -> dict[str, Listed]:
    """Entries of ``train.txt``, ``val.txt`` and ``test.txt`` by key, after checking their counts.

    Args:
        folder: folder of the three files.
        dataset: name of the dataset, for error messages.
        protocol: name of the protocol, for error messages (``COMODO``).
        counts: number of entries that the paper reports per split.
        parse: function from a line to its key and label.

    Raises:
        RecordingError: a missing file, a line that cannot be read, or another number of entries.
        LeakageError: a key in two splits, or twice in one split.
    """
    root = Path(folder).expanduser()
    found: dict[str, Listed] = {}
    for split, expected in counts.items():
        path = root / f"{split}.txt"
        if not path.is_file():
            raise RecordingError(f"{dataset}: no list {path}", hint=f"obtain the {protocol} lists from {COMODO_URL}")
        entries = 0
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                key, label = parse(line.strip())
            except ValueError as error:
                raise RecordingError(
                    f"{path}, line {number}: {line[:80]!r} is not an entry of the {protocol} lists"
                ) from error
            if key in found:
                raise LeakageError(f"{path}, line {number}: {key!r} is already in {found[key].split}")
            found[key] = Listed(split=split, label=label)
            entries += 1
        if entries != expected:
            raise RecordingError(
                f"{path}: {entries} entries, expected {expected} ({protocol} protocol for {dataset})",
                hint=f"obtain the {protocol} lists from {COMODO_URL}, or leave dataset.lists out",
            )
    return found


def need_lists(lists: str | None, split: str | None, dataset: str) -> None:
    """Raise an error for a split without the lists that define it.

    Raises:
        ConfigError: ``split`` without ``lists``.
    """
    if split is not None and lists is None:
        raise ConfigError(
            f"{dataset}: split {split!r} needs the published lists", hint="set their folder: dataset.lists=FOLDER"
        )


def log_absent(listed: Mapping[str, Listed] | None, split: str | None, found: Iterable[str], *, dataset: str) -> int:
    """Log how many listed recordings have no files, since results on a part of a list are not those of the protocol.

    Args:
        listed: entries by key, None without lists.
        split: the part that is read, None for all.
        found: keys of the recordings that have files.
        dataset: name of the dataset, for the message.

    Returns:
        Number of entries without files.
    """
    if listed is None:
        return 0
    wanted = {key for key, entry in listed.items() if split in (None, entry.split)}
    absent = sorted(wanted.difference(found))
    if absent:
        _log.warning(
            "%s: %d of %d listed recordings have no files, the first: %s", dataset, len(absent), len(wanted), absent[0]
        )
    return len(absent)
