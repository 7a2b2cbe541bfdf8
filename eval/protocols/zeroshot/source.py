"""Source-label transfer: probes fitted on labelled IMU windows of one data folder, evaluated on another folder.

No label of the target is used. A label map (`eval.data.labelmaps`) gives common class names. Unlike `video`, `teacher`
and `text`, this form uses IMU labels; it measures transfer over sensors and subjects.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.labelmaps import UNMAPPED, LabelMaps, common_names
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.common import (
    build_probes,
    class_names,
    confidence_in,
    domains_of,
    labelled_rows,
    lines,
    model_features,
    predict,
    queries_of,
    several,
    slice_words,
)
from eval.results.lines import Result
from imu_video.bundle.encoder import EncoderBundle
from imu_video.config import digest

logger = logging.getLogger(__name__)


def run_source(
    target: LabelledWindows,
    source: LabelledWindows,
    bundle: EncoderBundle | Sequence[EncoderBundle],
    maps: LabelMaps | None,
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Fit every probe on the source's ``zeroshot.support`` and evaluate it on the target's domains.

    Models: ``pretrained``, and the references that need no training: ``untrained`` (mean over its seeds) and
    ``handcrafted``. Labels outside the map, and labels of one side only, are excluded and counted.

    Args:
        target: windows that are classified; their labels are used for scoring only.
        source: labelled windows of another folder.
        bundle: the encoder, or several that differ in the pretraining seed.
        maps: dataset -> {its label: common label}; None compares labels as written.
        config: domains (their ``labels`` are common names), probes, support, references.
        shared: from `provenance`, of the target.

    Raises:
        LeakageError: a query subject is a source subject of the same dataset, or was in the pretraining.
        ConfigError: a map without one of the datasets, fewer than two common classes.
    """
    bundles, support = several(bundle), config.zeroshot.support
    named = {
        side: windows if maps is None else common_names(windows, maps)
        for side, windows in (("target", target), ("source", source))
    }
    given = support.rows(source)
    source_classes = {named["source"].classes[c] for c in np.unique(named["source"].labels[given])} - {UNMAPPED}
    label_maps = {name: maps[name] for name in {source.dataset, target.dataset}} if maps is not None else None
    words = f"{source.dataset}: {slice_words(support)}"
    out: list[Result] = []
    for domain in domains_of(config, "by source labels"):
        names = class_names(named["target"], domain, among=source_classes)
        usable = np.ones(len(source), dtype=bool)
        rows, labels = labelled_rows(named["source"], support, names, config, within=usable)
        same = source.dataset == target.dataset
        subjects = np.unique(source.subject[rows]).tolist() if same else []
        query = queries_of(
            named["target"],
            domain,
            names,
            lineage=[b.lineage for b in bundles],
            label_subjects=subjects,
            provide="provide source labels",
        )
        details = {
            "source": {"dataset": source.dataset, "digest": source.digest, "support": support.model_dump(mode="json")},
            "label_map": digest(label_maps) if label_maps is not None else None,
            "labelled": dict(zip(names, np.bincount(labels).tolist(), strict=True)),
            "left_out": {
                "source": _left_out(source, named["source"], given, names),
                "target": _left_out(target, named["target"], domain.rows(target), names),
            },
        }
        logger.info(
            f"{domain.name}: {len(query.truth)} windows, classes {', '.join(names)}; {len(rows)} labelled windows"
        )
        fitters = build_probes(config)
        for model, pairs, seeds in model_features(source, rows, query, bundles, config):
            for probe, fitter in fitters.items():
                stated = confidence_in(fitter)
                answers = [
                    predict(fitter.fit(a, labels, classes=len(names)).scores, b, confidence=stated) for a, b in pairs
                ]
                out += lines(
                    "source",
                    query,
                    answers,
                    model=model,
                    probe=probe,
                    labels_from=words,
                    details=details,
                    config=config,
                    shared=shared,
                    seeds=seeds,
                )
    return out


def _left_out(
    windows: LabelledWindows, named: LabelledWindows, rows: np.ndarray, names: tuple[str, ...]
) -> dict[str, int]:
    """Own label -> number of windows that are used neither as queries nor for fitting."""
    common = np.array(named.classes)[named.labels[rows]]
    out = Counter(np.array(windows.classes)[windows.labels[rows]][~np.isin(common, names)].tolist())
    return dict(sorted(out.items()))
