"""Zero-shot from video: class prototypes out of teacher embeddings, IMU windows as queries; no IMU label is used.

This is the *video* claim only. Text prompts, source labels and teacher labels are other claims and other tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eval.config import EvalConfig
from eval.datasets import LabelledWindows
from eval.results import Result, bootstrap, ends
from eval.splits import Domain, refuse_training_subjects
from imu_video.errors import ConfigError, LeakageError
from imu_video.metrics.classify import METRICS, confusion_counts
from imu_video.models import CrossModalModel

ENOUGH_ANCHORS = 16
"""Anchors a class below which a remark is made: single anchors make very noisy prototypes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototypes:
    """Unit class means of video embeddings.

    Args:
        mean: (M, D).
        names: names of the M classes.
        anchors: number of videos behind each.
        subjects: people in these videos.
    """

    mean: np.ndarray
    names: tuple[str, ...]
    anchors: tuple[int, ...]
    subjects: tuple[str, ...]


def embed_imu(model: CrossModalModel, windows: LabelledWindows, *, batch_size: int = 256) -> np.ndarray:
    """Unit-norm embeddings (N, D) of windows, resampled and normalised as trained."""
    features = model.student.encode(
        windows.x, rate_hz=windows.rate_hz, channels=windows.channels, batch_size=batch_size
    )
    with torch.inference_mode():
        projected = model.imu_projector(torch.from_numpy(features)).float()
        return np.asarray(torch.nn.functional.normalize(projected, dim=-1))


def embed_video(model: CrossModalModel, windows: LabelledWindows) -> np.ndarray:
    """Unit-norm embeddings (N, D) of the windows' teacher features; NaN rows where a sample has none."""
    if windows.teacher is None:
        raise ConfigError("these windows carry no teacher features", hint="`imu-video embed DATA TEACHER` makes them")
    there = np.isfinite(windows.teacher).all(axis=1)
    with torch.inference_mode():
        some = np.asarray(model.embed_teacher(torch.from_numpy(windows.teacher[there].astype(np.float32))))
    out = np.full((len(windows), some.shape[1]), np.nan, dtype=np.float32)
    out[there] = some
    return out


def one_per_sample(windows: LabelledWindows, rows: np.ndarray) -> np.ndarray:
    """The first row of each sample among the rows: its video counts once, however many devices were worn."""
    key = np.char.add(np.char.add(windows.facts["split"][rows], "/"), windows.sample[rows].astype(str))
    return np.sort(rows[np.unique(key, return_index=True)[1]])


def build_prototypes(
    model: CrossModalModel, windows: LabelledWindows, config: EvalConfig, classes: tuple[str, ...]
) -> Prototypes:
    """Mean video embedding of each class over the declared support slice, each sample's video once.

    Raises:
        ConfigError: a class without a single video in the support slice.
    """
    rows = one_per_sample(windows, config.zeroshot.support.rows(windows))
    support = windows.take(rows)
    embedded = embed_video(model, support)
    there = np.isfinite(embedded).all(axis=1)
    rng = np.random.default_rng(config.episodes.seed)
    means, anchors, subjects = [], [], set()
    for name in classes:
        own = np.flatnonzero(there & (support.labels == windows.classes.index(name)))
        if not len(own):
            raise ConfigError(
                f"zero-shot: class {name!r} has no video in split {config.zeroshot.support.split!r}",
                hint="name another zeroshot.support.split, or list the domain's `labels` without it",
            )
        if config.zeroshot.anchors is not None:
            own = rng.permutation(own)[: config.zeroshot.anchors]
        mean = embedded[own].mean(axis=0)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        anchors.append(len(own))
        subjects |= set(support.subject[own].tolist())
    return Prototypes(mean=np.stack(means), names=classes, anchors=tuple(anchors), subjects=tuple(sorted(subjects)))


