"""Result lines: one JSON object a measurement with everything needed to repeat it; computing happens elsewhere."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from eval.config import Bootstrap, EvalConfig
from eval.protocols.fewshot import SUPERVISED, Counts
from eval.results.cells import write_npz
from imu_video import __version__
from imu_video.config import Config, digest
from imu_video.errors import DataError
from imu_video.metrics.calibration import expected_calibration_error, overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.significance import holm, minimum_detectable, signed_rank_p
from imu_video.metrics.stats import Interval, hierarchical_bootstrap_many

Kind = Literal[
    "fewshot", "fewshot-difference", "labels", "labels-difference", "zeroshot", "retrieval", "ood", "ood-difference"
]


CALIBRATION = ("ece", "overconfidence")
"""Metrics that are no shares of right answers: they have tables of their own."""


class Result(Config):
    """One measurement.

    Args:
        kind: which protocol; a difference is ``model`` minus ``reference`` on the same episodes (``labels``: seeds).
        metric: name of the figure, a fraction in [0, 1] (differences and ``overconfidence`` in [-1, 1]).
        value: mean over people of the mean over episodes.
        low, high: ends of the interval; None where there is none (one person).
        level: coverage that the interval aims at.
        model, reference, probe, domain, setting, shots: what was measured; ``labels`` with all labels has no shots.
        subjects, episodes: over how many people and episodes (galleries, in retrieval).
        chance: what guessing gives.
        details: classes, gallery size, anchors, remarks ...; of differences ``p_holm``, ``comparisons`` and
            ``minimum_detectable`` (see `with_tests`).
        seeds: every seed that enters the figure.
        encoder: name, weights digest and run id.
        data: dataset and digest of its shards.
        config_digest: of the resolved evaluation config.
        cells: ``FILE.npz::KEY`` of the counts behind the figure, relative to the result file; or None.
        versions, command, time: of the measurement.
    """

    kind: Kind
    metric: str
    value: float = Field(allow_inf_nan=False)
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    level: float = 0.95
    model: str
    reference: str | None = None
    probe: str | None = None
    domain: str
    setting: str | None = None
    shots: int | None = None
    subjects: int
    episodes: int
    chance: float | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    seeds: dict[str, Any] = Field(default_factory=dict)
    encoder: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    config_digest: str = ""
    cells: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    command: str = ""
    time: str = ""

    @property
    def form(self) -> str | None:
        """Which of the four forms of zero-shot: ``video``, ``source``, ``teacher``, ``text``; None: another kind."""
        return str(self.details.get("form", "video")) if self.kind == "zeroshot" else None

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a repeated measurement shares with this one: the later line replaces the earlier in reports."""
        return (
            self.kind,
            self.metric,
            self.model,
            self.reference,
            self.probe,
            self.domain,
            self.setting,
            self.shots,
            self.encoder.get("weights"),
            self.data.get("digest"),
            self.form,
            self.details.get("labels_from"),
            self.details.get("label_map"),
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference's interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def provenance(*, encoder: Mapping[str, Any], data: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """The fields that all lines of one command share."""
    import torch

    return {
        "encoder": dict(encoder),
        "data": dict(data),
        "config_digest": digest(config),
        "versions": {
            "imu-video": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "command": " ".join(["imu-eval", *sys.argv[1:]]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def measure(
    counts: Sequence[Counts], config: EvalConfig, shared: Mapping[str, Any], *, remarks: Sequence[str] = ()
) -> list[Result]:
    """Figures with intervals of every model, and paired differences of ``pretrained`` from every reference.

    A difference is taken cell by cell (person and episode) on the episodes that both have; the supervised reference has
    its own probe (its head) and usually fewer episodes.

    Args:
        counts: from run_fewshot.
        config: metrics and bootstrap.
        shared: from `provenance`, plus ``cells`` where the counts are stored.
        remarks: sentences that belong beside every figure.
    """
    jobs: list[tuple[Kind, Counts, str | None, np.ndarray]] = [
        ("fewshot", c, None, np.stack([c.cells(METRICS[m]) for m in config.metrics])) for c in counts
    ]
    for c in counts:
        for r in counts if c.model == "pretrained" else ():
            same_place = (r.domain, r.shots) == (c.domain, c.shots)
            if r.model == "pretrained" or not same_place or (r.model != SUPERVISED and r.probe != c.probe):
                continue
            stack = np.stack([c.cells(METRICS[m]) - r.cells(METRICS[m]) for m in config.metrics])
            jobs.append(("fewshot-difference", c, r.model, stack))
    # Figures that exist in the same cells share their resamples, which is where the time goes.
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, (_, _, _, stack) in enumerate(jobs):
        alike.setdefault((stack.shape, np.isfinite(stack[0]).tobytes()), []).append(number)
    intervals: dict[int, list[Interval]] = {}
    for numbers in alike.values():
        many = bootstrap(np.concatenate([jobs[n][3] for n in numbers]), config.bootstrap)
        for place, n in enumerate(numbers):
            intervals[n] = many[place * len(config.metrics) : (place + 1) * len(config.metrics)]
    out: list[Result] = []
    differences: dict[str, list[tuple[Result, np.ndarray]]] = {}
    for number, (kind, c, reference, stack) in enumerate(jobs):
        lines = _lines(kind, c, reference, intervals[number], config, shared, remarks)
        if reference is None:
            out += lines
            if c.bins is not None:
                over = overconfidence(c.bins).mean(axis=0).T
                out += calibration_lines(c.bins, over, lines[0], config.bootstrap, lines[0].details)
        for line, cells in zip(lines, stack, strict=True):
            if reference is not None:
                differences.setdefault(line.metric, []).append((line, person_means(cells)))
    for pairs in differences.values():
        out += with_tests([line for line, _ in pairs], [people for _, people in pairs], level=config.bootstrap.level)
    return out


def person_means(cells: np.ndarray) -> np.ndarray:
    """Mean of each person's cells that exist; NaN where none does. Shapes: (S, E) -> (S,)."""
    exists = np.isfinite(cells)
    many = exists.sum(axis=1)
    return np.divide(np.where(exists, cells, 0.0).sum(axis=1), many, out=np.full(len(cells), np.nan), where=many > 0)


def with_tests(lines: Sequence[Result], people: Sequence[np.ndarray], *, level: float = 0.95) -> list[Result]:
    """Paired differences with two further facts, which go into ``details``.

    ``p_holm`` is the p of a signed-rank test over people, corrected over these ``comparisons``;
    ``minimum_detectable`` the smallest difference that the comparison would have found at 80 % power.

    Args:
        lines: every comparison of one table and metric.
        people: of each, one difference a person.
        level: 1 - level is the error rate that ``minimum_detectable`` refers to.
    """
    corrected = holm(np.array([signed_rank_p(d) for d in people]))
    out = []
    for line, p, d in zip(lines, corrected, people, strict=True):
        smallest = minimum_detectable(d, level=level)
        facts: dict[str, Any] = {"p_holm": float(p), "comparisons": len(lines)}
        facts |= {"minimum_detectable": smallest} if math.isfinite(smallest) else {}
        out.append(line.model_copy(update={"details": {**line.details, **facts}}))
    return out


def calibration_lines(
    bins: np.ndarray, cells: np.ndarray, line: Result, config: Bootstrap, details: Mapping[str, Any]
) -> list[Result]:
    """``ece`` and ``overconfidence`` of predictions whose scores are probabilities.

    Overconfidence is a mean of cells and has an interval as other figures have. The error is a sum of absolute values,
    whose resamples lie above it: it comes without an interval. Its bins are means over people of means over episodes
    of the bins' shares, so that everybody counts equally; models of several seeds average their errors.

    Args:
        bins: (R, E, S, B, 3) of R models and E episodes (or targets), zero where nothing was asked.
        cells: (S, E) overconfidence of each person, to be resampled as the figures are.
        line: a figure of the same predictions.
        config: of the interval.
        details: of the two lines.
    """
    [interval] = bootstrap(cells[None], config)
    error = float(expected_calibration_error(equal_people(bins)).mean())
    common = {"low": None, "high": None, "chance": None, "details": dict(details)}
    return [
        line.model_copy(update={**common, "metric": "ece", "value": error}),
        line.model_copy(update={**common, **ends(interval), "metric": "overconfidence", "value": interval.value}),
    ]


def kept_bins(bins: np.ndarray) -> list[list[float]]:
    """Reliability bins (R, E, S, B, 3) as ``details`` keep them: shares with everybody equal, mean over models."""
    mean: list[list[float]] = equal_people(bins).mean(axis=0).round(6).tolist()
    return mean


def equal_people(bins: np.ndarray) -> np.ndarray:
    """Reliability bins in which every person and episode weighs the same. Shapes: (R, E, S, B, 3) -> (R, B, 3)."""
    b = np.asarray(bins, dtype=np.float64)
    total = b[..., 0].sum(axis=-1)[..., None, None]
    share = np.divide(b, total, out=np.zeros_like(b), where=total > 0)
    asked = (total > 0).sum(axis=1)  # (R, S, 1, 1)
    per_person = np.divide(share.sum(axis=1), asked, out=np.zeros_like(share[:, 0]), where=asked > 0)
    return np.asarray(per_person.sum(axis=1) / (asked > 0).sum(axis=1))


def _lines(
    kind: Kind,
    c: Counts,
    reference: str | None,
    intervals: Sequence[Interval],
    config: EvalConfig,
    shared: Mapping[str, Any],
    remarks: Sequence[str],
) -> list[Result]:
    common = dict(shared)
    store = common.pop("cells", None)
    seeds: dict[str, Any] = {"episodes": config.episodes.seed, "bootstrap": config.bootstrap.seed}
    if c.seeds or reference == "untrained":
        seeds["untrained"] = list(config.references.untrained_seeds)
    return [
        Result(
            kind=kind,
            metric=metric,
            value=interval.value,
            **ends(interval),
            level=config.bootstrap.level,
            model=c.model,
            reference=reference,
            probe=c.probe,
            domain=c.domain,
            setting=c.setting,
            shots=c.shots,
            subjects=interval.subjects,
            episodes=interval.episodes,
            chance=None if kind != "fewshot" else 1.0 / len(c.classes),
            details={"classes": list(c.classes), "left_out": list(c.left_out), "remarks": list(remarks)},
            seeds=seeds,
            cells=f"{store}::{cell_key(c)}" if store and kind == "fewshot" else None,
            **common,
        )
        for metric, interval in zip(config.metrics, intervals, strict=True)
    ]


def bootstrap(stack: np.ndarray, config: Bootstrap) -> list[Interval]:
    """Intervals of figures (K, S, E) that share their cells, from a generator of their own."""
    return hierarchical_bootstrap_many(
        stack,
        generator=np.random.default_rng(config.seed),
        resamples=config.resamples,
        level=config.level,
    )


def ends(interval: Interval) -> dict[str, float | None]:
    """``low`` and ``high`` as result fields: None where unbounded."""
    return {
        name: value if math.isfinite(value) else None
        for name, value in (("low", interval.low), ("high", interval.high))
    }


# ------------------------------------------------------------------------------------------------------ files


def cell_key(c: Counts) -> str:
    """Name under which the counts of a measurement are stored."""
    return "|".join([c.domain, c.model, c.probe, str(c.shots)])


_BINS = "|bins"


def save_counts(path: Path, counts: Sequence[Counts]) -> None:
    """Write all counts as one compressed .npz, atomically: arrays by `cell_key`, and a JSON member of names."""
    names = {
        cell_key(c): {"classes": list(c.classes), "subjects": list(c.subjects), "seeds": list(c.seeds)} for c in counts
    }
    arrays = {cell_key(c): c.counts.astype(np.min_scalar_type(int(c.counts.max(initial=0)))) for c in counts}
    arrays |= {f"{cell_key(c)}{_BINS}": c.bins.astype(np.float32) for c in counts if c.bins is not None}
    write_npz(path, {"_names": np.array(json.dumps(names)), **arrays})


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
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[key].astype(np.int64), json.loads(str(file["_names"]))[key]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: cannot read counts {key!r}: {error}", hint="run the evaluation again") from error


def load_bins(reference: str, beside: Path) -> np.ndarray | None:
    """Reliability bins (R, E, S, B, 3) behind a result's ``cells`` field; None where the scores were no probabilities.

    Raises:
        DataError: the file is missing or damaged.
    """
    name, _, key = reference.partition("::")
    try:
        with np.load(beside / name, allow_pickle=False) as file:
            return file.get(f"{key}{_BINS}")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{beside / name}: cannot read bins {key!r}: {error}", hint="run the evaluation again"
        ) from error


def append_results(path: Path, results: Iterable[Result]) -> int:
    """Append lines in one write and sync them; a line that was cut short before does not swallow the first one.

    Returns:
        Number of lines written.
    """
    lines = [json.dumps(r.model_dump(mode="json"), allow_nan=False) for r in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:  # unbuffered: one write, so that lines of two processes do not mix
        broken = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            broken = file.read(1) != b"\n"
        data = (("\n" if broken else "") + "".join(line + "\n" for line in lines)).encode()
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    return len(lines)


def read_results(paths: Sequence[Path]) -> tuple[list[Result], int]:
    """All measurements of some files, the latest of each; and how many earlier ones they replace.

    Raises:
        DataError: a missing file, or a line that is not a result.
    """
    held: dict[tuple[Any, ...], Result] = {}
    total = 0
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}", hint="`imu-eval fewshot` writes results") from error
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            try:
                result = Result.model_validate(json.loads(line))
            except (ValueError, ValidationError) as error:
                first = str(error).splitlines()[0]
                raise DataError(f"{path}, line {number}: not a result ({first})", hint="delete that line") from error
            if result.cells is not None:
                result = result.model_copy(update={"cells": str(path.parent / result.cells)})
            total += 1
            held.pop(result.identity, None)
            held[result.identity] = result
    if not held:
        raise DataError(f"no results in {', '.join(map(str, paths))}", hint="`imu-eval fewshot` writes result files")
    return list(held.values()), total - len(held)
