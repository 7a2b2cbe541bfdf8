"""Zero-shot by the text head of an encoder: classes are prompts, no label and no video of the evaluated data is used.

The head was trained to bring windows close to sentences about activities (`objectives.TextAlignment`), on other data.
As in the protocol of UniMTS (Zhang et al. 2024, arXiv 2410.19818).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.config import EvalConfig
from eval.data.features import compute_features
from eval.data.labelmaps import UNMAPPED, LabelMaps, common_names
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.common import class_names, domains_of, lines, predict, queries_of, several
from eval.results.lines import Result
from imu_video.bundle.encoder import EncoderBundle
from imu_video.config import digest
from imu_video.errors import ConfigError

logger = logging.getLogger(__name__)

ALL, SHARED = "all classes", "classes with a training text"
"""Groups of classes: all of the domain, or those that windows of the pretraining data were aligned with."""


def run_head(
    windows: LabelledWindows,
    bundle: EncoderBundle | Sequence[EncoderBundle],
    maps: LabelMaps | None,
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Classify by cosine with the prompts of the classes, among all classes and among those with a training text.

    Args:
        windows: windows that are classified; their labels are used for scoring only.
        bundle: the encoder, or several that differ in the pretraining seed, each with a text head.
        maps: dataset -> {its label: common label}, from which prompts are made; None: the labels as written.
        config: domains, ``zeroshot.text``: templates and words.
        shared: from `provenance`.

    Raises:
        ConfigError: fewer than two classes, or a prompt that needs a text encoder that is not installed.
        LeakageError: a query subject was in the pretraining.
    """
    bundles, text = several(bundle), config.zeroshot.text
    named = windows if maps is None else common_names(windows, maps)
    out: list[Result] = []
    for domain in domains_of(config, "by text"):
        everything = class_names(named, domain, among=[name for name in named.classes if name != UNMAPPED])
        seen = [name for name in everything if _trained(bundles[0], name, config)]
        groups = {ALL: everything, **({SHARED: tuple(seen)} if 2 <= len(seen) < len(everything) else {})}
        for group, names in groups.items():
            query = queries_of(named, domain, names, lineage=[b.lineage for b in bundles])
            logger.info(f"{domain.name}: {len(query.truth)} windows, {len(names)} classes by prompts ({group})")
            features = compute_features(
                "pretrained", query.windows, np.arange(len(query.truth)), bundle=bundles[0], also=bundles[1:]
            )
            spoken = [text.words.get(name, name) for name in names]
            answers = []
            for one, rows in zip(bundles, features.arrays, strict=True):
                head = one.text_head
                prompts, scale = head.prompts(spoken, templates=text.templates), head.spec.sharpness
                answers.append(
                    predict(
                        lambda x, head=head, p=prompts, scale=scale: scale * (head.embed(x) @ p.T),  # type: ignore[misc]
                        rows,
                        confidence="softmax",
                    )
                )
            out += lines(
                "text",
                query,
                answers,
                model="pretrained",
                probe="text head",
                labels_from=_words(bundles[0], config, group),
                details={
                    "prompts": dict(zip(names, spoken, strict=True)),
                    "trained": seen,
                    "windows": dict(zip(names, np.bincount(query.truth, minlength=len(names)).tolist(), strict=True)),
                    "label_map": None if maps is None else digest({windows.dataset: maps[windows.dataset]}),
                },
                config=config,
                shared=shared,
            )
    return out


def _trained(bundle: EncoderBundle, name: str, config: EvalConfig) -> bool:
    """Whether windows of the pretraining data had the text of a class."""
    spec = bundle.text_head.spec
    return spec.phrasing.name_of(config.zeroshot.text.words.get(name, name)) in spec.seen


def _words(bundle: EncoderBundle, config: EvalConfig, group: str) -> str:
    templates = config.zeroshot.text.templates
    return f"prompts: {'; '.join(templates or bundle.text_head.spec.templates)}; {group}"


def check_heads(bundles: Sequence[EncoderBundle]) -> None:
    """All encoders of a recipe must have a text head, or none.

    Raises:
        ConfigError: some have one.
    """
    if len({one.text is None for one in bundles}) > 1:
        raise ConfigError("some encoders have a text head and some do not", hint="evaluate encoders of one recipe")
