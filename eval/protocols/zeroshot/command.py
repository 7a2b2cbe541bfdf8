"""What `imu-eval zeroshot` loads for each form and then runs; it parses and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.config import EvalConfig
from eval.data.labelmaps import load_label_maps
from eval.data.windows import load_windows
from eval.protocols.zeroshot.source import run_source
from eval.protocols.zeroshot.teacher import run_teacher
from eval.protocols.zeroshot.text import run_sentence, run_text
from eval.protocols.zeroshot.video import run_zeroshot
from eval.results.store import Result
from imu_video.bundle.encoder import load_encoder
from imu_video.errors import ConfigError, nearest
from imu_video.models.projectors import load_pair_model
from imu_video.shards.features.blocks import open_teacher
from imu_video.shards.reading.index import load_index
from imu_video.shards.reading.teacher_cache import open_cache
from imu_video.shards.schema import Index

FORMS = ("video", "source", "teacher", "text")


def check_form(form: str, source: Path | None, label_map: Path | None) -> None:
    """Refuse an unknown form, and options that belong to another.

    Raises:
        ConfigError: naming the option and what would be right.
    """
    if form not in FORMS:
        raise ConfigError(f"--mode {form!r}{nearest(form, FORMS)}", hint=f"--mode {'|'.join(FORMS)}")
    if form == "source" and source is None:
        raise ConfigError("--mode source needs the folder whose labels are used", hint="--source DATA")
    if form != "source" and (source is not None or label_map is not None):
        raise ConfigError(f"--source and --label-map belong to --mode source, not to {form!r}")


def run_form(
    form: str,
    encoder: Path,
    index: Index,
    config: EvalConfig,
    shared: Mapping[str, Any],
    *,
    source: Path | None = None,
    label_map: Path | None = None,
) -> list[Result]:
    """Load what a form needs and run it.

    Args:
        form: one of `FORMS`.
        encoder: folder of an exported encoder; ``source``, and ``text`` with an encoder of its own, do without
            projectors.
        index: of the data folder that is asked.
        config: of the evaluation.
        shared: from `provenance`.
        source: ``source``: the labelled data folder.
        label_map: ``source``: file of label maps; None: labels are compared as they are spelled.

    Raises:
        ConfigError: an unknown form, or options of another one.
    """
    check_form(form, source, label_map)
    if form == "source" and source is not None:
        theirs = load_index(source)
        labelled = load_windows(theirs, splits=config.zeroshot.support.splits)
        target = load_windows(index, splits=_splits(config, support=False))
        maps = None if label_map is None else load_label_maps(label_map)
        return run_source(target, labelled, load_encoder(encoder), maps, config, shared)
    if form == "text" and config.zeroshot.text.encoder is not None:
        windows = load_windows(index, splits=_splits(config, support=True))
        return run_sentence(windows, load_encoder(encoder), config, shared)
    model, facts = load_pair_model(encoder)
    windows = load_windows(
        index, splits=_splits(config, support=form != "text"), teacher=open_cache(index, facts.teacher)
    )
    if form == "text":
        teacher = open_teacher(index, facts.teacher)
        return run_text(windows, model, teacher.encode_text, config, shared)
    run = {"video": run_zeroshot, "teacher": run_teacher}[form]
    return run(windows, model, config, shared)


def _splits(config: EvalConfig, *, support: bool) -> list[str]:
    """Splits of the domains, and of the support where it lies in the same folder."""
    return list(dict.fromkeys([*config.splits, *(config.zeroshot.support.splits if support else [])]))