def run_zeroshot(
    windows: LabelledWindows,
    model: CrossModalModel,
    config: EvalConfig,
    shared: Mapping[str, Any],
    *,
    say: Callable[[str], None] = lambda message: None,
) -> list[Result]:
    """Classify each domain's windows by cosine with the prototypes.

    Two rows a figure: ``pretrained`` takes IMU windows; ``teacher`` takes the same samples' own videos and shows what
    the prototypes allow at best. Domains of the transfer setting are left out: zero-shot has no IMU support.

    Raises:
        LeakageError: a query person gave a prototype or was in the pretraining.
    """
    out = []
    for domain in config.domains:
        if domain.setting != "within":
            continue
        target = domain.rows(windows)
        names = _names(windows, domain, target)
        prototypes = build_prototypes(model, windows, config, names)
        numbers = np.array([windows.classes.index(n) for n in names])
        target = target[np.isin(windows.labels[target], numbers)]
        shared_people = sorted(set(prototypes.subjects) & set(windows.subject[target].tolist()))
        if shared_people:
            raise LeakageError(
                f"zero-shot, domain {domain.name!r}: {shared_people} gave prototypes and are queried",
                hint="zeroshot.support.split must name other people than the domain's split",
            )
        refuse_training_subjects(model.student.lineage, windows, target)
        query = windows.take(target)
        fewest = min(prototypes.anchors)
        remark = f"fewest anchors a class {fewest}" + (" (noisy: 16 are advised)" if fewest < ENOUGH_ANCHORS else "")
        say(f"{domain.name}: {len(query)} windows, {len(names)} classes, {remark}")
        details = {
            "mode": "video",
            "classes": list(names),
            "anchors": dict(zip(names, prototypes.anchors, strict=True)),
            "support": config.zeroshot.support.model_dump(mode="json"),
            "remark": remark,
        }
        truth = np.searchsorted(numbers, query.labels)
        embedded = {"pretrained": embed_imu(model, query, batch_size=config.batch_size)}
        once = np.isin(target, one_per_sample(windows, target))
        embedded["teacher"] = np.where(once[:, None], embed_video(model, query), np.nan)
        for name, z in embedded.items():
            there = np.isfinite(z).all(axis=1)
            if there.any():
                predicted = (z[there] @ prototypes.mean.T).argmax(axis=1)
                out += _lines(name, domain, config, query.subject[there], truth[there], predicted, details, shared)
    if not out:
        raise ConfigError("zero-shot: no domain of the `within` setting", hint="transfer domains need IMU labels")
    return out


def _names(windows: LabelledWindows, domain: Domain, target: np.ndarray) -> tuple[str, ...]:
    present = [windows.classes[c] for c in np.unique(windows.labels[target])]
    names = tuple(present if domain.labels is None else sorted(domain.labels))
    unknown = [n for n in names if n not in present]
    if unknown or len(names) < 2:
        raise ConfigError(f"domain {domain.name!r}: classes {list(names)}, but its windows hold {present}")
    return names


def _lines(
    model: str,
    domain: Domain,
    config: EvalConfig,
    subject: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    details: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> list[Result]:
    people = np.unique(subject)
    classes = len(details["classes"])
    counts = np.stack([confusion_counts(truth[subject == s], predicted[subject == s], classes=classes) for s in people])
    stack = np.stack([METRICS[m](counts)[:, None] for m in config.metrics])
    return [
        Result(
            kind="zeroshot",
            metric=metric,
            value=interval.value,
            **ends(interval),
            level=config.bootstrap.level,
            model=model,
            probe="video prototypes",
            domain=domain.name,
            setting="zero-shot",
            shots=0,
            subjects=interval.subjects,
            episodes=interval.episodes,
            chance=1.0 / classes,
            details={**details, "confusion": counts.sum(axis=0).tolist()},
            seeds={"anchors": config.episodes.seed, "bootstrap": config.bootstrap.seed},
            **shared,
        )
        for metric, interval in zip(config.metrics, bootstrap(stack, config.bootstrap), strict=True)
    ]
