"""The command `imu-eval representation`: options, and what it loads, runs and reports; probes are fitted in run.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from eval.options import Data, OneEncoder, Overrides, Probes, encoder_provenance
from eval.protocol import Context, Protocol, protocols
from eval.protocols.representation.config import RepresentationConfig
from eval.protocols.representation.sections import conclusions, representation_sections, run_tables
from eval.report.document import Section, Table
from eval.results.lines import Result
from imu_video.config import load_config


@protocols.register("representation")
class Representation(Protocol):
    """Fit probes on the frozen features of all training windows and evaluate them on the test windows.

    Figures are accuracy at 1, 3 and 5, balanced accuracy and macro-F1. The references are untrained encoders and
    hand-crafted features. Finished fits are stored beside the result file, so interrupted commands resume.
    """

    name = "representation"
    Config = RepresentationConfig
    variants = ("train",)
    notes = (
        "Frozen representations: a probe is fitted once on the features of all training windows, including scaling and "
        "selection of its strength, and evaluated on the test windows. `by subject`: no subject is in both. `by "
        "recording`: no recording is in both, but subjects may be.",
    )

    def __init__(
        self,
        *,
        encoder: OneEncoder,
        data: Data,
        overrides: Overrides = None,
        config: Annotated[Path, typer.Option("--config", help="Representation config.")] = Path(
            "configs/eval/representation/base.yaml"
        ),
        train_data: Annotated[
            Path | None, typer.Option("--train-data", help="Data folder of the training windows; default: DATA.")
        ] = None,
        probe: Probes = None,
    ) -> None:
        self.encoder, self.data, self.config, self.train_data = encoder, data, config, train_data
        self.overrides = [*([f"probes={json.dumps(probe)}"] if probe else []), *(overrides or [])]

    def check(self) -> None:
        """Validate config, overrides and the arguments of the probes."""
        from eval.probes import probes

        for entry in load_config(self.config, RepresentationConfig, self.overrides).probe_entries:
            probes.arguments(entry)

    def run(self, context: Context) -> list[Result]:
        from eval.data.source import open_labelled
        from eval.protocols.representation.lines import measure
        from eval.protocols.representation.parts import divide, remarks
        from eval.protocols.representation.run import RepresentationRun
        from eval.recipes import read_recipe
        from eval.results.cells import CellStore
        from imu_video.bundle.encoder import load_encoder

        self.check()
        config = load_config(self.config, RepresentationConfig, self.overrides)
        data = open_labelled(self.data)
        shared = encoder_provenance(read_recipe(self.encoder), data, config)
        if self.train_data is None:
            train = None
            windows = data.windows(splits=list(dict.fromkeys([*config.train.splits, *config.test.splits])))
        else:
            train = open_labelled(self.train_data).windows(splits=config.train.splits)
            windows = data.windows(splits=config.test.splits)
        parts, bundle = divide(windows, train, config), load_encoder(self.encoder)
        stated = remarks(bundle.lineage, parts, config)
        store = CellStore(context.cells / "representation")
        weights = shared["encoder"]["weights"]
        outcomes = RepresentationRun(parts=parts, bundle=bundle, weights=weights, config=config, store=store).run()
        return measure(outcomes, parts, config, shared, remarks=stated)

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        return run_tables(results)

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        return representation_sections(results)

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        return conclusions(results)
