"""The command `imu-eval ood`: options, config and report; the benchmark itself is in benchmark.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.options import data_and_overrides, need_folders
from eval.protocol import Context, Protocol, Scope, protocols
from eval.protocols.ood.config import OodConfig
from eval.report.document import Section, Table
from eval.results.lines import Result
from imu_video.config import load_config, validate
from imu_video.errors import ConfigError
from imu_video.runtime.command import parse_part


def load(
    path: str | Path | Sequence[str | Path], overrides: Sequence[str], encoders: Sequence[str], train: str
) -> OodConfig:
    """The config with overrides, and with the encoders of the command line as further models.

    Args:
        path: config file; of several, a later one changes the keys of an earlier one, as with `extends`.
        overrides: ``section.key=value``.
        encoders: ``NAME=FOLDER``.
        train: how these encoders are trained.

    Raises:
        ConfigError: an encoder that is not ``NAME=FOLDER``, or an invalid config.
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
    return validate({**raw, "models": [*raw["models"], *more]}, OodConfig, source="--encoder") if more else config


@protocols.register("ood")
class DomainShift(Protocol):
    """Run the benchmark of domain shift: algorithms and encoders on unseen subjects, placements, datasets or times."""

    name = "ood"
    Config = OodConfig
    report_folder = "Folder of `imu-eval ood`: plot source validation against target accuracy."
    notes = (
        "Domain shift: every target domain is held out in turn and the models are trained on the other domains. With "
        "`people: disjoint` no subject of the target is in the sources.",
        "Checkpoints are selected on source validation; a selection rule selects among the settings of a grid.",
    )

    def __init__(
        self,
        *,
        data: Annotated[
            list[str],
            typer.Argument(
                help="Data folders from `imu-video build` or array folders, and config overrides: section.key=value.",
                metavar="DATA... [KEY=VALUE]...",
            ),
        ],
        config: Annotated[
            list[Path],
            typer.Option(
                "--config",
                help="Benchmark config, e.g. configs/eval/ood/hapt_person.yaml; repeatable: a later file changes keys.",
            ),
        ],
        set_: Annotated[
            list[str] | None, typer.Option("--set", help="The same as an override beside the folders.")
        ] = None,
        encoder: Annotated[list[str] | None, typer.Option("--encoder", help="NAME=FOLDER: add a model.")] = None,
        train: Annotated[
            str,
            typer.Option(
                "--train",
                help="How to train the given encoders: all (fine-tune), head (linear probe) or wise (WiSE-FT).",
            ),
        ] = "all",
        folder: Annotated[Path, typer.Option("--folder", help="Folder of finished runs.")] = Path("runs/ood"),
        workers: Annotated[int, typer.Option("--workers", min=0, help="Parallel runs; 0 with Ray: all its cores.")] = 1,
        engine: Annotated[
            str, typer.Option("--engine", help="local: processes on this machine; ray: tasks of a Ray cluster.")
        ] = "local",
        part: Annotated[str, typer.Option("--part", help="i/n: only share i of n, counted from 1; no tables.")] = "1/1",
        dry: Annotated[bool, typer.Option("--dry", help="Print the estimated cost and exit.")] = False,
    ) -> None:
        self.data, overrides = data_and_overrides(data)
        self.folder, self.workers, self.engine, self.dry = folder, workers, engine, dry
        self.config = load(config, [*(set_ or []), *overrides], encoder or [], train)
        self.part = parse_part(part)

    def check(self) -> None:
        """Validate the arguments of every algorithm and the names of the backbones."""
        from eval.protocols.ood.runs import runs
        from imu_video.registry import encoders

        # One seed and one target are enough: arguments are the same in all, or drawn from the same distributions.
        one = {"seeds": self.config.seeds[:1], "models": self.config.models[:1]}
        scenario = self.config.scenario.model_copy(update={"targets": ["target"]})
        runs(self.config.model_copy(update={**one, "scenario": scenario}), ["source", "target"])
        for model in self.config.models:
            if model.backbone is not None:
                encoders.get(str(model.backbone.get("name")))

    def run(self, context: Context) -> list[Result]:
        from eval.protocols.ood.benchmark import benchmark

        need_folders(self.data)
        results = benchmark(
            self.data,
            self.config,
            folder=self.folder,
            workers=self.workers,
            engine=self.engine,
            part=self.part,
            dry=self.dry,
            plugins=[str(p) for p in context.plugins],
        )
        return results or []

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        from eval.protocols.ood.tables import run_tables

        return run_tables(results)

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        from eval.protocols.ood.sections import ood_sections

        return ood_sections(results)

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        from eval.protocols.ood.sections import conclusions

        return conclusions(results)

    @classmethod
    def scope(cls, line: Result) -> Scope:
        weights = line.encoder.get("weights")
        key = (cls.name, line.domain, line.data.get("digest"), weights)
        return Scope(key, f"scenario {line.domain} on {line.data.get('dataset', 'data')}", str(weights or "no encoder"))

    @classmethod
    def folder_sections(cls, folder: Path) -> list[Section]:
        from eval.protocols.ood.sections import runs_section

        return [runs_section(folder)]
