"""A benchmark of distribution shift from data folders to result lines: loads, estimates, runs and collects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.data.source import open_labelled
from eval.data.splits import refuse_training_subjects
from eval.protocols.ood.config import Model, OodConfig
from eval.protocols.ood.grid import Folder, plan, work
from eval.protocols.ood.lines import collect, measure
from eval.protocols.ood.runs import runs
from eval.protocols.ood.scenario import divide, folds_of, merge_windows
from eval.protocols.ood.train import Task, estimate
from eval.recipes import Recipe, encoder_folders, read_recipe
from eval.results.lines import Result, provenance
from imu_video.bundle.encoder import read_config
from imu_video.bundle.locate import is_name
from imu_video.config import validate
from imu_video.runtime.workers import check

logger = logging.getLogger(__name__)


def benchmark(
    data: Sequence[Path],
    config: OodConfig,
    *,
    folder: Path,
    workers: int = 1,
    engine: str = "local",
    part: tuple[int, int] = (1, 1),
    dry: bool = False,
    plugins: Sequence[str] = (),
) -> list[Result] | None:
    """Run the unfinished runs of a benchmark and collect all of them.

    Args:
        data: data folders or array folders; several are merged, with a fact ``dataset``.
        config: of the benchmark.
        folder: folder of finished runs.
        workers: number of parallel runs; 0 = all cores of the cluster, with Ray.
        engine: ``local`` or ``ray``, see `imu_video.runtime.workers.run`.
        part: part (i, n) of the runs, with i counted from 1.
        dry: only report the unfinished runs and their estimated cost.
        plugins: files that workers import.

    Returns:
        Result lines, or None after a dry run or a part of the runs.

    Raises:
        ConfigError, LeakageError, DataError: see `eval.protocols.ood.scenario` and `eval.protocols.ood.grid`.
    """
    check(engine, workers)
    parts = [open_labelled(path, view=config.scenario.view).windows() for path in data]
    config, recipes = expand(config)
    pretrained = {m.name: read_config(m.encoder) for m in config.models if m.encoder is not None}
    for facts in pretrained.values():
        # Every subject of the data is a query in some run, so none may be a pretraining subject.
        for labelled in parts:
            refuse_training_subjects(facts["lineage"], labelled, np.arange(len(labelled)))
    windows = merge_windows(parts, rate_hz=config.rate_hz)
    domains = divide(windows, config.scenario)
    weights = {name: str(facts["weights_sha256"]) for name, facts in pretrained.items()}
    kept = Folder(folder, config, data=windows.digest, models=weights, make=not dry)
    all_runs = runs(config, list(domains.names))
    todo = plan(config, domains, kept, part=part)
    subjects = len(set(domains.windows.subject.tolist()))
    logger.info(
        f"{config.scenario.name}: {len(domains.windows)} windows of {subjects} subjects, {len(domains.names)} domains "
        f"({', '.join(domains.names)}), {len(domains.windows.classes)} classes"
    )
    if todo:
        seconds = estimate(Task(domains, config), todo)
        where = "one process" if workers == 1 else f"{workers} processes" if workers else "one core, fewer on a cluster"
        minutes = seconds / 60 / max(1, workers)
        logger.info(f"{len(todo)} of {len(all_runs)} runs to do, about {minutes:.0f} minutes on {where}")
    if dry:
        return None
    if todo:
        work(domains, config, todo, kept, workers=workers, engine=engine, plugins=plugins)
    # Other parts may still be running on other machines, so there is nothing complete to report.
    if part[1] > 1:
        logger.info(f"part {part[0]} of {part[1]} is done; run the command without --part to collect all parts")
        return None
    shared = provenance(
        encoder={
            "name": ", ".join(pretrained) or "none",
            "weights": "-".join(sorted(w[:12] for w in weights.values())),
            **({"pretraining": {name: list(r.seeds) for name, r in recipes.items()}} if recipes else {}),
        },
        data={"dataset": windows.dataset, "digest": windows.digest},
        config=config,
    )
    members = {m: name for name, r in recipes.items() for m in member_names(name, r)}
    results = measure(
        collect(kept, all_runs),
        config,
        shared,
        members=members,
        pretraining={name: list(r.seeds) for name, r in recipes.items()},
        folds=folds_of(domains, config),
    )
    if not windows.remarks:
        return results
    return [
        r.model_copy(update={"details": {**r.details, "remarks": [*r.details.get("remarks", ()), *windows.remarks]}})
        for r in results
    ]


def expand(config: OodConfig) -> tuple[OodConfig, dict[str, Recipe]]:
    """One model per pretraining seed in place of each model with a folder of several encoders.

    Returns:
        The config, and the encoders of each replaced model.

    Raises:
        ConfigError: encoders that differ in more than the seed, or a name that another model has.
    """
    models: list[Model] = []
    recipes: dict[str, Recipe] = {}
    for model in config.models:
        folders = [] if model.encoder is None else encoder_folders(Path(model.encoder))
        if len(folders) < 2:
            # A folder of a single encoder is that encoder. A name stays: the folder that it stands for differs between
            # machines, and the path is part of the digest of the config.
            named = model.encoder is None or is_name(model.encoder)
            models.append(model if named else model.model_copy(update={"encoder": str(folders[0])}))
            continue
        recipes[model.name] = recipe = read_recipe(Path(str(model.encoder)))
        for name, folder in zip(member_names(model.name, recipe), recipe.folders, strict=True):
            models.append(model.model_copy(update={"name": name, "encoder": str(folder)}))
    raw = config.model_dump(mode="json") | {"models": [m.model_dump(mode="json") for m in models]}
    return (validate(raw, OodConfig, source="models of several encoders") if recipes else config), recipes


def member_names(name: str, recipe: Recipe) -> list[str]:
    """Names of the models of a recipe's encoders."""
    return [f"{name}.seed{seed}" for seed in recipe.seeds]
