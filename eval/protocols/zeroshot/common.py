"""Shared by the four forms of zero-shot classification: queries, labelled rows, predictions and result lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from eval.config import EvalConfig
from eval.data.embeddings import embed_imu, embed_video
from eval.data.features import compute_features
from eval.data.splits import Domain, Slice, refuse_training_subjects, spread_over_subjects
from eval.data.windows import LabelledWindows
from eval.probes import Probe, probes
from eval.probes.base import Confidence, confidence_of
from eval.report.words import unique
from eval.results.counts import by_seed
from eval.results.intervals import calibration_lines, kept_bins
from eval.results.lines import Result
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError, LeakageError
from imu_video.metrics.calibration import overconfidence, reliability_bins
from imu_video.metrics.classify import METRICS, confusion_counts
from imu_video.metrics.inference import estimate
from imu_video.models.cross_modal import CrossModalModel

T = TypeVar("T")


def several(models: T | Sequence[T]) -> Sequence[T]:
    """One model or several as a sequence: several differ in the pretraining seed."""
    return models if isinstance(models, Sequence) else [models]


def one_per_sample(windows: LabelledWindows, rows: np.ndarray) -> np.ndarray:
    """The first row of each sample: its video counts once, whatever the number of devices."""
    key = np.char.add(np.char.add(windows.facts["split"][rows], "/"), windows.sample[rows].astype(str))
    return np.sort(rows[np.unique(key, return_index=True)[1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """The query windows of a domain.

    Args:
        domain: the domain.
        names: the M classes to distinguish.
        windows: the queries.
        truth: (n,) class numbers 0..M-1.
        once: (n,) bool, one row per sample: a video is a query once, whatever the number of devices.
        remarks: sentences to be reported with the figures.
    """

    domain: Domain
    names: tuple[str, ...]
    windows: LabelledWindows
    truth: np.ndarray
    once: np.ndarray
    remarks: tuple[str, ...] = ()


def domains_of(config: EvalConfig, form: str) -> list[Domain]:
    """The domains of the `within` setting; transfer domains need IMU labels of the same data and are skipped.

    Raises:
        ConfigError: no such domain.
    """
    out = [d for d in config.domains if d.setting == "within"]
    if not out:
        raise ConfigError(
            f"zero-shot {form}: no domain of the `within` setting", hint="transfer domains require IMU labels"
        )
    return out


def class_names(windows: LabelledWindows, domain: Domain, among: Iterable[str] | None = None) -> tuple[str, ...]:
    """Sorted classes of a domain: its ``labels``, else those of its windows, restricted to ``among``.

    Raises:
        ConfigError: fewer than two classes, or a label that the domain's windows do not have.
    """
    present = [windows.classes[c] for c in np.unique(windows.labels[domain.rows(windows)])]
    present = present if among is None else [n for n in present if n in set(among)]
    names = tuple(present if domain.labels is None else sorted(domain.labels))
    unknown = [n for n in names if n not in present]
    if unknown or len(names) < 2:
        where = "its windows have" if among is None else "both sides have"
        raise ConfigError(f"domain {domain.name!r}: classes {list(names)}, but {where} {present}")
    return names


def queries_of(
    windows: LabelledWindows,
    domain: Domain,
    names: tuple[str, ...],
    *,
    lineage: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    label_subjects: Iterable[str] = (),
    provide: str = "provide labels",
) -> Queries:
    """Queries of a domain: its windows of the given classes.

    Args:
        windows: windows that include the domain.
        domain: the domain.
        names: classes to distinguish; windows of other classes are excluded.
        lineage: lineage of the encoder, or of each encoder.
        label_subjects: subjects of the same dataset that provide class information.
        provide: what they provide, for the error.

    Raises:
        LeakageError: a query subject provides class information or was in the pretraining.
    """
    numbers = np.array([windows.classes.index(n) for n in names])
    rows = domain.rows(windows)
    rows = rows[np.isin(windows.labels[rows], numbers)]
    shared = sorted(set(label_subjects) & set(windows.subject[rows].tolist()))
    if shared:
        raise LeakageError(
            f"zero-shot, domain {domain.name!r}: subjects {shared} {provide} and are query subjects",
            hint="zeroshot.support.split must have other subjects than the domain's split",
        )
    found = [refuse_training_subjects(own, windows, rows) for own in several(lineage)]
    remarks = unique(
        [
            *windows.remarks,
            *(f"{domain.name}: query subjects {own} were used to choose the checkpoint" for own in found if own),
        ]
    )
    query = windows.take(rows)
    return Queries(
        domain=domain,
        names=names,
        windows=query,
        truth=np.argsort(numbers)[np.searchsorted(np.sort(numbers), query.labels)],
        once=np.isin(rows, one_per_sample(windows, rows)),
        remarks=tuple(remarks),
    )


def build_probes(config: EvalConfig) -> dict[str, Probe]:
    """Probes of the config by their name in tables."""
    return {n: probes.build(e) for n, e in zip(config.probe_names, config.probe_entries, strict=True)}


def labelled_rows(
    windows: LabelledWindows, support: Slice, names: tuple[str, ...], config: EvalConfig, *, within: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and class numbers for fitting a probe: at most ``zeroshot.per_class`` per class, round-robin over subjects.

    Args:
        windows: windows that include the support.
        support: slice of the labelled windows.
        names: the M classes.
        config: maximum number per class, and seed.
        within: (N,) bool, usable rows.

    Raises:
        ConfigError: a class without a window.
    """
    rng = np.random.default_rng(config.episodes.seed)
    own = support.rows(windows)
    own = own[within[own]]
    rows, labels = [], []
    for number, name in enumerate(names):
        mine = own[windows.labels[own] == windows.classes.index(name)] if name in windows.classes else own[:0]
        if not len(mine):
            raise ConfigError(
                f"zero-shot: class {name!r} has no usable window in split {support.split!r}",
                hint="use another zeroshot.support.split, or list the domain's `labels` without it",
            )
        most = min(config.zeroshot.per_class, len(mine))
        chosen = mine if most == len(mine) else spread_over_subjects(windows, mine, most, rng)
        rows.append(chosen)
        labels.append(np.full(len(chosen), number))
    return np.concatenate(rows), np.concatenate(labels)


