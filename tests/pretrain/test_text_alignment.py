"""Runs that align windows with texts: where texts come from, learning, resuming, what is missing."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.bundle.encoder import load_encoder
from imu_video.config import load_config
from imu_video.errors import ConfigError
from imu_video.registry import text_encoders
from imu_video.shards.reading.columns import open_columns
from imu_video.shards.schema import Index
from imu_video.teachers.sentences import fingerprint_of
from imu_video.testing import check_text_encoder, write_folder
from imu_video.types import Window
from pretrain.checkpoints.store import CheckpointStore
from pretrain.config import PretrainConfig
from pretrain.export import export
from pretrain.observe.trackers import read_log
from pretrain.prepare.prepare import Prepared
from pretrain.run import run
from tests.pretrain.conftest import PLACEMENTS, RATE, make_window

Raw = Callable[..., dict[str, Any]]
ALIGN = {"name": "text_alignment", "hidden": 16}
TEXT = {"encoder": "test_bag_of_words", "templates": ["{label}", "a person is {label}"]}


@text_encoders.register("test_bag_of_words")
class Words:
    """The sum of a random vector for each word."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([normalize(sum(map(_word, text.split()), torch.zeros(12)), dim=0) for text in texts])


def _word(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(12, generator=torch.Generator().manual_seed(seed))


def windows(
    dataset: str, split: str, count: int, *, labels: Sequence[str | None], tag: str | None = None
) -> list[Window]:
    """Windows whose tempo and size follow from the label."""
    out = []
    for i in range(count):
        label = labels[i % len(labels)]
        shown = np.full(3, 0.0 if label is None else (i % len(labels)) * 2.0)
        made = make_window(split, i, shown)
        tags = {} if tag is None or label is None else {tag: f"{label} - take {i % 2}"}
        out.append(replace(made, label=label, tags=tags, subject=f"{dataset}-{made.subject}"))
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Index]:
    """Two folders with labels in different words, one with descriptions, one with neither."""
    root = tmp_path_factory.mktemp("texts")
    kinds: dict[str, dict[str, Any]] = {
        "first": {"labels": ["walk", "sit", None]},
        "second": {"labels": ["walking", "playing_chess"]},
        "described": {"labels": ["dance", "walk"], "tag": "description"},
        "silent": {"labels": [None]},
    }
    return {
        name: write_folder(
            root / name,
            {"train": windows(name, "train", 48, **kind), "val": windows(name, "val", 24, **kind)},
            rate_hz=RATE,
            dataset=name,
            placements=PLACEMENTS,
        )
        for name, kind in kinds.items()
    }


@pytest.fixture
def config(folders: dict[str, Index], raw: Raw) -> Callable[..., PretrainConfig]:
    def make(*names: str, **sections: Any) -> PretrainConfig:
        root = [{"root": str(folders[name].root)} for name in names]
        base = {"loss": [], "objective": [ALIGN], **sections}
        base["data"] = {"root": root, "batch_size": 24, "text": TEXT, **sections.get("data", {})}
        return PretrainConfig.model_validate(raw(folders["first"].root, **base))

    return make


def checkpoint(folder: Path) -> Any:
    store = CheckpointStore(folder / "checkpoints")
    return store.read(store.resolve("latest"))


def test_labels_of_one_activity_share_a_text_and_windows_without_one_are_counted(
    config: Callable[..., PretrainConfig], prepared: Callable[..., Prepared]
) -> None:
    check_text_encoder(Words())
    made = prepared(config("first", "second", "silent"))
    texts = made.texts
    assert texts is not None
    assert texts.table.names == ("walk", "sit", "playing_chess")
    first, second, silent = texts.codes["train"]
    assert first[:6].tolist() == [0, 1, -1, 0, 1, -1]
    assert second[:4].tolist() == [0, 2, 0, 2]
    assert set(silent.tolist()) == {-1}
    assert texts.summary("train") == "80 of 144 windows have one of 3 texts"
    assert made.lineage()["text"]["texts"] == ["walk", "sit", "playing_chess"]
    assert made.config.data.text is not None
    assert made.config.data.text.encoder == {"name": "test_bag_of_words"}
    assert made.config.objective[0]["text_dim"] == 12
    loader = made.parts.feed.loader
    batch = loader.batch(0)
    assert batch.text is not None
    everything = np.concatenate(texts.codes["train"])
    assert batch.text.tolist() == everything[batch.meta.sample.numpy()].tolist()


def test_descriptions_come_before_labels(
    config: Callable[..., PretrainConfig], prepared: Callable[..., Prepared]
) -> None:
    made = prepared(config("described"))
    assert made.texts is not None
    assert made.texts.table.names == ("dance - take 0", "walk - take 1")
    by_label = prepared(config("described", data={"text": {**TEXT, "description": None}}), folder=Path("other"))
    assert by_label.texts is not None
    assert by_label.texts.table.names == ("dance", "walk")


