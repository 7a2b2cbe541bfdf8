"""Result lines of a limited-label run: figures, calibration, paired differences; cells are computed in run.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.protocols.limited_labels.config import LabelsConfig
from eval.protocols.limited_labels.run import Cells
from eval.protocols.limited_labels.subjects import Groups
from eval.results.intervals import calibration_lines, kept_bins, with_tests
from eval.results.lines import DIFFERENCE, Result, ends
from imu_video.metrics.calibration import overconfidence
from imu_video.metrics.classify import METRICS
from imu_video.metrics.inference import Estimate, estimate


def measure_labels(
    cells: Sequence[Cells],
    groups: Groups,
    config: LabelsConfig,
    shared: Mapping[str, Any],
    *,
    against: Sequence[Cells] = (),
) -> list[Result]:
    """Figures with intervals over subjects and seeds; and differences paired by seed and subject.

    Every method that uses the encoder is compared with each of ``config.references`` at the same number of labels, and
    with the same method of every other model in ``against``.

    Args:
        cells: of the encoder under test.
        groups: with the test subjects.
        config: metrics and intervals.
        shared: from `eval.results.lines.provenance`.
        against: cells of other models.
    """
    out = []
    for c in cells:
        lines = [line for line, _ in _lines(c, None, groups, config, shared)]
        out += lines
        # Confidence is stored for the last step alone.
        if c.bins is not None and reported(c, config) is c.counts:
            bins = c.bins[:, None]
            details = {k: lines[0].details[k] for k in ("labels", "method")} | {"bins": kept_bins(bins)}
            out += calibration_lines(bins, overconfidence(bins), lines[0], config.intervals, details)
    differences: dict[str, list[tuple[Result, Estimate]]] = {}
    for c in cells:
        if not c.pretrained:
            continue
        others = [r for r in cells if r.method.name in config.references and r.method.name != c.method.name]
        others += [r for r in against if r.method.name == c.method.name and r.pretrained]
        for r in others:
            if r.number == c.number:
                for line, found in _lines(c, r, groups, config, shared):
                    differences.setdefault(line.metric, []).append((line, found))
    for pairs in differences.values():
        out += with_tests([line for line, _ in pairs], [found for _, found in pairs], config.intervals)
    return out


def _lines(
    c: Cells, reference: Cells | None, groups: Groups, config: LabelsConfig, shared: Mapping[str, Any]
) -> list[tuple[Result, Estimate]]:
    own = dict(shared)
    own["encoder"] = {**shared["encoder"], "weights": c.weights} if c.pretrained else {"weights": c.weights}
    out = []
    for name in config.metrics:
        metric = METRICS[name]
        values = metric(reported(c, config))  # (R, S)
        if reference is not None:
            values = values - metric(reported(reference, config))
        # Encoder i is used with seed i, so that the seeds of both are one factor, named by the one that is further out.
        found = (
            estimate(values[:, None, None], fraction=reference is None)
            if c.pretrained and len(_runs(shared)) > 1
            else estimate(values[:, None], fraction=reference is None, random_seeds=True)
        )
        remarks = [*groups.windows.remarks, *(_short(c, groups, config) if reference is None else [])]
        details: dict[str, Any] = {
            **({"remarks": remarks} if remarks else {}),
            "classes": [groups.windows.classes[i] for i in groups.classes],
            "labels": c.number,
            "method": c.method.model_dump(mode="json"),
            "people": dict(zip(groups.subjects, values.mean(axis=0).round(6).tolist(), strict=True)),
            "seeds": dict(zip(map(str, config.seeds), values.mean(axis=1).round(6).tolist(), strict=True)),
        }
        if reference is None:
            details |= _chosen(c, name, config)
            if name == config.metrics[0]:
                details["by_class"] = _by_class(reported(c, config), details["classes"], config)
        line = Result.build(
            found,
            config.intervals.level,
            shared=own,
            seeds={"labels, weights and order": config.seeds},
            kind="labels" if reference is None else f"labels{DIFFERENCE}",
            metric=name,
            model=c.model,
            reference=None if reference is None else f"{reference.model}: {reference.method.name}",
            probe=c.method.name,
            domain=config.name,
            setting="fixed people",
            shots=None if c.number == "all" else c.number,
            chance=1.0 / len(groups.classes) if reference is None else None,
            details=details,
        )
        out.append((line, found))
    return out


def _runs(shared: Mapping[str, Any]) -> list[Any]:
    """Pretraining runs of the encoders under test, one per seed or one for all seeds."""
    runs = shared.get("encoder", {}).get("run_id")
    return runs if isinstance(runs, list) else [runs]


def reported(c: Cells, config: LabelsConfig) -> np.ndarray:
    """Counts (R, S, M, M) behind the main figure; a method without steps has only one kind."""
    return c.chosen if config.report == "chosen" and c.chosen is not None else c.counts


def _by_class(counts: np.ndarray, classes: Sequence[str], config: LabelsConfig) -> dict[str, list[float | None]]:
    """Class -> recall and the ends of its interval; None where no test subject has the class."""
    out: dict[str, list[float | None]] = {}
    truth = counts.sum(axis=3)  # (R, S, M)
    with np.errstate(invalid="ignore"):
        recall = np.diagonal(counts, axis1=2, axis2=3) / truth
    for number, name in enumerate(classes):
        cells = recall[:, :, number][:, None]
        if not np.isfinite(cells).any():
            out[name] = [None, None, None]
            continue
        found = estimate(cells, fraction=True, random_seeds=True)
        limits = ends(found.interval(config.intervals.level))
        out[name] = [None if v is None else round(float(v), 6) for v in (found.value, limits["low"], limits["high"])]
    return out


def _short(c: Cells, groups: Groups, config: LabelsConfig) -> list[str]:
    """Remarks on classes that have fewer windows than the config asks for."""
    out = []
    found = groups.short_classes(groups.pool, c.number)
    if found:
        out.append(f"fewer than {c.number} labelled windows in the pool: {_listed(found)}")
    found = groups.short_classes(groups.choose, config.choose_per_class) if c.chosen is not None else {}
    if found:
        out.append(f"fewer than {config.choose_per_class} validation windows: {_listed(found)}")
    return out


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _chosen(c: Cells, name: str, config: LabelsConfig) -> dict[str, Any]:
    """Figure at the other of last step (alpha 0.5) and step (alpha) chosen on the validation subjects; the curve."""
    metric = METRICS[name]
    out: dict[str, Any] = {}
    if c.chosen is not None:
        last = config.report == "chosen"
        out["last" if last else "chosen"] = float(metric(c.counts if last else c.chosen).mean())
    if c.curve is not None:
        source = [None] * len(c.curve.alphas) if c.curve.on_choose is None else c.curve.on_choose.mean(axis=0)
        target = metric(c.curve.counts).mean(axis=(0, 2))
        out["by_alpha"] = [
            [float(a), None if s is None else round(float(s), 6), round(float(t), 6)]
            for a, s, t in zip(c.curve.alphas, source, target, strict=True)
        ]
        out["alpha"] = [] if c.curve.chosen is None else c.curve.chosen.tolist()
    return out
