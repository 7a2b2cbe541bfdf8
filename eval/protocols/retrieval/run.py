"""Retrieval between IMU windows and their own videos in seeded galleries of a given size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.embeddings import embed_imu, embed_video
from eval.data.splits import refuse_training_subjects
from eval.data.windows import LabelledWindows
from eval.results.lines import Result
from imu_video.errors import ConfigError
from imu_video.metrics.inference import estimate
from imu_video.metrics.ranking import pair_ranks, retrieval_chance
from imu_video.models.cross_modal import CrossModalModel

logger = logging.getLogger(__name__)

DIRECTIONS = ("imu to video", "video to imu")


def run_retrieval(
    windows: LabelledWindows,
    model: CrossModalModel | Sequence[CrossModalModel],
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Recall at k and MRR of both directions in each domain.

    A gallery contains samples of the domain, drawn without replacement, each with one of its devices and its own video.
    Figures are means over subjects of the mean over galleries of the subject's queries, and over encoders.

    Args:
        windows: windows with teacher features.
        model: encoder with its projectors, or several that differ in the pretraining seed.
        config: domains and galleries.
        shared: from `provenance`.

    Raises:
        LeakageError: a query subject was in the pretraining.
        ConfigError: fewer than two samples with video in a domain.
    """
    out: list[Result] = []
    models = model if isinstance(model, Sequence) else [model]
    encoders = list(shared.get("encoder", {}).get("pretraining", {}).get("seeds", ()))
    for domain in config.domains:
        rows = domain.rows(windows)
        for m in models:
            refuse_training_subjects(m.student.lineage, windows, rows)
        target = windows.take(rows)
        videos = [embed_video(m, target) for m in models]
        known = np.isfinite(videos[0]).all(axis=1)
        target, videos = target.take(np.flatnonzero(known)), [video[known] for video in videos]
        if not len(target):
            raise ConfigError(f"retrieval, domain {domain.name!r}: no sample has features of the encoder's teacher")
        imus = [embed_imu(m, target, batch_size=config.batch_size) for m in models]
        sample = np.unique(
            np.char.add(np.char.add(target.facts["split"], "/"), target.sample.astype(str)), return_inverse=True
        )[1]
        size = min(config.retrieval.gallery, int(sample.max()) + 1)
        if size < 2:
            raise ConfigError(
                f"retrieval, domain {domain.name!r}: number of samples with video is {size}, expected at least 2"
            )
        logger.info(f"{domain.name}: {config.retrieval.galleries} galleries of {size} pairs")
        galleries = draw_galleries(sample, size, config.retrieval.galleries, seed=config.retrieval.seed)
        subjects, subject = np.unique(target.subject, return_inverse=True)
        for way, sides in zip(DIRECTIONS, ((imus, videos), (videos, imus)), strict=True):
            found = []
            for a, b in zip(*sides, strict=True):
                ranks = np.stack([pair_ranks(a[g] @ b[g].T) for g in galleries])
                found.append(subject_figures(ranks, subject[np.stack(galleries)], len(subjects), config.retrieval.ks))
            stack = np.stack(found, axis=1)  # (figures, P, S, G)
            chance = retrieval_chance(size, ks=config.retrieval.ks)
            names = [*(f"R@{k}" for k in config.retrieval.ks), "MRR"]
            for metric, cells in zip(names, stack, strict=True):
                out.append(
                    Result.build(
                        estimate(cells.swapaxes(1, 2)[:, None], fraction=True),
                        config.intervals.level,
                        shared=shared,
                        seeds={
                            "galleries": config.retrieval.seed,
                            **({"pretraining": encoders} if encoders else {}),
                        },
                        kind="retrieval",
                        metric=metric,
                        model="pretrained",
                        probe=way,
                        domain=domain.name,
                        chance=chance[metric],
                        details={"gallery": size, "direction": way},
                    )
                )
    return out


def draw_galleries(sample: np.ndarray, size: int, number: int, *, seed: int) -> list[np.ndarray]:
    """Rows of each gallery: distinct samples, one random row (device) per sample.

    Shapes:
        sample (N,) sample number of each row -> ``number`` arrays (size,).
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(sample, kind="stable")
    first = np.searchsorted(sample[order], np.arange(sample.max() + 1))
    many = np.bincount(sample)
    out = []
    for _ in range(number):
        chosen = rng.permutation(len(many))[:size]
        out.append(order[first[chosen] + rng.integers(0, many[chosen])])
    return out


def subject_figures(ranks: np.ndarray, subject: np.ndarray, subjects: int, ks: list[int]) -> np.ndarray:
    """Each subject's R@k and MRR in each gallery; NaN where the subject has no query.

    Args:
        ranks: rank of each query's own pair, from 1.
        subject: subject number of each query.
        subjects: number of subjects.
        ks: ranks k of R@k.

    Shapes:
        ranks (G, n), subject (G, n) -> (len(ks) + 1, subjects, G).
    """
    figures = [*((ranks <= k).astype(np.float64) for k in ks), 1.0 / ranks]
    out = np.full((len(figures), subjects, len(ranks)), np.nan)
    for g, own in enumerate(subject):
        count = np.bincount(own, minlength=subjects)
        for f, figure in enumerate(figures):
            total = np.bincount(own, weights=figure[g], minlength=subjects)
            out[f, count > 0, g] = total[count > 0] / count[count > 0]
    return out
