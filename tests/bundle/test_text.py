"""Text heads: saved with an encoder and read back, prompts with and without the text encoder, damaged folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imu_video.bundle.encoder import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.head import HeadSpec
from imu_video.bundle.text import TextHead, TextSpec, make_head
from imu_video.errors import CheckpointError, ConfigError
from imu_video.registry import text_encoders

W = 5
WINDOWS = np.random.default_rng(0).normal(0, 3, (4, 6, 100)).astype(np.float32)


class Lengths:
    """A sentence is told by its number of letters."""

    fingerprint = "abcdef012345"

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = [torch.randn(W, generator=torch.Generator().manual_seed(len(text))) for text in texts]
        return normalize(torch.stack(rows), dim=-1)


@pytest.fixture
def lengths() -> Iterator[str]:
    text_encoders.register("test_lengths")(Lengths)
    yield "test_lengths"
    text_encoders._classes.pop("test_lengths")


def bundle(**changes: Any) -> EncoderBundle:
    """An encoder whose text head knows three activities."""
    torch.manual_seed(0)
    spec = InputSpec(rate_hz=50, window_s=2, mean=(0.0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    made = EncoderBundle(spec=spec, encoder={"name": "segment_cnn", "width": 8})
    facts = {
        "feature_dim": made.feature_dim,
        "text_dim": W,
        "hidden": 6,
        "scale": 14.0,
        "encoder": {"name": "test_lengths"},
        "fingerprint": Lengths.fingerprint,
        "templates": ("{label}", "a person is {label}"),
        "activities": ("sit", "walk", "juggle"),
        "seen": ("sit", "walk"),
    }
    made.text = TextHead(
        spec=TextSpec(**{**facts, **changes}),
        network=make_head(features=made.feature_dim, width=W, hidden=6),
        centre=torch.full((W,), 0.1),
        activities=normalize(torch.randn(3, W), dim=-1),
    )
    return made.eval()


def test_it_travels_with_the_encoder(tmp_path: Path) -> None:
    made = bundle()
    folder = made.save(tmp_path / "encoder")
    again = load_encoder(folder)
    assert again.text is not None
    assert again.text.spec == made.text_head.spec
    prompts = ["walking", "sitting", "juggle"]
    expected = made.text_scores(WINDOWS, prompts, rate_hz=50)
    assert expected.shape == (4, 3)
    assert np.abs(expected).max() <= 1
    assert np.allclose(again.text_scores(WINDOWS, prompts, rate_hz=50), expected, atol=5e-3)
    assert not any(name.startswith("text") for name in again.state_dict())
    card = (folder / "README.md").read_text()
    assert "## Text head" in card
    assert "--text walking" in card
    # Saved again, it is the same: the lineage and the head of what was loaded.
    third = load_encoder(again.save(tmp_path / "copy"))
    assert np.array_equal(
        third.text_scores(WINDOWS, prompts, rate_hz=50), again.text_scores(WINDOWS, prompts, rate_hz=50)
    )


def test_an_encoder_without_one_says_what_to_do(tmp_path: Path) -> None:
    made = bundle()
    made.text = None
    again = load_encoder(made.save(tmp_path / "encoder"))
    assert again.text is None
    assert not (tmp_path / "encoder" / "text.safetensors").exists()
    with pytest.raises(ConfigError, match="no text head") as caught:
        again.text_scores(WINDOWS, ["walking"], rate_hz=50)
    assert "text_alignment" in str(caught.value.hint)


def test_stored_activities_need_no_text_encoder(lengths: str) -> None:
    head = bundle(encoder={"name": "not_installed"}).text_head
    assert head.prompts(["strolling", "Sitting"]).shape == (2, W)  # other words of stored activities
    with pytest.raises(ConfigError, match="'knitting' is not among the 3 of the encoder") as caught:
        head.prompts(["walking", "knitting"])
    assert "without it: sit, walk" in str(caught.value.hint)
    free = bundle().text_head.prompts(["walking", "knitting"])
    assert np.allclose(free[0], head.prompts(["walking"])[0])
    assert np.allclose(np.linalg.norm(free, axis=1), 1, atol=1e-6)
    own = bundle().text_head.prompts(["walking"], templates=["{label}!"])
    assert not np.allclose(own[0], free[0])


def test_two_labels_of_one_activity_keep_their_own_words(lengths: str) -> None:
    rows = bundle().text_head.prompts(["lying_back", "lying_stomach"])
    assert not np.allclose(rows[0], rows[1])


def test_another_text_encoder_is_refused(lengths: str) -> None:
    with pytest.raises(
        CheckpointError, match="has fingerprint abcdef012345, the encoder was trained with 000000000000"
    ):
        bundle(fingerprint="000000000000").text_head.prompts(["knitting"])


def test_probabilities_and_abstention() -> None:
    made = bundle()
    features = made.encode(WINDOWS, rate_hz=50)
    classifier = made.text_head.classifier(["walking", "sitting"], seconds=2, threshold=0.99)
    found = classifier.probabilities(features)
    logits = 14.0 * made.text_head.scores(features, ["walking", "sitting"])
    assert np.allclose(found, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert classifier.spec == HeadSpec(
        classes=("walking", "sitting"), feature_dim=made.feature_dim, seconds=2, threshold=0.99
    )
    assert classifier.names(found, threshold=0) == [("walking", "sitting")[i] for i in found.argmax(1)]
    with pytest.raises(ConfigError, match="two or more different activities"):
        made.text_head.classifier(["walking"], seconds=2)
    with pytest.raises(ConfigError, match="names of activities"):
        made.text_head.prompts([" "])
    with pytest.raises(ValueError, match="expected features"):
        classifier.probabilities(features[:, 1:])


def test_a_head_may_read_some_columns_only(tmp_path: Path) -> None:
    """As behind a hybrid encoder, whose statistics no head takes."""
    made = bundle()
    spec = made.text_head.spec.model_copy(update={"columns": (2, 10)})
    network = make_head(features=8, width=W, hidden=6)
    made.text = TextHead(spec=spec, network=network, centre=torch.zeros(W), activities=torch.eye(3, W))
    again = load_encoder(made.save(tmp_path / "encoder"))
    features = made.encode(WINDOWS, rate_hz=50)
    expected = network(torch.from_numpy(features[:, 2:10])).detach().numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(again.text_head.embed(features), expected, atol=5e-3)
    with pytest.raises(ValueError, match="are not columns"):
        TextSpec(**{**spec.model_dump(), "columns": (2, 1000)})


def _replace(folder: Path, section: dict[str, Any], data: bytes) -> None:
    """Other content of text.safetensors whose hash is right."""
    (folder / "text.safetensors").write_bytes(data)
    section["sha256"] = hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f, c: (f / "text.safetensors").unlink(), "No such file"),
        (lambda f, c: (f / "text.safetensors").write_bytes(b"x" * 100), "sha256 is"),
        (lambda f, c: c["text"].update(scale=-1.0), "scale"),
        (lambda f, c: c["text"].update(hidden=7), "does not fit"),
        (lambda f, c: c["text"].update(activities=["sit"]), "does not fit"),
        (lambda f, c: c.update(text=[1]), "expected a mapping"),
        (lambda f, c: _replace(f, c["text"], b"not safetensors"), "not a safetensors file"),
        (lambda f, c: c["text"].update(feature_dim=4096), "feature_dim 4096, the encoder has"),
        (lambda f, c: c["text"].update(hidden=2**16, text_dim=2**16), "at most"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, edit: Any, words: str) -> None:
    folder = bundle().save(tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    edit(folder, config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=words):
        load_encoder(folder)


@pytest.mark.parametrize("prompts", ["walking", ["walking", 3], [], ["walking", " "], b"walking"])
def test_prompts_are_a_list_of_texts(prompts: Any) -> None:
    """A single text is a sequence of letters: seven prompts without meaning."""
    with pytest.raises(ConfigError, match="prompts must be"):
        bundle().text_scores(WINDOWS, prompts, rate_hz=50)


@pytest.mark.parametrize(("prompt", "words"), [("w" * 501, "501 characters"), ("walk\udcff", "not valid UTF-8")])
def test_prompts_that_no_text_encoder_reads_whole_are_refused(prompt: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bundle().text_head.prompts(["walking", prompt])


def test_prompts_with_equal_sentences_are_refused() -> None:
    head = bundle().text_head
    head.activities[0] = head.activities[1]
    with pytest.raises(ConfigError, match="'walking' and 'sitting' have the same sentences"):
        head.classifier(["juggle", "walking", "sitting"], seconds=2.0)


def test_two_names_of_one_activity_cause_a_warning(lengths: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        bundle().text_head.classifier(["walk", "sitting", "walking"], seconds=2.0)
    assert "'walk', 'walking' are names of one activity (walk)" in caplog.text


def test_a_classifier_is_tied_to_the_weights_of_its_encoder(tmp_path: Path) -> None:
    one = load_encoder(bundle().save(tmp_path / "one"))
    other = bundle()
    next(iter(other.encoder.parameters())).data.add_(1.0)
    classifier = one.text_head.classifier(["walking", "sitting"], seconds=2.0)
    classifier.check_encoder(one)
    with pytest.raises(CheckpointError, match=r"got other \(encoder"):
        classifier.check_encoder(load_encoder(other.save(tmp_path / "other")))


@pytest.mark.parametrize("second", ["walk", " walk", "Walk", "WALK "])
def test_prompts_that_differ_in_case_and_spaces_are_equal(second: str) -> None:
    """Each would have half of the probability, and every window would be below the threshold."""
    with pytest.raises(ConfigError, match="two or more different activities"):
        bundle().text_head.classifier(["walk", second], seconds=2.0)
