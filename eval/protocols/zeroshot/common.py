"""What the four forms of zero-shot share: embeddings, who is asked, who may not be, and the result lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.embeddings import embed_imu, embed_video
from eval.data.features import compute_features
from eval.data.splits import Domain, Slice, refuse_training_subjects, spread_over_people
from eval.data.windows import LabelledWindows
from eval.probes import Probe, probes
from eval.probes.base import Confidence, confidence_of
from eval.results.bootstrap import bootstrap
from eval.results.intervals import calibration_lines, kept_bins
from eval.results.lines import Result
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError, LeakageError
from imu_video.metrics.calibration import overconfidence, reliability_bins
from imu_video.metrics.classify import METRICS, confusion_counts
from imu_video.models.cross_modal import CrossModalModel


def one_per_sample(windows: LabelledWindows, rows: np.ndarray) -> np.ndarray:
    """The first row of each sample among the rows: its video counts once, however many devices were worn."""
    key = np.char.add(np.char.add(windows.facts["split"][rows], "/"), windows.sample[rows].astype(str))
    return np.sort(rows[np.unique(key, return_index=True)[1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """The windows that a domain asks.

    Args:
        domain: the domain.
        names: the M classes that are told apart.
        windows: the queries.
        truth: (n,) class numbers 0..M-1.
        once: (n,) bool, one row of each sample: a video is asked once, however many devices were worn.
        remarks: what belongs beside the figures.
    """

    domain: Domain
    names: tuple[str, ...]
    windows: LabelledWindows
    truth: np.ndarray
    once: np.ndarray
    remarks: tuple[str, ...] = ()


def domains_of(config: EvalConfig, form: str) -> list[Domain]:
    """The domains that zero-shot asks: transfer domains need IMU labels of the same data and are left out.

    Raises:
        ConfigError: there is no other.
    """
    out = [d for d in config.domains if d.setting == "within"]
    if not out:
        raise ConfigError(f"zero-shot {form}: no domain of the `within` setting", hint="transfer needs IMU labels")
    return out


def class_names(windows: LabelledWindows, domain: Domain, among: Iterable[str] | None = None) -> tuple[str, ...]:
    """Sorted classes of a domain: its ``labels``, else those of its windows (of them, those ``among`` others).

    Raises:
        ConfigError: fewer than two, or a label that the domain's windows do not have.
    """
    present = [windows.classes[c] for c in np.unique(windows.labels[domain.rows(windows)])]
    present = present if among is None else [n for n in present if n in set(among)]
    names = tuple(present if domain.labels is None else sorted(domain.labels))
    unknown = [n for n in names if n not in present]
    if unknown or len(names) < 2:
        what = "its windows hold" if among is None else "both sides hold"
        raise ConfigError(f"domain {domain.name!r}: classes {list(names)}, but {what} {present}")
    return names


def ask(
    windows: LabelledWindows,
    domain: Domain,
    names: tuple[str, ...],
    *,
    lineage: Mapping[str, Any],
    givers: Iterable[str] = (),
    gave: str = "gave labels",
) -> Queries:
    """The domain's windows of these classes.

    Args:
        windows: holds the domain.
        domain: what is asked.
        names: classes that are told apart; windows of others are left out.
        lineage: of the encoder.
        givers: people of the same dataset whose labels stand for the classes.
        gave: what they did, for the error.

    Raises:
        LeakageError: somebody who is asked gave labels or was in the pretraining.
    """
    numbers = np.array([windows.classes.index(n) for n in names])
    rows = domain.rows(windows)
    rows = rows[np.isin(windows.labels[rows], numbers)]
    shared = sorted(set(givers) & set(windows.subject[rows].tolist()))
    if shared:
        raise LeakageError(
            f"zero-shot, domain {domain.name!r}: {shared} {gave} and are queried",
            hint="zeroshot.support.split must name other people than the domain's split",
        )
    chosen_on = refuse_training_subjects(lineage, windows, rows)
    remarks = [f"{domain.name}: queries {chosen_on}, on whom the checkpoint was chosen"] if chosen_on else []
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
    """The config's probes by their name in tables."""
    return {n: probes.build(e) for n, e in zip(config.probe_names, config.probe_entries, strict=True)}


def labelled_rows(
    windows: LabelledWindows, support: Slice, names: tuple[str, ...], config: EvalConfig, *, within: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and class numbers that a probe is fitted on: at most ``zeroshot.per_class`` a class, spread over people.

    Args:
        windows: hold the support.
        support: slice that may be used.
        names: the M classes.
        config: cap and seed.
        within: (N,) bool, rows that can be used at all.

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
                hint="name another zeroshot.support.split, or list the domain's `labels` without it",
            )
        most = min(config.zeroshot.per_class, len(mine))
        chosen = mine if most == len(mine) else spread_over_people(windows, mine, most, rng)
        rows.append(chosen)
        labels.append(np.full(len(chosen), number))
    return np.concatenate(rows), np.concatenate(labels)


