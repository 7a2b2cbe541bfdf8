"""The command `imu-eval retrieval`: options, and what it loads, runs and reports; galleries are drawn in run.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.config import EvalConfig
from eval.options import BASE, Also, By, ConfigFile, Data, Encoder, Overrides, Placement, Split, lacks_pair
from eval.protocol import Context, protocols
from eval.protocols.base import EncoderProtocol
from eval.report.document import Section, Table, Text
from eval.report.rows import figure_table, wide_table
from eval.results.lines import Result

if TYPE_CHECKING:
    from eval.data.source import LabelledData


@protocols.register("retrieval")
class Retrieval(EncoderProtocol):
    """Retrieve a window's own video among others, and the reverse: R@k and MRR."""

    name = "retrieval"

    def __init__(
        self,
        *,
        encoder: Encoder,
        data: Data,
        overrides: Overrides = None,
        also: Also = None,
        config: ConfigFile = BASE,
        split: Split = None,
        placement: Placement = None,
        by: By = None,
        gallery: Annotated[int | None, typer.Option("--gallery", help="Pairs per gallery.")] = None,
    ) -> None:
        short = {"retrieval.gallery": gallery}
        where = {"split": split, "placement": placement, "by": by}
        super().__init__(
            encoder=encoder, also=also, data=data, config=config, overrides=overrides, short=short, **where
        )

    def lacks(self) -> str | None:
        return lacks_pair(self.encoder, self.data)

    def evaluate(
        self, data: LabelledData, config: EvalConfig, shared: dict[str, Any], context: Context
    ) -> list[Result]:
        from eval.protocols.retrieval.run import run_retrieval
        from imu_video.models.projectors import load_pair_model
        from imu_video.shards.reading.teacher_cache import open_cache

        loaded = [load_pair_model(folder) for folder in self.recipe.folders]
        windows = data.windows(splits=config.splits, teacher=open_cache(data.index, loaded[0][1].teacher))
        return run_retrieval(windows, [model for model, _ in loaded], config, shared)

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        return [figure_table(results, caption="retrieval", last=("gallery", "gallery"))]

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        note = Text("Matches are pairs of a window and its own video; ties count against the query.")
        return [Section("Retrieval between IMU and video", [wide_table(results, last="gallery"), note])]
