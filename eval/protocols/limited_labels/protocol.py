"""The command `imu-eval labels`: options, and what it loads, runs and reports; cells are computed in run.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.options import Data, Overrides
from eval.protocol import Context, Protocol, Scope, protocols
from eval.protocols.limited_labels.config import LabelsConfig
from eval.report.document import Section, Table
from eval.results.lines import Result
from imu_video.config import load_config

if TYPE_CHECKING:
    from eval.data.source import LabelledData
    from eval.protocols.limited_labels.run import Cells
    from eval.protocols.limited_labels.subjects import Groups


@protocols.register("labels")
class LimitedLabels(Protocol):
    """Train with K labelled windows per class from fixed subjects: probe, fine-tuning and from-scratch training.

    All methods use the same labels and seeds. Finished cells are stored beside the result file, so interrupted commands
    resume, and cells that two commands share (from-scratch training of one architecture) are computed once.
    """

    name = "labels"
    Config = LabelsConfig
    notes = (
        "Limited labels: training pool, validation and test subjects are fixed and disjoint; each seed draws labels, "
        "initial weights and order. Smaller label sets are subsets of larger ones.",
    )

    def __init__(
        self,
        *,
        encoder: Annotated[Path, typer.Argument(help="Encoder folder or name, or a folder of them: one per seed.")],
        data: Data,
        overrides: Overrides = None,
        config: Annotated[Path, typer.Option("--config", help="Limited-label config.")] = Path(
            "configs/eval/limited_labels/base.yaml"
        ),
        against: Annotated[
            list[Path] | None,
            typer.Option("--against", help="Another encoder (or folder of them), for paired differences."),
        ] = None,
        name: Annotated[
            str | None, typer.Option("--name", help="Name in tables; default: the encoder folder's name.")
        ] = None,
    ) -> None:
        from imu_video.bundle.locate import name_of  # imported here, because it loads torch

        self.encoder, self.data, self.config, self.overrides = encoder, data, config, overrides
        self.against = against or []
        self.label = name or name_of(encoder)

    def check(self) -> None:
        """Validate config, overrides, and the arguments of the probe and of the augmentations."""
        from eval.probes import probes
        from imu_video.transforms import Compose

        config = load_config(self.config, LabelsConfig, self.overrides or [])
        probes.arguments(config.probe)
        for schedule in (config.scratch, config.linear, config.finetune):
            Compose.build(schedule.augment)

    def run(self, context: Context) -> list[Result]:
        from eval.data.source import open_labelled
        from eval.protocols.limited_labels.lines import measure_labels
        from eval.recipes import encoder_folders
        from eval.results.lines import provenance
        from imu_video.bundle.encoder import read_config

        data = open_labelled(self.data)
        config = load_config(self.config, LabelsConfig, self.overrides or [])
        folders = {path: encoder_folders(path) for path in (self.encoder, *self.against)}
        facts = [read_config(folder) for folder in folders[self.encoder]]
        groups = self._groups(data, config, facts[0])
        cells = {path: self._cells(path, inside, groups, config, data, context) for path, inside in folders.items()}
        shared = provenance(
            encoder={
                "name": self.label,
                "architecture": facts[0]["encoder"],
                "run_id": [f["lineage"].get("run_id") for f in facts],
            },
            data={"dataset": data.dataset, "digest": data.digest},
            config=config,
        )
        others = [c for path in self.against for c in cells[path]]
        return measure_labels(cells[self.encoder], groups, config, shared, against=others)

    def _groups(self, data: LabelledData, config: LabelsConfig, facts: dict[str, Any]) -> Groups:
        """The three groups of subjects, with teacher features where a method uses them."""
        from eval.protocols.limited_labels.subjects import group_subjects
        from imu_video.shards.reading.teacher_cache import cached_fingerprint, open_cache

        cache = None
        if any(m.uses_teacher for m in config.methods):
            own = (facts["lineage"].get("teacher") or {}).get("fingerprint")
            cache = open_cache(data.index, cached_fingerprint(data.index, config.teacher) if config.teacher else own)
        return group_subjects(data.windows(splits=config.splits, teacher=cache), config)

    def _cells(
        self,
        path: Path,
        folders: Sequence[Path],
        groups: Groups,
        config: LabelsConfig,
        data: LabelledData,
        context: Context,
    ) -> list[Cells]:
        """Computed and stored cells of one model."""
        from eval.protocols.limited_labels.inputs import Features, sides_of
        from eval.protocols.limited_labels.plan import Plan
        from eval.protocols.limited_labels.run import LabelsRun
        from eval.results.cells import CellStore
        from imu_video.bundle.encoder import load_encoder, read_config
        from imu_video.bundle.locate import name_of

        features = Features(
            groups=groups,
            bundles=[load_encoder(folder) for folder in folders],
            weights=[str(read_config(folder)["weights_sha256"])[:12] for folder in folders],
            model=self.label if path == self.encoder else name_of(path),
            config=config,
            sides=sides_of(folders, groups.windows, data),
        )
        return LabelsRun(Plan(config, features), store=CellStore(context.cells / "labels")).run()

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        from eval.protocols.limited_labels.sections import run_tables

        return run_tables(results)

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        from eval.protocols.limited_labels.sections import labels_sections

        return labels_sections(results)

    @classmethod
    def scope(cls, line: Result) -> Scope:
        # One table for all encoders of a dataset, so that methods and encoders can be compared.
        key = (cls.name, line.data.get("digest"))
        return Scope(key, f"all encoders on {line.data.get('dataset', 'data')}")
