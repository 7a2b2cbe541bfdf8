"""Teacher-label transfer: a probe fitted on labelled teacher embeddings, applied to IMU embeddings without labels.

Unsupervised modality adaptation as in C3T (Kamboj et al. 2024, arXiv 2407.16803: labelled RGB video, unlabelled IMU, a
classifier in the shared space). Unlike the prototypes of `video`, a probe is trained here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.embeddings import embed_video
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.common import (
    build_probes,
    class_names,
    confidence_in,
    domains_of,
    labelled_rows,
    lines,
    one_per_sample,
    pair_embeddings,
    predict,
    queries_of,
    several,
    slice_words,
)
from eval.results.lines import Result
from imu_video.models.cross_modal import CrossModalModel

logger = logging.getLogger(__name__)


def run_teacher(
    windows: LabelledWindows,
    model: CrossModalModel | Sequence[CrossModalModel],
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Fit every probe of the config on the support's labelled video embeddings and apply it to the domain's IMU
    windows.

    Models: ``pretrained`` classifies IMU embeddings; ``teacher`` classifies the same samples' own videos with the same
    probe, as an upper bound.

    Args:
        windows: windows with teacher features that include the domains and ``zeroshot.support``.
        model: encoder with its projectors, or several that differ in the pretraining seed.
        config: probes, support, ``zeroshot.per_class``.
        shared: from `provenance`.

    Raises:
        LeakageError: a query subject provided a label or was in the pretraining.
        ConfigError: a class without a video in the support.
    """
    out: list[Result] = []
    support = config.zeroshot.support
    models = several(model)
    embedded = [embed_video(m, windows) for m in models]
    usable = np.isfinite(embedded[0]).all(axis=1)
    usable &= np.isin(np.arange(len(windows)), one_per_sample(windows, support.rows(windows)))
    for domain in domains_of(config, "by teacher labels"):
        names = class_names(windows, domain)
        rows, labels = labelled_rows(windows, support, names, config, within=usable)
        subjects = np.unique(windows.subject[rows]).tolist()
        query = queries_of(
            windows,
            domain,
            names,
            lineage=[m.student.lineage for m in models],
            label_subjects=subjects,
            provide="provide video labels",
        )
        logger.info(f"{domain.name}: {len(query.truth)} windows, {len(names)} classes, {len(rows)} labelled videos")
        embeddings = pair_embeddings(models, query, config)
        for probe, fitter in build_probes(config).items():
            fitted = [fitter.fit(own[rows], labels, classes=len(names)) for own in embedded]
            stated = confidence_in(fitter)
            for name, found in embeddings.items():
                out += lines(
                    "teacher",
                    query,
                    [predict(f.scores, z, confidence=stated) for f, z in zip(fitted, found, strict=True)],
                    model=name,
                    probe=probe,
                    labels_from=f"videos of {slice_words(support)}",
                    details={"labelled": dict(zip(names, np.bincount(labels).tolist(), strict=True))},
                    config=config,
                    shared=shared,
                    seeds={"labels": config.episodes.seed},
                )
    return out
