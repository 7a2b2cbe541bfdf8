"""Simulated coverage of intervals by the size of a study, for remarks at results; the simulation is studies/inference.

The file beside this module holds the sizes whose 95 % intervals contain the true value in less than 93 or more than
97 % of simulated studies, as the range over the distributions that cannot be told apart from the data of one study.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TypedDict

from imu_video.runtime import documents

TABLE = "coverage.json"
LOW, HIGH = 0.93, 0.97
"""Range of coverages that count as nominal."""
CEILING = 0.9
"""Mean of fractions from which they count as near the ceiling; below one less it, near the floor."""


class Table(TypedDict):
    """Content of the file.

    Keys:
        studies, seed: of the simulation.
        subjects, seeds, folds: simulated sizes; others are rounded down to one of them.
        cells: kind of data -> ``SUBJECTS/SEEDS`` (of folds ``SUBJECTS/FOLDS``) -> lowest and highest coverage.
    """

    studies: int
    seed: int
    subjects: list[int]
    seeds: list[int]
    folds: list[int]
    cells: dict[str, dict[str, tuple[float, float]]]


@lru_cache(maxsize=1)
def table() -> Table:
    """The table that the study wrote last."""
    text = files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    content: Table = documents.parse_json(text, TABLE, hint="install the package again")
    return content


def kind_of(*, seeds: int, pretraining: int, folds: int, fraction: float | None, supports: bool) -> str:
    """The simulated kind of data that a result belongs to.

    Example:
        >>> kind_of(seeds=3, pretraining=1, folds=0, fraction=None, supports=False)
        'differences'
        >>> kind_of(seeds=1, pretraining=1, folds=0, fraction=0.95, supports=True)
        'few-shot, near the ceiling'
    """
    near = fraction is not None and not 1 - CEILING < fraction < CEILING
    if folds > 1:
        return "folds"
    if supports:
        return "few-shot, near the ceiling" if near else "few-shot"
    if seeds > 1 and pretraining > 1:
        return "seeds and pretraining seeds"
    return "differences" if fraction is None else "near the ceiling" if near else "fractions"


def remarks(
    *, subjects: int, seeds: int, pretraining: int, folds: int, fraction: float | None, supports: bool
) -> Iterator[str]:
    """A remark where studies of this size and kind cover less or more often than stated.

    Args:
        subjects, seeds, pretraining, folds: numbers of levels, 0 or 1 folds for none.
        fraction: the mean, where the values are fractions.
        supports: whether subjects provide support in the episodes.
    """
    held = table()
    own = folds if folds > 1 else min((n for n in (seeds, pretraining) if n > 1), default=1)
    size = f"{_rounded(subjects, held['subjects'])}/{_rounded(own, held['folds' if folds > 1 else 'seeds'])}"
    kind = kind_of(seeds=seeds, pretraining=pretraining, folds=folds, fraction=fraction, supports=supports)
    found = held["cells"].get(kind, {}).get(size)
    if found is not None:
        low, high = (f"{100 * end:.1f}" for end in found)
        word = "unreliable" if found[0] < LOW else "conservative"
        yield f"95 % intervals of simulated studies of this size ({kind}) cover {low} to {high} %: {word}"


def _rounded(number: int, sizes: Sequence[int]) -> int:
    """The largest simulated size that is not larger, or the smallest one."""
    return sizes[max(0, bisect_right(sizes, number) - 1)]