def carried_features(
    source: LabelledWindows, rows: np.ndarray, query: Queries, bundle: EncoderBundle, config: EvalConfig
) -> Iterator[tuple[str, list[tuple[np.ndarray, np.ndarray]], dict[str, Any]]]:
    """Features of labelled rows and of queries by the encoder and the references that need no training.

    Args:
        source: holds the labelled rows.
        rows: distinct rows of it.
        query: what is asked.
        bundle: the encoder.
        config: which references.

    Yields:
        Name of the model; for each of its seeds the features (n, E) of the rows and (q, E) of the queries; the seeds
        that enter its figures.
    """
    seeds = config.references.untrained_seeds
    models = ["pretrained"]
    models += ["untrained"] if seeds else []
    models += ["handcrafted"] if config.references.handcrafted else []
    order = np.argsort(rows)
    back = np.argsort(order)
    for model in models:
        known = compute_features(model, source, rows[order], bundle=bundle, seeds=seeds)
        asked = compute_features(model, query.windows, np.arange(len(query.truth)), bundle=bundle, seeds=seeds)
        pairs = [(a[back], b) for a, b in zip(known.arrays, asked.arrays, strict=True)]
        entering = {"labels": config.episodes.seed, **({"untrained": list(known.seeds)} if known.seeds else {})}
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
    """Figures of one model and probe in a domain, means over people, intervals by resampling people.

    Where the scores were probabilities, their calibration too.

    Args:
        form: ``video``, ``source``, ``teacher`` or ``text``.
        query: what was asked.
        answers: of each of R models (seeds).
        model, probe: names in tables.
        labels_from: whose labels stand for the classes, in words; part of the result's identity.
        details: whatever else belongs to the line.
        config: metrics and bootstrap.
        shared: from `provenance`.
        seeds: beside the bootstrap's.
    """
    predicted = np.stack([a.predicted for a in answers])
    there = (predicted >= 0).all(axis=0)
    subject, truth = query.windows.subject[there], query.truth[there]
    people, classes = np.unique(subject), len(query.names)
    if not len(people):
        return []
    counts = np.stack(
        [
            [confusion_counts(truth[subject == s], row[there][subject == s], classes=classes) for s in people]
            for row in predicted
        ]
    )
    stack = np.stack([METRICS[m](counts).mean(axis=0)[:, None] for m in config.metrics])
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
            interval,
            config.bootstrap,
            shared=shared,
            seeds=seeds or {},
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
        for metric, interval in zip(config.metrics, bootstrap(stack, config.bootstrap), strict=True)
    ]
    stated = [a.confidence[there] for a in answers if a.confidence is not None]
    if len(stated) == len(answers):
        right = predicted[:, there] == truth
        bins = np.stack(
            [
                [reliability_bins(p[subject == s], hit[subject == s]) for s in people]
                for p, hit in zip(stated, right, strict=True)
            ]
        )
        same: dict[str, Any] = {k: v for k, v in about.items() if k in ("form", "labels_from", "label_map")}
        kept = {**same, "bins": kept_bins(bins[:, None])}  # as its figures, so that a later line replaces both
        over = overconfidence(bins).mean(axis=0)[:, None]
        out += calibration_lines(bins[:, None], over, out[0], config.bootstrap, kept)
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What one model says.

    Args:
        predicted: (n,) class numbers, -1 where there was nothing to predict from.
        confidence: (n,) probability of the predicted class; None where scores are no probabilities.
    """

    predicted: np.ndarray
    confidence: np.ndarray | None = None


def predict(
    scores: Callable[[np.ndarray], np.ndarray], z: np.ndarray, *, confidence: Confidence | None = None
) -> Answers:
    """Answers for rows (n, D); none where a row is not finite.

    Args:
        scores: rows -> (n, M).
        z: rows.
        confidence: how scores are probabilities, None: they are not.
    """
    there = np.isfinite(z).all(axis=1)
    predicted, stated = np.full(len(z), -1, dtype=np.int64), np.zeros(len(z))
    if there.any():
        told = scores(z[there])
        predicted[there] = told.argmax(axis=1)
        if confidence is not None:
            stated[there] = confidence_of(told, confidence)
    return Answers(predicted=predicted, confidence=None if confidence is None else stated)


def confidence_in(probe: Probe) -> Confidence | None:
    """How a probe's scores are probabilities, None where they are not."""
    return getattr(probe, "confidence", None)


def pair_embeddings(model: CrossModalModel, query: Queries, config: EvalConfig) -> dict[str, np.ndarray]:
    """The queries' IMU embeddings (``pretrained``) and those of their own videos, each once (``teacher``)."""
    out = {"pretrained": embed_imu(model, query.windows, batch_size=config.batch_size)}
    if query.windows.teacher is not None:
        out["teacher"] = np.where(query.once[:, None], embed_video(model, query.windows), np.nan)
    return out
