"""Confusion counts stored beside a result file, so that every figure can be recomputed; no figure is computed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from eval.results.cells import read_npz, write_npz
from imu_video.errors import DataError
from imu_video.runtime import documents

_BINS, _SUPPORT, _NAMES_ARRAY = "|bins", "|support", "_names"
_AGAIN = "run the evaluation again"
_Names = TypeAdapter(dict[str, dict[str, list[Any]]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Confusion counts of one model and probe in one domain at one number of shots.

    Args:
        model, probe, domain, setting, shots: what was measured.
        classes: names of the M classes.
        subjects: names of the S query subjects.
        counts: (R, E, S, M, M) int64: seed of the model, episode, subject, true class, predicted class.
        pretraining: pretraining seed of each of the R models, where several encoders were evaluated.
        seeds: seed of each of the R models; empty when the model is not random (R = 1).
        left_out: classes of the domain with too little data.
        bins: (R, E, S, B, 3) reliability bins (see `imu_video.metrics.calibration`); None for a probe whose scores are
            not probabilities.
        support: (E, S + X) bool: subjects that provide support in each episode, the S query subjects first.
    """

    model: str
    probe: str
    domain: str
    setting: str
    shots: int
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    counts: np.ndarray
    seeds: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    bins: np.ndarray | None = None
    support: np.ndarray | None = None
    pretraining: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Name under which the counts are stored."""
        return "|".join([self.domain, self.model, self.probe, str(self.shots)])

    def cells(self, metric: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Figure of each pretraining seed, seed, episode and subject; NaN without a query. (P, R, E, S)."""
        return by_seed(np.asarray(metric(self.counts)), self.pretraining)


def by_seed(cells: np.ndarray, pretraining: Sequence[int]) -> np.ndarray:
    """Cells with the axis of seeds as that of pretraining seeds where it is. Shapes: (R, E, S) -> (P, R, E, S)."""
    return cells[:, None] if pretraining else cells[None]


def save_counts(path: Path, counts: Sequence[Counts]) -> None:
    """Write counts as one compressed .npz, atomically: arrays by `Counts.key`, and a JSON member of names."""
    names = {
        c.key: {"classes": list(c.classes), "subjects": list(c.subjects), "seeds": list(c.seeds)}
        | ({"pretraining": list(c.pretraining)} if c.pretraining else {})
        for c in counts
    }
    arrays = {c.key: c.counts.astype(np.min_scalar_type(int(c.counts.max(initial=0)))) for c in counts}
    arrays |= {f"{c.key}{_BINS}": c.bins.astype(np.float32) for c in counts if c.bins is not None}
    arrays |= {f"{c.key}{_SUPPORT}": c.support for c in counts if c.support is not None}
    write_npz(path, {_NAMES_ARRAY: np.array(json.dumps(names)), **arrays})


def load_counts(reference: str, beside: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Counts (R, E, S, M, M) and their names from a result's ``cells`` field.

    Args:
        reference: ``FILE.npz::KEY``.
        beside: folder of the result file.

    Raises:
        DataError: the file or key is missing or damaged.
    """
    name, _, key = reference.partition("::")
    path = beside / name
    held = read_npz(path, names=(key, _NAMES_ARRAY), hint=_AGAIN)
    if len(held) < 2:
        raise DataError(f"{path}: cannot read counts {key!r}: the file has no such array", hint=_AGAIN)
    where = f"{path}: cannot read counts {key!r}"
    content = documents.parse_json(str(held[_NAMES_ARRAY]), f"{where}: array {_NAMES_ARRAY!r}", hint=_AGAIN)
    names = documents.validate(_Names, content, f"{where}: array {_NAMES_ARRAY!r}", hint=_AGAIN).get(key)
    counts, classes = held[key], len((names or {}).get("classes", ()))
    if names is None or counts.dtype.kind not in "iu" or counts.ndim != 5 or counts.shape[3:] != (classes, classes):
        expected = f"counts (R, E, S, {classes}, {classes})"
        raise DataError(f"{where}: {counts.dtype} of shape {counts.shape}, expected {expected}", hint=_AGAIN)
    return counts.astype(np.int64), names


def load_bins(reference: str, beside: Path) -> np.ndarray | None:
    """Reliability bins (R, E, S, B, 3) behind a result's ``cells`` field; None where scores are not probabilities.

    Raises:
        DataError: the file is missing or damaged.
    """
    bins = _beside(reference, beside, _BINS)
    if bins is not None and (bins.dtype.kind != "f" or bins.ndim != 5 or bins.shape[-1] != 3):
        raise _other(reference, beside, "bins", "(R, E, S, B, 3)", bins)
    return bins


def load_support(reference: str, beside: Path) -> np.ndarray | None:
    """Support subjects (E, S + X) behind a result's ``cells`` field; None in files of earlier versions.

    Raises:
        DataError: the file is missing or damaged.
    """
    support = _beside(reference, beside, _SUPPORT)
    if support is not None and (support.dtype.kind != "b" or support.ndim != 2):
        raise _other(reference, beside, "support subjects", "(E, S + X) bool", support)
    return support


def _beside(reference: str, beside: Path, suffix: str) -> np.ndarray | None:
    name, _, key = reference.partition("::")
    wanted = f"{key}{suffix}"
    return read_npz(beside / name, names=(wanted,), hint=_AGAIN).get(wanted)


def _other(reference: str, beside: Path, what: str, expected: str, found: np.ndarray) -> DataError:
    name, _, key = reference.partition("::")
    message = f"{beside / name}: {what} {key!r}: {found.dtype} of shape {found.shape}, expected {expected}"
    return DataError(message, hint=_AGAIN)
