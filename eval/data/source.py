"""The door to labelled windows: a data folder from `imu-video build`, or an array folder; both give `LabelledWindows`.

Every protocol opens its data here:

    data = open_labelled(path)                      # a data folder, an array folder, or FOLDER#VIEW
    windows = data.windows(splits=["test"])         # (N, C, T), labels, facts
    data.index                                      # shards only: teachers, video; refused for arrays

Facts of the windows (``windows.facts``) are what splits and scenarios name: ``subject``, ``placement``, ``session``,
``split``, ``recording`` and tags. An array folder gets them from the columns of its y, from `facts` of its declaration
and, with a view, from the slice that a window was cut from. Number, names and units of the channels vary
(``windows.channels``, ``windows.units``). ``windows.timed`` is False for arrays: recordings and times are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from eval.data.arrays import ArrayFolder
    from eval.data.windows import LabelledWindows
    from imu_video.shards.schema import Index


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledData:
    """Opened data with labels: a data folder or an array folder.

    Args:
        shards: index of a data folder, or None.
        arrays: an array folder, or None.
    """

    shards: Index | None = None
    arrays: ArrayFolder | None = None

    @property
    def _any(self) -> Any:
        return self.arrays if self.shards is None else self.shards

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self._any.dataset)

    @property
    def digest(self) -> str:
        """Identity of the data."""
        return str(self._any.digest)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._any.splits)

    @property
    def placements(self) -> Sequence[str]:
        """Names of the placements."""
        return tuple(self._any.placements)

    @property
    def tags(self) -> Mapping[str, Sequence[str]]:
        """Values of every tag."""
        tags: Mapping[str, Sequence[str]] = self._any.tags
        return tags

    @property
    def index(self) -> Index:
        """Index of a data folder, for what only shards contain.

        Raises:
            ConfigError: an array folder.
        """
        if self.shards is None:
            assert self.arrays is not None
            raise ConfigError(
                f"{self.arrays.root} is an array folder: it has neither video nor teacher features",
                hint="use a data folder from `imu-video build`, or a protocol or method on labelled windows alone",
            )
        return self.shards

    def windows(
        self,
        *,
        splits: Sequence[str] | None = None,
        placements: Sequence[str] | None = None,
        teacher: Any | None = None,
    ) -> LabelledWindows:
        """Read the labelled windows of some splits.

        Args:
            splits: names of splits; None for all.
            placements: devices to keep; all when None.
            teacher: an open teacher cache, whose rows are attached; or None.

        Raises:
            ConfigError: unknown split or placement, or a teacher for an array folder.
            DataError: no labelled window in these splits, or implausible values.
        """
        from eval.data.windows import load_windows

        chosen = self.splits if splits is None else splits
        if self.arrays is None or teacher is not None:
            return load_windows(self.index, splits=chosen, placements=placements, teacher=teacher)
        return self.arrays.windows(splits=chosen, placements=placements)


def open_labelled(path: str | Path, *, view: str | None = None) -> LabelledData:
    """Open labelled data, whatever its layout.

    Args:
        path: a data folder or its address; or an array folder, with ``#VIEW`` for one of its declared views.
        view: the view of an array folder, instead of ``#VIEW``.

    Raises:
        DataError: neither a data folder nor an array folder, or a damaged one.
        ConfigError: two views, an unknown view, or a view of a data folder.
    """
    from eval.data.arrays import is_array_folder, open_arrays
    from imu_video.shards.reading.index import load_index
    from imu_video.shards.remote import is_address

    text, named = str(path), view
    if not is_address(path):
        folder, mark, after = text.rpartition("#")
        if mark and folder and not Path(text).exists():
            text, named = folder, after
            if view is not None and view != after:
                raise ConfigError(f"{path} names the view {after!r}, the config {view!r}", hint="name one of them")
        if is_array_folder(Path(text)):
            return LabelledData(arrays=open_arrays(Path(text), view=named))
    index = load_index(path if text == str(path) else text)
    if named is not None:
        raise ConfigError(f"{text} is a data folder and has no view {named!r}", hint="views are of array folders")
    return LabelledData(shards=index)
