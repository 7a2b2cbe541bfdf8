"""Zero-shot by text: classes are prompts; no window of a query class is labelled, neither IMU nor video.

Two methods, never in one table row. *Text tower*: the encoder's own teacher embeds texts and images in one space
(CLIP), and the video projector of the pair model maps them to the IMU side. *Sentence map*: a frozen sentence encoder
embeds the prompts, and a ridge map from IMU features to its space is fitted on the IMU labels of other, seen classes
(semantic embedding, Romera-Paredes and Torr 2015, ESZSL). The pretraining uses no labels in either case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from eval.config import EvalConfig
from eval.data.windows import LabelledWindows
from eval.probes.base import scaling_of, unit_rows
from eval.protocols.zeroshot.common import (
    class_names,
    domains_of,
    labelled_rows,
    lines,
    model_features,
    pair_embeddings,
    predict,
    queries_of,
    several,
    slice_words,
)
from eval.results.lines import Result
from imu_video.bundle.encoder import EncoderBundle
from imu_video.errors import ConfigError, nearest
from imu_video.models.cross_modal import CrossModalModel
from imu_video.registry import text_encoders

logger = logging.getLogger(__name__)

EncodeText = Callable[[Sequence[str]], Tensor]


def prompts_of(names: Sequence[str], config: EvalConfig) -> list[list[str]]:
    """Prompts of each class: the templates with its name (``_`` as spaces) or with its replacement text."""
    text = config.zeroshot.text
    words = [text.words.get(name, name.replace("_", " ")) for name in names]
    return [[template.replace("{label}", word) for template in text.sentences] for word in words]


def text_prototypes(model: CrossModalModel, encode: EncodeText, names: Sequence[str], config: EvalConfig) -> np.ndarray:
    """Unit means (M, D) of the prompts' embeddings in the shared space of the pair model.

    Args:
        model: pair model with its video projector.
        encode: ``encode_text`` of the teacher that the model was trained with.
        names: the M classes.
        config: templates, replacement texts, centring.
    """
    prompts = prompts_of(names, config)
    features = encode([p for own in prompts for p in own]).float()
    if config.zeroshot.text.centre:
        features = features - features.mean(dim=0) + model.teacher.mean
    with torch.inference_mode():
        embedded = np.asarray(model.embed_teacher(features))
    return unit_rows(embedded.reshape(len(names), -1, embedded.shape[1]).mean(axis=1))


def run_text(
    windows: LabelledWindows,
    model: CrossModalModel | Sequence[CrossModalModel],
    encode: EncodeText,
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Classify by cosine with the prompts of the teacher's text tower.

    Models: ``pretrained`` classifies IMU embeddings; ``teacher`` the same samples' own videos, as an upper bound.

    Raises:
        ConfigError: the teacher has no joint space of texts and images.
        LeakageError: a query subject was in the pretraining.
    """
    models = several(model)
    out: list[Result] = []
    for domain in domains_of(config, "by text"):
        names = class_names(windows, domain)
        prototypes = [text_prototypes(m, encode, names, config) for m in models]
        query = queries_of(windows, domain, names, lineage=[m.student.lineage for m in models])
        logger.info(f"{domain.name}: {len(query.truth)} windows, {len(names)} classes by prompts")
        for name, embedded in pair_embeddings(models, query, config).items():
            out += lines(
                "text",
                query,
                [predict(lambda x, mean=mean: x @ mean.T, z) for mean, z in zip(prototypes, embedded, strict=True)],  # type: ignore[misc]
                model=name,
                probe="text tower",
                labels_from=f"prompts: {'; '.join(config.zeroshot.text.sentences)}",
                details={"prompts": dict(zip(names, prompts_of(names, config), strict=True))},
                config=config,
                shared=shared,
            )
    return out


def run_sentence(
    windows: LabelledWindows,
    bundle: EncoderBundle | Sequence[EncoderBundle],
    config: EvalConfig,
    shared: Mapping[str, Any],
) -> list[Result]:
    """Fit a map from IMU features to sentence embeddings on seen classes, and classify windows of unseen classes.

    Models: ``pretrained``, and the references of the config that need no training.

    Raises:
        ConfigError: a class that is both seen and a query, an unknown class, or a missing package of the encoder.
        LeakageError: a query subject provided labels or was in the pretraining.
    """
    bundles, text = several(bundle), config.zeroshot.text
    assert text.encoder is not None
    encoder = text_encoders.build(text.encoder)
    support = config.zeroshot.support
    for name in text.seen:
        if name not in windows.classes:
            raise ConfigError(f"zeroshot.text.seen: no class {name!r}{nearest(name, windows.classes)}")
    seen = tuple(sorted(text.seen))
    rows, labels = labelled_rows(windows, support, seen, config, within=np.ones(len(windows), dtype=bool))
    subjects = np.unique(windows.subject[rows]).tolist()
    unseen = [name for name in windows.classes if name not in seen]
    out: list[Result] = []
    for domain in domains_of(config, "by text"):
        names = class_names(windows, domain, among=unseen)
        query = queries_of(
            windows,
            domain,
            names,
            lineage=[b.lineage for b in bundles],
            label_subjects=subjects,
            provide="provide labels of seen classes",
        )
        logger.info(f"{domain.name}: {len(query.truth)} windows of {len(names)} unseen classes, {len(seen)} seen")
        seen_text, unseen_text = (_sentences(encoder, group, config) for group in (seen, names))
        origin = f"prompts: {'; '.join(text.sentences)}; IMU labels of {', '.join(seen)} ({slice_words(support)})"
        details = {
            "prompts": dict(zip(names, prompts_of(names, config), strict=True)),
            "seen": list(seen),
            "encoder": text.encoder,
        }
        for model, pairs, seeds in model_features(windows, rows, query, bundles, config):
            answers = [predict(sentence_scores(a, seen_text[labels], unseen_text, text.ridge), b) for a, b in pairs]
            out += lines(
                "text",
                query,
                answers,
                model=model,
                probe="sentence map",
                labels_from=origin,
                details=details,
                config=config,
                shared=shared,
                seeds=seeds,
            )
    return out


def _sentences(encoder: Any, names: Sequence[str], config: EvalConfig) -> np.ndarray:
    """Unit means (M, W) of the prompts of each class."""
    prompts = prompts_of(names, config)
    embedded = np.asarray(encoder.encode([p for own in prompts for p in own]), dtype=np.float64)
    return unit_rows(embedded.reshape(len(names), -1, embedded.shape[1]).mean(axis=1))


def sentence_scores(
    x: np.ndarray, y: np.ndarray, classes: np.ndarray, strength: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Cosine between mapped features and class sentences, both centred on the mean of the seen sentences.

    Shapes: x (n, E), y (n, W), classes (M, W) -> a function (q, E) -> (q, M).
    """
    centre, factor = scaling_of(x, "standard")
    z = (np.asarray(x, dtype=np.float64) - centre) * factor
    mean = y.mean(axis=0)
    alpha = strength * max(float((z**2).sum()) / len(z), 1e-12)  # trace of the Gram matrix / n
    fitted = Ridge(alpha=alpha, fit_intercept=False).fit(z, y - mean)
    prototypes = unit_rows(classes - mean)
    return lambda q: unit_rows(fitted.predict((q - centre) * factor).reshape(len(q), -1)) @ prototypes.T
