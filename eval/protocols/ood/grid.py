"""All runs of a benchmark: which are done, what the rest will cost, several at once; a run itself is train.py's.

Every finished run is a file of its own, written atomically, so that a killed benchmark goes on where it was and any
number of processes or machines may work on one folder.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from eval.protocols.ood.config import Model, OodConfig, Run, runs
from eval.protocols.ood.scenario import Domains
from eval.protocols.ood.train import Task, train
from eval.results.cells import identity
from imu_video.config import digest
from imu_video.errors import ConfigError, DataError
from imu_video.registry import load_plugin
from imu_video.runtime import workers as engines
from imu_video.runtime.files import write_atomic
from imu_video.types import JsonDict

logger = logging.getLogger(__name__)

FACTS = "benchmark.json"
_FREE = {"seeds", "selection", "models", "algorithms"}
"""Parts of a config that may grow in one folder: they add runs and change none."""


class Folder:
    """A benchmark's folder: ``benchmark.json`` says what it is of, ``runs/<key>.json`` are finished runs.

    Args:
        path: the folder; made where it does not exist.
        config: of the benchmark.
        data: digest of the labelled windows.
        models: digest of each pretrained encoder's weights, by the model's name.
        make: False: only look, and write nothing.

    Raises:
        ConfigError: the folder holds runs of another scenario, schedule or data.
    """

    def __init__(self, path: Path, config: OodConfig, *, data: str, models: dict[str, str], make: bool = True) -> None:
        self.path, self.config = path, config
        same = {k: v for k, v in config.model_dump(mode="json").items() if k not in _FREE}
        facts = {"identity": same, "data": data}
        file = path / FACTS
        if file.exists():
            held = json.loads(file.read_text(encoding="utf-8"))
            changed = [k for k in {**same, **held["identity"]} if same.get(k) != held["identity"].get(k)]
            changed += ["data"] if held["data"] != data else []
            if changed:
                raise ConfigError(
                    f"{path} holds runs of another {', '.join(sorted(changed))}", hint="name another --out folder"
                )
        if make:
            (path / "runs").mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(facts, indent=1, sort_keys=True))
        kinds = {
            m.name: {k: v for k, v in identity(m, later=Model.LATER).items() if k not in ("name", "encoder")}
            for m in config.models
        }
        self._marks = {name: digest([kind, models.get(name)]) for name, kind in kinds.items()}

    def file(self, run: Run) -> Path:
        """Where a run's result lies; another model of the same name has other files."""
        return self.path / "runs" / f"{run.key}-{self._marks[run.model]}.json"

    def result(self, run: Run) -> JsonDict | None:
        """A finished run, or None.

        Raises:
            DataError: a file that is no result.
        """
        file = self.file(run)
        if not file.exists():
            return None
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(f"{file}: not a result: {error}", hint="delete it; the run is repeated") from error

    def keep(self, run: Run, result: JsonDict) -> None:
        """Write a finished run."""
        write_atomic(self.file(run), json.dumps(result, allow_nan=False))


def plan(config: OodConfig, domains: Domains, folder: Folder, *, part: tuple[int, int] = (0, 1)) -> list[Run]:
    """Runs that are not done yet, of one part of all.

    Args:
        config: of the benchmark.
        domains: for the targets' names.
        folder: what is done.
        part: (i, n): every n-th run from the i-th on, for array jobs.
    """
    for target in config.scenario.targets or ():
        domains.number(target)
    mine = runs(config, list(domains.names))[part[0] :: part[1]]
    return [run for run in mine if not folder.file(run).exists()]


class RunTask:
    """Task for an engine (`imu_video.runtime.workers`): a run, whose result is kept as soon as it is there.

    Args:
        domains: from `eval.protocols.ood.scenario.divide`.
        config: of the benchmark.
        folder: takes the results; on a cluster every machine sees it.
        plugins: files to import first.
    """

    def __init__(self, domains: Domains, config: OodConfig, folder: Folder, plugins: Sequence[str]) -> None:
        # Workers may stand in another folder than this process.
        models = [m if m.encoder is None else m.model_copy(update={"encoder": _here(m.encoder)}) for m in config.models]
        self.domains, self.config = domains, config.model_copy(update={"models": models})
        self.folder = copy.copy(folder)
        self.folder.path = folder.path.absolute()
        self.plugins = [_here(plugin) for plugin in plugins]
        self._task: Task | None = None

    def __call__(self, run: Run) -> None:
        if self._task is None:
            for plugin in self.plugins:
                load_plugin(plugin)
            self._task = Task(self.domains, self.config)
        self.folder.keep(run, train(self._task, run))


def _here(path: str) -> str:
    return str(Path(path).absolute())


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
    """Do runs, several at once; each result is kept as soon as it is there.

    Args:
        domains: from `eval.protocols.ood.scenario.divide`.
        config: of the benchmark.
        todo: from `plan`.
        folder: takes the results.
        workers, engine: see `imu_video.runtime.workers.run`.
        plugins: files that workers import.

    Raises:
        ConfigError, LeakageError: of the first run that cannot be done.
        WorkerLost: a worker died.
    """
    task = RunTask(domains, config, folder, plugins)
    began = time.monotonic()
    results = engines.run(task, todo, workers=workers, engine=engine, preload=["eval.protocols.ood.train"])
    for done, (run, _) in enumerate(zip(todo, results, strict=True), start=1):
        if done == len(todo) or done % max(1, len(todo) // 50) == 0:  # some fifty lines, however many runs
            logger.info("%d/%d after %.0f s: %s", done, len(todo), time.monotonic() - began, _described(run))


def _described(run: Run) -> str:
    setting = " ".join(f"{k}={v}" for k, v in run.setting)
    held = "" if run.held is None else f" without {run.held}"
    return f"{run.algorithm} {setting} on {run.model}, target {run.target}{held}, seed {run.seed}".replace("  ", " ")
