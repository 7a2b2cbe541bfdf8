"""What `imu-eval ood` does: load, count what is left, say what it costs, run, gather; parsing words is cli.py's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.data.splits import refuse_training_subjects
from eval.data.windows import load_windows
from eval.protocols.ood.config import OodConfig, runs
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.scenario import divide, merge_windows
from eval.protocols.ood.table import collect, measure
from eval.protocols.ood.train import Task, estimate
from eval.results.store import Result, provenance
from imu_video.config import load_config
from imu_video.errors import ConfigError
from imu_video.runtime.workers import check

logger = logging.getLogger(__name__)


def load(path: Path, overrides: Sequence[str], encoders: Sequence[str], train: str) -> OodConfig:
    """The config with overrides and the encoders of the command line as further models.

    Raises:
        ConfigError: an encoder that is not ``NAME=FOLDER``, or any other fault of the config.
    """
    config = load_config(path, OodConfig, list(overrides))
    if train not in ("all", "head", "wise"):
        raise ConfigError(f"--train {train!r}: expected all, head or wise")
    more: list[dict[str, Any]] = []
    for entry in encoders:
        name, equals, folder = entry.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--encoder {entry!r}: expected NAME=FOLDER", hint="--encoder mine=encoders/mine")
        more.append({"name": name, "encoder": folder, "train": train})
    raw = config.model_dump(mode="json")
    return OodConfig.model_validate({**raw, "models": [*raw["models"], *more]}) if more else config


def parse_part(text: str) -> tuple[int, int]:
    """``i/n`` as numbers with 0 <= i < n.

    Raises:
        ConfigError: anything else.

    Example:
        >>> parse_part("2/8")
        (2, 8)
    """
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and int(i) < int(n)):
        raise ConfigError(f"--part {text!r}: expected i/n with 0 <= i < n", hint="--part 0/4, 1/4, 2/4 and 3/4")
    return int(i), int(n)


def benchmark(
    data: Sequence[Path],
    config: OodConfig,
    *,
    folder: Path,
    workers: int = 1,
    engine: str = "local",
    part: tuple[int, int] = (0, 1),
    dry: bool = False,
    plugins: Sequence[str] = (),
) -> list[Result] | None:
    """Do what is left of a benchmark.

    Args:
        data: data folders; several are merged, with a fact ``dataset``.
        config: from `load`.
        folder: where finished runs are kept.
        workers: runs at a time; with Ray 0 for as many as the cluster has cores.
        engine: ``local`` or ``ray``, see `imu_video.runtime.workers.run`.
        part: which share of the runs, (i, n).
        dry: only say what is left and what it costs.
        plugins: files that workers import.

    Returns:
        Result lines, or None where only a part or nothing was run.

    Raises:
        ConfigError, LeakageError, DataError: see `eval.protocols.ood.scenario` and `eval.protocols.ood.grid`.
    """
    check(engine, workers)
    from imu_video.bundle.encoder import read_config
    from imu_video.shards.reading.index import load_index

    indices = [load_index(path) for path in data]
    parts = [load_windows(index, splits=list(index.splits)) for index in indices]
    pretrained = {m.name: read_config(m.encoder) for m in config.models if m.encoder is not None}
    for facts in pretrained.values():
        for labelled in parts:  # anybody of the data may be asked in some run
            refuse_training_subjects(facts["lineage"], labelled, np.arange(len(labelled)))
    windows = merge_windows(parts, rate_hz=config.rate_hz)
    domains = divide(windows, config.scenario)
    weights = {name: str(facts["weights_sha256"]) for name, facts in pretrained.items()}
    kept = Folder(folder, config, data=windows.digest, models=weights, make=not dry)
    everything = runs(config, list(domains.names))
    todo = plan(config, domains, kept, part=part)
    people = len(set(domains.windows.subject.tolist()))
    logger.info(
        f"{config.scenario.name}: {len(domains.windows)} windows of {people} people, {len(domains.names)} domains "
        f"({', '.join(domains.names)}), {len(domains.windows.classes)} classes"
    )
    if todo:
        seconds = estimate(Task(domains, config), todo)
        where = "one process" if workers == 1 else f"{workers} processes" if workers else "one core, less on a cluster"
        minutes = seconds / 60 / max(1, workers)
        logger.info(f"{len(todo)} of {len(everything)} runs to do, about {minutes:.0f} minutes on {where}")
    if dry:
        return None
    if todo:
        work(domains, config, todo, kept, workers=workers, engine=engine, plugins=plugins)
    if part[1] > 1:
        logger.info(f"part {part[0]} of {part[1]} is done; the command without --part gathers all parts")
        return None
    shared = provenance(
        encoder={
            "name": ", ".join(pretrained) or "none",
            "weights": "-".join(sorted(w[:12] for w in weights.values())),
        },
        data={"dataset": windows.dataset, "digest": windows.digest},
        config=config,
    )
    return measure(collect(kept, everything), config, shared)
