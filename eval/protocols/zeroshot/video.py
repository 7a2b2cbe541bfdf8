"""Zero-shot from video: class prototypes are means of teacher embeddings, IMU windows are queries.

No IMU label is used. Text prompts, source labels and teacher labels are other forms with tables of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.embeddings import embed_video
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.common import (
    class_names,
    domains_of,
    lines,
    one_per_sample,
    pair_embeddings,
    predict,
    queries_of,
    several,
    slice_words,
)
from eval.results.lines import Result
from imu_video.errors import ConfigError
from imu_video.models.cross_modal import CrossModalModel

logger = logging.getLogger(__name__)

ENOUGH_ANCHORS = 16
"""Anchors per class below which a remark is made: few anchors make very noisy prototypes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototypes:
    """Unit class means of video embeddings.

    Args:
        mean: (M, D).
        names: names of the M classes.
        anchors: number of videos per class.
        subjects: subjects of these videos.
    """

    mean: np.ndarray
    names: tuple[str, ...]
    anchors: tuple[int, ...]
    subjects: tuple[str, ...]


def build_prototypes(
    model: CrossModalModel, windows: LabelledWindows, config: EvalConfig, classes: tuple[str, ...]
) -> Prototypes:
    """Mean video embedding of each class over the support slice, each sample's video once.

    Raises:
        ConfigError: a class without a video in the support slice.
    """
    rows = one_per_sample(windows, config.zeroshot.support.rows(windows))
    support = windows.take(rows)
    embedded = embed_video(model, support)
    known = np.isfinite(embedded).all(axis=1)
    rng = np.random.default_rng(config.episodes.seed)
    means, anchors, subjects = [], [], set()
    for name in classes:
        own = np.flatnonzero(known & (support.labels == windows.classes.index(name)))
        if not len(own):
            raise ConfigError(
                f"zero-shot: class {name!r} has no video in split {config.zeroshot.support.split!r}",
                hint="use another zeroshot.support.split, or list the domain's `labels` without it",
            )
        if config.zeroshot.anchors is not None:
            own = rng.permutation(own)[: config.zeroshot.anchors]
        mean = embedded[own].mean(axis=0)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
        anchors.append(len(own))
        subjects |= set(support.subject[own].tolist())
    return Prototypes(mean=np.stack(means), names=classes, anchors=tuple(anchors), subjects=tuple(sorted(subjects)))


def run_video(
    windows: LabelledWindows,
    model: CrossModalModel | Sequence[CrossModalModel],
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Classify each domain's windows by cosine with the prototypes.

    Models: ``pretrained`` classifies IMU windows; ``teacher`` classifies the same samples' own videos, as an upper
    bound. Domains of the transfer setting are skipped: zero-shot has no IMU support.

    Args:
        windows: windows with teacher features that include the domains and ``zeroshot.support``.
        model: encoder with its projectors, or several that differ in the pretraining seed.
        config: domains, support, ``zeroshot.anchors``.
        shared: from `provenance`.

    Raises:
        LeakageError: a query subject provided a prototype or was in the pretraining.
    """
    out, models = [], several(model)
    for domain in domains_of(config, "from video"):
        names = class_names(windows, domain)
        built = [build_prototypes(m, windows, config, names) for m in models]
        prototypes = built[0]  # all have the same videos
        query = queries_of(
            windows,
            domain,
            names,
            lineage=[m.student.lineage for m in models],
            label_subjects=prototypes.subjects,
            provide="provide prototypes",
        )
        fewest = min(prototypes.anchors)
        noisy = f" (noisy: {ENOUGH_ANCHORS} are recommended)" if fewest < ENOUGH_ANCHORS else ""
        remark = f"fewest anchors per class {fewest}{noisy}"
        logger.info(f"{domain.name}: {len(query.truth)} windows, {len(names)} classes, {remark}")
        details = {
            "anchors": dict(zip(names, prototypes.anchors, strict=True)),
            "support": config.zeroshot.support.model_dump(mode="json"),
            "remark": remark,
        }
        for name, embedded in pair_embeddings(models, query, config).items():
            out += lines(
                "video",
                query,
                [predict(lambda x, mean=p.mean: x @ mean.T, z) for p, z in zip(built, embedded, strict=True)],  # type: ignore[misc]
                model=name,
                probe="video prototypes",
                labels_from=f"videos of {slice_words(config.zeroshot.support)}",
                details=details,
                config=config,
                shared=shared,
                seeds={"anchors": config.episodes.seed},
            )
    return out