@pytest.mark.parametrize("against", ["batch", "vocabulary"])
def test_learns_and_resumes_in_the_same_bits(
    against: str, config: Callable[..., PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrain.observe.reporter import StopSignal

    made = config("first", "second", "silent", objective=[{**ALIGN, "against": against}], optim={"steps": 24})
    run(made, folder=tmp_path / "whole")
    asked = iter([False] * 4 + [True])
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "requested", lambda self: next(asked))
        assert run(made, folder=tmp_path / "parts").state.step == 5
    run(made, folder=tmp_path / "parts")
    one, two = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    log = [line for line in read_log(tmp_path / "whole" / "log.jsonl") if line["kind"] == "train"]
    losses = [line["loss"] for line in log]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:3])
    assert 0.3 < np.mean([line["stats/text_alignment/with_text"] for line in log]) < 0.8


def test_the_head_is_exported_and_recognises_activities_of_other_subjects(
    config: Callable[..., PretrainConfig], folders: dict[str, Index], tmp_path: Path
) -> None:
    made = config("first", "second", augment=[], optim={"steps": 60, "lr": 1e-2})
    run(made, folder=tmp_path / "run")
    export(tmp_path / "run", tmp_path / "encoder")
    encoder = load_encoder(tmp_path / "encoder")
    spec = encoder.text_head.spec
    assert spec.seen == ("walk", "sit", "playing_chess")
    assert {"jog", "playing_chess"} <= set(spec.activities)
    facts = encoder.lineage["text encoder"]
    assert (facts["fingerprint"], facts["texts"]) == (fingerprint_of(Words()), 3)
    columns = open_columns(folders["first"], "val")
    rows = [row for row in range(len(columns)) if columns.labels[row]]
    scores = encoder.text_scores(columns.select("waist")[rows], ["walking", "sitting"], rate_hz=RATE)
    named = [("walk", "sit")[i] for i in scores.argmax(1)]
    assert np.mean([name == columns.labels[row] for name, row in zip(named, rows, strict=True)]) > 0.8


def test_beside_a_loss_of_pairs(moving: Index, config: Callable[..., PretrainConfig], tmp_path: Path) -> None:
    made = config("first", "second", loss=[{"name": "collossl"}], optim={"steps": 2})
    run(made, folder=tmp_path / "run")
    terms = read_log(tmp_path / "run" / "log.jsonl")[1]
    assert {"terms/collossl", "terms/text_alignment"} <= set(terms)


def test_the_shipped_recipe_trains(folders: dict[str, Index], tmp_path: Path) -> None:
    small = ["encoder.width=16", "encoder.layers=1", "encoder.heads=2", "data.batch_size=16", "optim.steps=2"]
    text = "data.text={encoder: test_bag_of_words}"
    file = Path(__file__).resolve().parents[2] / "configs" / "pretrain" / "text.yaml"
    made = load_config(file, PretrainConfig, [f"data.root={folders['first'].root}", text, "run.device=cpu", *small])
    run(made, folder=tmp_path / "run")
    terms = read_log(tmp_path / "run" / "log.jsonl")[-2]
    assert {"terms/nt_xent", "terms/text_alignment"} <= set(terms)


def test_what_is_missing_is_named(
    config: Callable[..., PretrainConfig], prepared: Callable[..., Prepared], data: Index, raw: Raw
) -> None:
    with pytest.raises(ConfigError, match="has neither labels nor a tag 'description'"):
        prepared(config("silent"))
    with pytest.raises(ConfigError, match="no objective in this config needs texts"):
        prepared(PretrainConfig.model_validate(raw(data.root, data={"text": TEXT})))
    with pytest.raises(ValueError, match="templates must contain"):
        config("first", data={"text": {**TEXT, "templates": ["walking"]}})
    with pytest.raises(ConfigError, match="text_dim is 7, the sentence embeddings have 12"):
        prepared(config("first", objective=[{**ALIGN, "text_dim": 7}]))


def test_without_the_extra_its_command_is_named(
    config: Callable[..., PretrainConfig], prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="'sentence' needs the package transformers") as caught:
        prepared(config("first", data={"text": None}))
    assert caught.value.hint == "pip install 'imu-video[text]'"


def test_runs_without_texts_keep_their_identity(raw: Raw, data: Index, prepared: Callable[..., Prepared]) -> None:
    made = prepared(PretrainConfig.model_validate(raw(data.root)))
    assert not any("text" in key for key in made.identity)
    assert "text" not in made.lineage()
    assert made.parts.feed.loader.batch(0).text is None
