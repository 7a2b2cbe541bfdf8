"""Zero-shot by the text head of an encoder: shared and all classes, label maps, prompts, leakage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eval.config import EvalConfig
from eval.data.windows import LabelledWindows
from eval.protocols.zeroshot.text_head import check_heads, run_head
from imu_video.config import validate
from imu_video.errors import ConfigError, LeakageError
from imu_video.teachers.sentences import Phrasing

WORDS = {"activity0": "walking", "activity1": "sitting", "activity2": "standing", "activity3": "jogging"}
ORDER = ("walk", "sit", "stand", "jog")


def config(**changes: object) -> EvalConfig:
    raw: dict[str, Any] = {"references": {"untrained_seeds": [], "handcrafted": False}}
    return validate({**raw, "zeroshot": {"text": {"words": WORDS}}, **changes}, EvalConfig, source="test")


class Head:
    """Knows the classes by their number; its training data had no jogging."""

    spec = SimpleNamespace(
        sharpness=10.0, templates=("{label}",), seen=("walk", "sit", "stand"), phrasing=Phrasing(templates=("{label}",))
    )

    def embed(self, features: np.ndarray) -> np.ndarray:
        return features

    def prompts(self, names: list[str], *, templates: object = None) -> np.ndarray:
        number = [ORDER.index(self.spec.phrasing.name_of(name)) for name in names]
        return np.eye(4, dtype=np.float32)[number]


class Bundle:
    """Features that are the class, or another one."""

    def __init__(self, *, permuted: bool = False, lineage: dict[str, Any] | None = None) -> None:
        self.permuted, self.lineage = permuted, lineage or {}
        self.text = self.text_head = Head()

    def encode(self, x: np.ndarray, **_: object) -> np.ndarray:
        label = x[:, 0, 0].astype(int)
        label = np.random.default_rng(0).permutation(label) if self.permuted else label
        return np.eye(4, dtype=np.float32)[label]


def figures(results: list[Any]) -> dict[str, Any]:
    return {r.details["labels_from"].split("; ")[-1]: r for r in results if r.metric == "balanced_accuracy"}


def test_classes_by_prompts_all_and_shared(paired: LabelledWindows) -> None:
    bundle: Any = Bundle()
    results = run_head(paired, bundle, None, config(), {})
    found = figures(results)
    assert {name: (r.value, r.chance) for name, r in found.items()} == {
        "all classes": (1.0, 0.25),
        "classes with a training text": (1.0, pytest.approx(1 / 3)),
    }
    r = found["all classes"]
    assert (r.model, r.probe, r.shots, r.subjects) == ("pretrained", "text head", 0, 7)
    assert r.details["prompts"]["activity3"] == "jogging"
    assert r.details["trained"] == ["activity0", "activity1", "activity2"]
    assert sum(r.details["windows"].values()) == sum(map(sum, r.details["confusion"]))
    assert any(line.metric == "ece" for line in results)
    blind: Any = Bundle(permuted=True)
    assert figures(run_head(paired, blind, None, config(), {}))["all classes"].value == pytest.approx(0.25, abs=0.08)
    turned = dict(zip(WORDS, [*list(WORDS.values())[1:], "walking"], strict=True))
    wrong = config(zeroshot={"text": {"words": turned}})
    assert figures(run_head(paired, bundle, None, wrong, {}))["all classes"].value == 0.0


def test_a_label_map_names_and_leaves_out(paired: LabelledWindows) -> None:
    bundle: Any = Bundle()
    maps = {paired.dataset: {"activity0": "walking", "activity2": "standing"}}
    found = figures(run_head(paired, bundle, maps, config(zeroshot={}), {}))
    assert set(found) == {"all classes"}
    assert found["all classes"].details["classes"] == ["standing", "walking"]
    assert (found["all classes"].value, found["all classes"].chance) == (1.0, 0.5)
    with pytest.raises(ConfigError, match="the label map has no dataset"):
        run_head(paired, bundle, {"other": {}}, config(), {})


def test_several_seeds_are_one_figure_and_leaks_are_refused(paired: LabelledWindows) -> None:
    bundles: Any = [Bundle(), Bundle(permuted=True)]
    mean = figures(run_head(paired, bundles, None, config(), {}))["all classes"].value
    assert mean == pytest.approx(0.62, abs=0.06)
    leaky: Any = Bundle(lineage={"dataset": {"dataset": "made", "subjects": {"train": ["s02"]}}})
    with pytest.raises(LeakageError, match=r"made \['s02'\]"):
        run_head(paired, leaky, None, config(), {})
    bundles[1].text = None
    with pytest.raises(ConfigError, match="some encoders have a text head"):
        check_heads(bundles)