def model_features(
    source: LabelledWindows,
    rows: np.ndarray,
    query: Queries,
    bundles: Sequence[EncoderBundle],
    config: EvalConfig,
) -> Iterator[tuple[str, list[tuple[np.ndarray, np.ndarray]], dict[str, Any]]]:
    """Features of labelled rows and of queries, from the encoder and from the references that need no training.

    Args:
        source: windows that include the labelled rows.
        rows: distinct row numbers.
        query: the queries.
        bundles: the encoder, or encoders that differ in the pretraining seed.
        config: references and seeds.

    Yields:
        Name of the model; for each of its encoders or seeds the features (n, E) of the rows and (q, E) of the queries;
        the seeds that enter its figures.
    """
    order = np.argsort(rows)
    back = np.argsort(order)
    for model, seeds in config.references.models(bundles[0].parts).items():
        own: dict[str, Any] = {"bundle": bundles[0], "also": bundles[1:], "seeds": seeds}
        labelled = compute_features(model, source, rows[order], **own)
        queried = compute_features(model, query.windows, np.arange(len(query.truth)), **own)
        pairs = [(a[back], b) for a, b in zip(labelled.arrays, queried.arrays, strict=True)]
        entering = {"labels": config.episodes.seed, **({"untrained": list(labelled.seeds)} if labelled.seeds else {})}
        yield model, pairs, entering


def slice_words(support: Slice) -> str:
    """``train; wrist; device=cheap``."""
    where = [f"{k}={v if isinstance(v, str) else '|'.join(v)}" for k, v in sorted(support.where.items())]
    placements = ["+".join(support.placements)] if support.placements else []
    return "; ".join(["+".join(support.splits), *placements, *where])


