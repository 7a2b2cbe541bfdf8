"""The command `imu-eval fewshot`: options, and what it loads, runs and reports; episodes are run in run.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.config import EvalConfig
from eval.options import BASE, Also, By, ConfigFile, Data, Encoder, Overrides, Placement, Probes, Split, shot_count
from eval.protocol import Context, protocols
from eval.protocols.base import EncoderProtocol
from eval.protocols.fewshot.sections import conclusions, fewshot_sections
from eval.protocols.fewshot.tables import run_tables
from eval.report.document import Section, Table
from eval.results.lines import Result
from imu_video.errors import ConfigError

if TYPE_CHECKING:
    from eval.data.source import LabelledData


def distinct_names(paths: Sequence[Path]) -> list[Path]:
    """The encoders to compare with.

    Raises:
        ConfigError: two of them, or one of them and a reference, have one name in tables.
    """
    from imu_video.bundle.locate import name_of  # imported here, because it loads torch

    taken = {"pretrained", "network", "statistics", "untrained", "handcrafted", "supervised"}
    for path in paths:
        name = name_of(path)
        if name in taken:
            raise ConfigError(f"--against {path}: two models are named {name!r}", hint=f"rename the folder {path}")
        taken.add(name)
    return list(paths)


@protocols.register("fewshot")
class FewShot(EncoderProtocol):
    """Evaluate K-shot episodes with disjoint support and query subjects, next to reference models.

    The references are untrained encoders, hand-crafted features and a supervised encoder, on the same episodes.
    """

    name = "fewshot"
    notes = (
        "Few-shot: in each episode some subjects provide a few labelled windows per class (the support); the others "
        "are query subjects. No subject and no recording is on both sides, and no pretraining subject is a query.",
        "`within`: support from the target domain itself. `transfer`: support from another domain.",
        "Supports are nested: the 5-shot set contains the 1-shot set. All models use the same episodes.",
        "Probes are fitted on the support alone, including scaling and regularisation strength.",
        "`untrained` averages encoders of the same architecture with random weights; `supervised` trains encoder and "
        "head on the support alone, on fewer episodes.",
        "`network` and `statistics` are the two parts of a hybrid encoder, each alone; its `untrained` joins networks "
        "with random weights and the same statistics.",
    )

    def __init__(
        self,
        *,
        encoder: Encoder,
        data: Data,
        overrides: Overrides = None,
        also: Also = None,
        config: ConfigFile = BASE,
        shots: Annotated[
            list[int] | None,
            typer.Option("--shots", parser=shot_count, metavar="K", help="Labelled windows per class; repeatable."),
        ] = None,
        episodes: Annotated[int | None, typer.Option("--episodes", help="Episodes per domain.")] = None,
        probe: Probes = None,
        split: Split = None,
        placement: Placement = None,
        by: By = None,
        seed: Annotated[int | None, typer.Option("--seed", help="Seed of the episodes.")] = None,
        against: Annotated[
            list[Path] | None,
            typer.Option("--against", help="Encoder of another recipe, or a folder of them, for paired differences."),
        ] = None,
    ) -> None:
        self.against = distinct_names(against or [])
        short = {"episodes.shots": shots, "episodes.episodes": episodes, "episodes.seed": seed, "probes": probe}
        where = {"split": split, "placement": placement, "by": by}
        super().__init__(
            encoder=encoder, also=also, data=data, config=config, overrides=overrides, short=short, **where
        )

    def evaluate(
        self, data: LabelledData, config: EvalConfig, shared: dict[str, Any], context: Context
    ) -> list[Result]:
        from eval.protocols.fewshot.measure import measure
        from eval.protocols.fewshot.run import run_fewshot
        from eval.recipes import open_encoder, read_recipe
        from eval.results.counts import save_counts

        bundle, *also = (open_encoder(folder) for folder in self.recipe.folders)
        others = {recipe.name: recipe for recipe in map(read_recipe, self.against)}
        against = {name: ([open_encoder(folder) for folder in r.folders], r.seeds) for name, r in others.items()}
        windows = data.windows(splits=config.splits)
        counts, remarks = run_fewshot(windows, bundle, config, also=also, seeds=self.recipe.seeds, against=against)
        name = "-".join([shared["encoder"]["weights"], shared["data"]["digest"], shared["config_digest"]])
        name = "-".join([name, *(r.provenance["weights"] for r in others.values())])
        file = context.cells / f"{name}.npz"
        save_counts(file, counts)
        # Relative to the result file, so that both can be moved together.
        cells = Path(context.cells.name, file.name).as_posix()
        return measure(counts, config, {**shared, "cells": cells}, remarks=remarks)

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        return run_tables(results)

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        return fewshot_sections(results)

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        return conclusions(results)
