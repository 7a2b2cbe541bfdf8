"""Encoders on the hub: what is requested and cached, errors that say what to run, uploads; no network is used."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

import imu_video
from imu_video import EncoderBundle, InputSpec, load_encoder
from imu_video.bundle.hub import download
from imu_video.errors import CheckpointError, ConfigError

WINDOWS = np.random.default_rng(0).normal(9.8, 1, (2, 6, 100))


@pytest.fixture(scope="module")
def encoder() -> EncoderBundle:
    spec = InputSpec(rate_hz=50, window_s=2, mean=(0,) * 6, std=(9.8,) * 3 + (1.0,) * 3)
    return EncoderBundle(spec=spec, encoder={"name": "resnet1d", "width": 4, "blocks": (1,)}).eval()


class Hub:
    """Repositories as folders ``ROOT/owner/name/revision``, served through `snapshot_download`."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache, self.served = root, cache, list[str]()
        self.error: Exception | None = None

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        if self.error is not None:
            raise self.error
        source, target = self.root / repo_id / (revision or "main"), self.cache / repo_id / (revision or "main")
        for file in sorted(source.iterdir()):
            if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
                self.served.append(f"{repo_id}@{revision or 'main'}/{file.name}")
        return str(target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: EncoderBundle) -> Hub:
    found = Hub(tmp_path / "hub", tmp_path / "cache")
    encoder.save_pretrained(found.root / "lab" / "wrist" / "main")
    (found.root / "lab" / "wrist" / "main" / "pytorch_model.bin").write_bytes(b"a pickle")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.snapshot_download)
    return found


@pytest.mark.parametrize("address", ["hf://lab/wrist", Path("hf://lab/wrist"), "hf://lab/wrist/"])
def test_an_address_loads_as_the_folder_does(hub: Hub, encoder: EncoderBundle, address: str | Path) -> None:
    expected = encoder.encode(WINDOWS, rate_hz=50)
    for load in (load_encoder, EncoderBundle.from_pretrained, imu_video.load_encoder):
        np.testing.assert_array_equal(load(address).encode(WINDOWS, rate_hz=50), expected)
    assert set(hub.served) == {"lab/wrist@main/config.json", "lab/wrist@main/model.safetensors"}, "nothing executable"
    assert not load_encoder(address).training


def test_a_revision_is_part_of_the_address_or_an_argument(hub: Hub, encoder: EncoderBundle) -> None:
    encoder.save(hub.root / "lab" / "wrist" / "v2", lineage={"run": "second"})
    assert load_encoder("hf://lab/wrist@v2").lineage == {"run": "second"}
    assert load_encoder("hf://lab/wrist", revision="v2").lineage == {"run": "second"}
    assert load_encoder("hf://lab/wrist@v2", revision="v2").lineage == {"run": "second"}
    with pytest.raises(ConfigError, match="'v2', the argument is 'v3'"):
        load_encoder("hf://lab/wrist@v2", revision="v3")
    with pytest.raises(ConfigError, match="a local folder has no revisions"):
        load_encoder(hub.root / "lab" / "wrist" / "main", revision="v2")


@pytest.mark.parametrize(
    "address", ["hf://wrist", "hf://lab/wrist/sub", "hf://", "hf://lab/../x", "hf://../..", "hf://lab/x@../../y"]
)
def test_other_addresses_are_refused(hub: Hub, address: str) -> None:
    with pytest.raises(ConfigError, match="hf://owner/name"):
        load_encoder(address)
    assert not hub.served


class Response:
    status_code, headers, request = 404, dict[str, str](), None


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RepositoryNotFoundError("no such repository", response=Response()), "hf auth login"),  # type: ignore[arg-type]
        (RevisionNotFoundError("no such revision", response=Response()), "check the revision"),  # type: ignore[arg-type]
        (
            LocalEntryNotFoundError("not in the cache"),
            "hf download lab/wrist --local-dir FOLDER",  # whole: an encoder may have a text head
        ),
        (OSError("disk full"), "check the connection"),
    ],
)
def test_a_failed_download_names_the_address_and_what_to_run(hub: Hub, error: Exception, advice: str) -> None:
    hub.error = error
    with pytest.raises(CheckpointError) as caught:
        load_encoder("hf://lab/wrist")
    assert caught.value.message.startswith(f"hf://lab/wrist: could not be downloaded: {type(error).__name__}: ")
    assert advice in str(caught.value.hint)


def test_a_repository_of_something_else_is_refused_by_its_address(hub: Hub) -> None:
    other = hub.root / "lab" / "language" / "main"
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"hf://lab/language: not an encoder folder: no model.safetensors"):
        load_encoder("hf://lab/language")
    (other / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"hf://lab/language: .*not an imu-video encoder"):
        load_encoder("hf://lab/language")


def test_the_real_client_reads_its_cache_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: EncoderBundle
) -> None:
    """The layout of the cache is written by hand; the client itself looks it up, with all requests forbidden."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--lab--wrist"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    encoder.save(repository / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for address in ("hf://lab/wrist", f"hf://lab/wrist@{commit}"):
        np.testing.assert_array_equal(
            load_encoder(address).encode(WINDOWS, rate_hz=50), encoder.encode(WINDOWS, rate_hz=50)
        )
    with pytest.raises(CheckpointError, match=r"hf://lab/ankle: could not be downloaded"):
        download("hf://lab/ankle")


def test_an_encoder_uploads_itself(hub: Hub, encoder: EncoderBundle) -> None:
    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> str:
            assert options == {"private": False, "exist_ok": True}
            return f"https://hub.example/{repo_id}"

        def upload_folder(self, *, folder_path: str, repo_id: str, **_: Any) -> None:
            shutil.copytree(folder_path, hub.root / repo_id / "main")

    address = encoder.push_to_hub("lab/new", private=False, lineage={"dataset": "mine"}, api=Api())
    assert address == "https://hub.example/lab/new"
    assert sorted(p.name for p in (hub.root / "lab/new/main").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert load_encoder("hf://lab/new").lineage == {"dataset": "mine"}