def lines(
    form: str,
    query: Queries,
    answers: Sequence[Answers],
    *,
    model: str,
    probe: str,
    labels_from: str,
    details: Mapping[str, Any],
    config: EvalConfig,
    shared: Mapping[str, Any],
    seeds: Mapping[str, Any] | None = None,
) -> list[Result]:
    """Figures of one model and probe in a domain: means over subjects, with intervals over subjects and seeds.

    Calibration lines are added where scores are probabilities.

    Args:
        form: ``video``, ``source``, ``teacher`` or ``text``.
        query: the queries.
        answers: predictions of each of R models (seeds; pretraining seeds of ``pretrained`` and ``teacher``).
        model, probe: names in tables.
        labels_from: origin of the class information, in words; part of the result's identity.
        details: further details of the lines.
        config: metrics and intervals.
        shared: from `provenance`.
        seeds: every seed that enters the figures.
    """
    predicted = np.stack([a.predicted for a in answers])
    answered = (predicted >= 0).all(axis=0)
    subject, truth = query.windows.subject[answered], query.truth[answered]
    subjects, classes = np.unique(subject), len(query.names)
    if not len(subjects):
        return []
    counts = np.stack(
        [
            [confusion_counts(truth[subject == s], row[answered][subject == s], classes=classes) for s in subjects]
            for row in predicted
        ]
    )
    # Pretraining seeds enter ``pretrained`` and, through their projectors, ``teacher``; other models have own seeds.
    encoders = list(shared.get("encoder", {}).get("pretraining", {}).get("seeds", ()))
    encoders = encoders if model in ("pretrained", "teacher") and len(answers) > 1 else []
    about = {
        "form": form,
        "labels_from": labels_from,
        "classes": list(query.names),
        "confusion": counts.sum(axis=(0, 1)).tolist(),
        "remarks": list(query.remarks),
        "teacher": query.windows.teacher_name,
        **details,
    }
    out = [
        Result.build(
            estimate(by_seed(METRICS[metric](counts)[:, None], encoders), fraction=True),
            config.intervals.level,
            shared=shared,
            seeds={**(seeds or {}), **({"pretraining": encoders} if encoders else {})},
            kind="zeroshot",
            metric=metric,
            model=model,
            probe=probe,
            domain=query.domain.name,
            setting="zero-shot",
            shots=0,
            chance=1.0 / classes,
            details=about,
        )
        for metric in config.metrics
    ]
    stated = [a.confidence[answered] for a in answers if a.confidence is not None]
    if len(stated) == len(answers):
        correct = predicted[:, answered] == truth
        bins = np.stack(
            [
                [reliability_bins(p[subject == s], hit[subject == s]) for s in subjects]
                for p, hit in zip(stated, correct, strict=True)
            ]
        )
        same: dict[str, Any] = {k: v for k, v in about.items() if k in ("form", "labels_from", "label_map")}
        # The same identity as the figures, so that a later measurement replaces both.
        kept = {**same, "bins": kept_bins(bins[:, None])}
        over = by_seed(overconfidence(bins)[:, None], encoders)
        out += calibration_lines(bins[:, None], over, out[0], config.intervals, kept)
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Predictions of one model.

    Args:
        predicted: (n,) class numbers, -1 for rows without input.
        confidence: (n,) probability of the predicted class; None where scores are not probabilities.
    """

    predicted: np.ndarray
    confidence: np.ndarray | None = None


def predict(
    scores: Callable[[np.ndarray], np.ndarray], z: np.ndarray, *, confidence: Confidence | None = None
) -> Answers:
    """Predictions for rows (n, D); -1 for rows that are not finite.

    Args:
        scores: function of rows that gives scores (n, M).
        z: the rows.
        confidence: how scores become probabilities; None if they are not.
    """
    finite = np.isfinite(z).all(axis=1)
    predicted, stated = np.full(len(z), -1, dtype=np.int64), np.zeros(len(z))
    if finite.any():
        found = scores(z[finite])
        predicted[finite] = found.argmax(axis=1)
        if confidence is not None:
            stated[finite] = confidence_of(found, confidence)
    return Answers(predicted=predicted, confidence=None if confidence is None else stated)


def confidence_in(probe: Probe) -> Confidence | None:
    """How a probe's scores become probabilities; None if they are not."""
    return getattr(probe, "confidence", None)


def pair_embeddings(
    models: Sequence[CrossModalModel], query: Queries, config: EvalConfig
) -> dict[str, list[np.ndarray]]:
    """Embeddings of the queries (``pretrained``) and of their own videos, each once (``teacher``), by every encoder."""
    found = [_pair_embeddings(model, query, config) for model in models]
    return {name: [own[name] for own in found] for name in found[0]}


def _pair_embeddings(model: CrossModalModel, query: Queries, config: EvalConfig) -> dict[str, np.ndarray]:
    out = {"pretrained": embed_imu(model, query.windows, batch_size=config.batch_size)}
    if query.windows.teacher is not None:
        out["teacher"] = np.where(query.once[:, None], embed_video(model, query.windows), np.nan)
    return out
