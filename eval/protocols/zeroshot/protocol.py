"""The command `imu-eval zeroshot`: options, and what each of the four forms loads; each form runs in its own module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.config import EvalConfig
from eval.options import (
    BASE,
    Also,
    By,
    ConfigFile,
    Data,
    Encoder,
    Overrides,
    Placement,
    Probes,
    Split,
    lacks_pair,
    load_evaluation,
)
from eval.protocol import Context, protocols
from eval.protocols.base import EncoderProtocol
from eval.protocols.zeroshot.sections import conclusions, run_tables, zeroshot_sections
from eval.report.document import Section, Table
from eval.results.lines import Result
from imu_video.errors import ConfigError, nearest

if TYPE_CHECKING:
    from eval.data.source import LabelledData

FORMS = ("video", "source", "teacher", "text")


def check_form(form: str, source: Path | None, label_map: Path | None) -> None:
    """Validate a form and the options that belong to it.

    Raises:
        ConfigError: an unknown form, or an option of another form.
    """
    if form not in FORMS:
        raise ConfigError(f"--mode {form!r}: unknown form{nearest(form, FORMS)}", hint=f"--mode {'|'.join(FORMS)}")
    if form == "source" and source is None:
        raise ConfigError("--mode source requires the data folder with the source labels", hint="--source DATA")
    if form != "source" and source is not None:
        raise ConfigError(f"--source requires --mode source, got --mode {form}", hint="--mode source")
    if form not in ("source", "text") and label_map is not None:
        raise ConfigError(f"--label-map requires --mode source or text, got --mode {form}", hint="--mode source")


@protocols.register("zeroshot")
class ZeroShot(EncoderProtocol):
    """Classify windows without IMU labels of the evaluated data; four forms that answer different questions.

    video: prototypes of labelled videos. source: probes on the labelled IMU windows of another folder. teacher: probes
    on labelled teacher embeddings. text: prompts.
    """

    name = "zeroshot"
    variants = ("form", "labels_from", "label_map")
    notes = (
        "Zero-shot: no labelled IMU window of the evaluated domain is used; subjects that provide labels or prototypes "
        "are never queries.",
    )

    def __init__(
        self,
        *,
        encoder: Encoder,
        data: Data,
        overrides: Overrides = None,
        also: Also = None,
        mode: Annotated[
            str, typer.Option("--mode", help="Where class information comes from: video, source, teacher or text.")
        ] = "video",
        source: Annotated[
            Path | None, typer.Option("--source", help="With --mode source: the data folder with the labels.")
        ] = None,
        label_map: Annotated[
            Path | None,
            typer.Option(
                "--label-map",
                help="With --mode source or text: label map, e.g. configs/eval/label_maps/locomotion.yaml.",
            ),
        ] = None,
        probe: Probes = None,
        config: ConfigFile = BASE,
        split: Split = None,
        placement: Placement = None,
        by: By = None,
    ) -> None:
        check_form(mode, source, label_map)
        short = {"probes": probe}
        where = {"split": split, "placement": placement, "by": by}
        super().__init__(
            encoder=encoder, also=also, data=data, config=config, overrides=overrides, short=short, **where
        )
        self.mode, self.source, self.label_map = mode, source, label_map

    def check(self) -> None:
        from eval.data.labelmaps import load_label_maps

        super().check()
        if self.label_map is not None:
            load_label_maps(self.label_map)

    def lacks(self) -> str | None:
        config = load_evaluation(self.config, None, short=self.short, overrides=self.overrides)
        if self.mode == "source" or (self.mode == "text" and config.zeroshot.text.encoder is not None):
            return None
        if self.mode == "text" and _has_text_head(self.encoder):
            return None
        missing = lacks_pair(self.encoder, self.data)
        return self._lacks_text() if missing is None and self.mode == "text" else missing

    def _lacks_text(self) -> str | None:
        """Why the teacher of the encoder embeds no texts, or None."""
        from eval.data.source import open_labelled
        from eval.recipes import encoder_folders
        from imu_video.models.projectors import load_pair_model
        from imu_video.shards.features.blocks import open_teacher

        _, facts = load_pair_model(encoder_folders(self.encoder)[0])
        try:
            open_teacher(open_labelled(self.data).index, facts.teacher).encode_text(["a person walking"])
        except ConfigError as error:
            return error.message
        return None

    def evaluate(
        self, data: LabelledData, config: EvalConfig, shared: dict[str, Any], context: Context
    ) -> list[Result]:
        forms = {"video": self._pair, "teacher": self._pair, "source": self._source, "text": self._text}
        return forms[self.mode](data, config, shared)

    def _pair(self, data: LabelledData, config: EvalConfig, shared: dict[str, Any]) -> list[Result]:
        """Prototypes or probes in the embedding space of the encoder and its own teacher."""
        from eval.protocols.zeroshot.teacher import run_teacher
        from eval.protocols.zeroshot.video import run_video
        from imu_video.models.projectors import load_pair_model
        from imu_video.shards.reading.teacher_cache import open_cache

        loaded = [load_pair_model(folder) for folder in self.recipe.folders]
        cache = open_cache(data.index, loaded[0][1].teacher)
        windows = data.windows(splits=_splits(config, support=True), teacher=cache)
        run = run_video if self.mode == "video" else run_teacher
        return run(windows, [model for model, _ in loaded], config, shared)

    def _source(self, data: LabelledData, config: EvalConfig, shared: dict[str, Any]) -> list[Result]:
        """Probes on the labelled windows of another data folder; needs no projectors."""
        from eval.data.labelmaps import load_label_maps
        from eval.data.source import open_labelled
        from eval.protocols.zeroshot.source import run_source
        from imu_video.bundle.encoder import load_encoder

        assert self.source is not None
        source = open_labelled(self.source).windows(splits=config.zeroshot.support.splits)
        target = data.windows(splits=_splits(config, support=False))
        maps = None if self.label_map is None else load_label_maps(self.label_map)
        return run_source(target, source, [load_encoder(f) for f in self.recipe.folders], maps, config, shared)

    def _text(self, data: LabelledData, config: EvalConfig, shared: dict[str, Any]) -> list[Result]:
        """Prompts, through the text head, the teacher's own text encoder or a separate sentence encoder."""
        from eval.data.labelmaps import load_label_maps
        from eval.protocols.zeroshot.text import run_sentence, run_text
        from eval.protocols.zeroshot.text_head import check_heads, run_head
        from imu_video.bundle.encoder import load_encoder
        from imu_video.models.projectors import load_pair_model
        from imu_video.shards.features.blocks import open_teacher
        from imu_video.shards.reading.teacher_cache import open_cache

        if config.zeroshot.text.encoder is not None:
            windows = data.windows(splits=_splits(config, support=True))
            return run_sentence(windows, [load_encoder(f) for f in self.recipe.folders], config, shared)
        bundles = [load_encoder(folder) for folder in self.recipe.folders]
        check_heads(bundles)
        if bundles[0].text is not None:
            maps = None if self.label_map is None else load_label_maps(self.label_map)
            return run_head(data.windows(splits=_splits(config, support=False)), bundles, maps, config, shared)
        if self.label_map is not None:
            raise ConfigError(
                f"--label-map with --mode text needs an encoder with a text head, {self.recipe.folders[0]} has none",
                hint="leave --label-map out, or name replacement texts: zeroshot.text.words",
            )
        loaded = [load_pair_model(folder) for folder in self.recipe.folders]
        models, facts = [model for model, _ in loaded], loaded[0][1]
        windows = data.windows(splits=_splits(config, support=False), teacher=open_cache(data.index, facts.teacher))
        teacher = open_teacher(data.index, facts.teacher)
        return run_text(windows, models, teacher.encode_text, config, shared)

    @classmethod
    def tables(cls, results: Sequence[Result]) -> list[Table]:
        return run_tables(results)

    @classmethod
    def sections(cls, results: Sequence[Result]) -> list[Section]:
        return zeroshot_sections(results)

    @classmethod
    def conclusions(cls, results: Sequence[Result]) -> list[str]:
        return conclusions(results)


def _has_text_head(encoder: Path) -> bool:
    from eval.recipes import encoder_folders
    from imu_video.bundle.encoder import read_config

    return "text" in read_config(encoder_folders(encoder)[0])


def _splits(config: EvalConfig, *, support: bool) -> list[str]:
    """Splits of the domains, and of the support where it lies in the same folder."""
    return list(dict.fromkeys([*config.splits, *(config.zeroshot.support.splits if support else [])]))
