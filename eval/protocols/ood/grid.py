"""The run directory of a benchmark: stores finished runs and executes the others in parallel; train.py does one run.

Each finished run is a separate file that is written atomically. An interrupted benchmark therefore resumes, and any
number of processes or machines can share one folder.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from eval.protocols.ood.config import OodConfig, Scenario, Training
from eval.protocols.ood.runs import Run, runs
from eval.protocols.ood.scenario import Domains
from eval.protocols.ood.stored import FACTS, read_facts, read_run
from eval.protocols.ood.train import Task, train
from imu_video.bundle.locate import encoder_folder
from imu_video.config import Config, digest
from imu_video.errors import ConfigError
from imu_video.registry import load_plugin
from imu_video.runtime import workers as engines
from imu_video.runtime.files import remove_dead_leftovers, write_atomic
from imu_video.runtime.parts import share
from imu_video.types import JsonDict

logger = logging.getLogger(__name__)

FORMAT = 3
"""Format version of the files; runs of another version are not reused."""
_FREE = {"seeds", "selection", "models", "algorithms", "search", "select"}
"""Config keys that may change between commands on one folder: they add runs and do not change existing ones."""


class Folder:
    """Folder of a benchmark: ``benchmark.json`` identifies the benchmark, ``runs/<key>.json`` are finished runs.

    Args:
        path: the folder; created if missing.
        config: of the benchmark.
        data: digest of the labelled windows.
        models: digest of each pretrained encoder's weights, by the model's name.
        make: whether to create the folder; with False nothing is written.

    Raises:
        ConfigError: the folder contains runs of another scenario, schedule, data or format.
    """

    def __init__(self, path: Path, config: OodConfig, *, data: str, models: dict[str, str], make: bool = True) -> None:
        self.path, self.config = path, config
        same = {k: v for k, v in config.model_dump(mode="json").items() if k not in _FREE}
        facts = {"format": FORMAT, "identity": same, "data": data}
        file = path / FACTS
        if file.exists():
            stored = read_facts(path)
            before = _completed(stored["identity"])
            changed = [k for k in {**same, **before} if same.get(k) != before.get(k)]
            changed += [name for name in ("data", "format") if stored.get(name) != facts[name]]
            if changed:
                raise ConfigError(
                    f"{path} contains runs with another {', '.join(sorted(changed))}", hint="name another --folder"
                )
        if make:
            (path / "runs").mkdir(parents=True, exist_ok=True)
            remove_dead_leftovers(path)
            write_atomic(file, json.dumps(facts, indent=1, sort_keys=True))
        # A model is identified by its settings and the digest of its weights, not by the path of its encoder.
        kinds = {
            m.name: {k: v for k, v in m.model_dump(mode="json").items() if k not in ("name", "encoder")}
            for m in config.models
        }
        self._marks = {name: digest([kind, models.get(name)]) for name, kind in kinds.items()}

    def file(self, run: Run) -> Path:
        """File of a run's result; it depends on the model's settings and weights, not only on its name."""
        return self.path / "runs" / f"{run.key}-{self._marks[run.model]}.json"

    def result(self, run: Run) -> JsonDict | None:
        """The result of a run, or None if it is not finished.

        Raises:
            DataError: a damaged file.
        """
        file = self.file(run)
        return read_run(file) if file.exists() else None

    def keep(self, run: Run, result: JsonDict) -> None:
        """Write the result of a run."""
        write_atomic(self.file(run), json.dumps(result, allow_nan=False))


def _completed(identity: JsonDict) -> JsonDict:
    """A stored identity with the defaults of keys that did not exist when it was written."""
    # The default of a new key keeps the behaviour of earlier versions, so it is what the runs were made with.
    defaults: dict[str, Config] = {"scenario": Scenario(name="any", axis="any"), "training": Training()}
    return {
        key: {**defaults[key].model_dump(mode="json"), **value}
        if key in defaults and isinstance(value, dict)
        else value
        for key, value in identity.items()
    }


def plan(config: OodConfig, domains: Domains, folder: Folder, *, part: tuple[int, int] = (1, 1)) -> list[Run]:
    """Unfinished runs of one part of the benchmark.

    Args:
        config: of the benchmark.
        domains: for the names of the targets.
        folder: finished runs.
        part: (i, n): every n-th run starting at the i-th, counted from 1; for array jobs.
    """
    for target in config.scenario.targets or ():  # raises for an unknown name before anything runs
        domains.number(target)
    mine = share(runs(config, list(domains.names)), *part)
    return [run for run in mine if not folder.file(run).exists()]


class RunTask:
    """Task for an engine (`imu_video.runtime.workers`): trains one run and stores its result at once.

    Args:
        domains: from `eval.protocols.ood.scenario.divide`.
        config: of the benchmark.
        folder: receives the results; on a cluster, a folder that all machines share.
        plugins: files to import first.
    """

    def __init__(self, domains: Domains, config: OodConfig, folder: Folder, plugins: Sequence[str]) -> None:
        # Workers may have another working directory, so all paths are made absolute.
        models = [
            m if m.encoder is None else m.model_copy(update={"encoder": _absolute(m.encoder)}) for m in config.models
        ]
        self.domains, self.config = domains, config.model_copy(update={"models": models})
        self.folder = copy.copy(folder)
        self.folder.path = folder.path.absolute()
        self.plugins = [_absolute(plugin) for plugin in plugins]
        self._task: Task | None = None

    def __call__(self, run: Run) -> None:
        if self._task is None:
            # Built in a worker's first run, so that the tensors, which copy the windows, are not sent with the task.
            for plugin in self.plugins:
                load_plugin(plugin)
            self._task = Task(self.domains, self.config)
        self.folder.keep(run, train(self._task, run))


def _absolute(source: str) -> str:
    """The folder of an encoder for workers in other working folders; also of a shipped encoder, or one of the hub."""
    return str(encoder_folder(source).absolute())


def work(
    domains: Domains,
    config: OodConfig,
    todo: Sequence[Run],
    folder: Folder,
    *,
    workers: int = 1,
    engine: str = "local",
    plugins: Sequence[str] = (),
) -> None:
    """Execute runs in parallel; each result is stored as soon as it is known.

    Args:
        domains: from `eval.protocols.ood.scenario.divide`.
        config: of the benchmark.
        todo: from `plan`.
        folder: receives the results.
        workers, engine: see `imu_video.runtime.workers.run`.
        plugins: files that workers import.

    Raises:
        ConfigError, LeakageError: from the first run that fails.
        WorkerLost: a worker died.
    """
    task = RunTask(domains, config, folder, plugins)
    results = engines.run(task, todo, workers=workers, engine=engine, preload=["eval.protocols.ood.train"])
    began = time.monotonic()
    for done, (run, _) in enumerate(zip(todo, results, strict=True), start=1):
        if done == len(todo) or done % max(1, len(todo) // 50) == 0:  # about fifty lines, however many runs
            logger.info("%d/%d after %.0f s: %s", done, len(todo), time.monotonic() - began, _description(run))


def _description(run: Run) -> str:
    setting = " ".join(f"{k}={v}" for k, v in run.setting)
    held = "" if run.held is None else f" without {run.held}"
    return f"{run.algorithm} {setting} on {run.model}, target {run.target}{held}, seed {run.seed}".replace("  ", " ")
