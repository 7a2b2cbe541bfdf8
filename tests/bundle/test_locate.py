"""Which encoder a text names: address, shipped name, local folder, repository; no network is used."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from imu_video import load_encoder
from imu_video.bundle.encoder import read_config
from imu_video.bundle.locate import encoder_folder, is_name, name_of
from imu_video.errors import CheckpointError, ConfigError
from imu_video.models.projectors import load_pair_model
from tests.bundle.shipped import tiny


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hub has one repository, lab/wrist; the working folder is empty."""
    out: list[str] = []
    tiny().save(tmp_path / "hub" / "lab" / "wrist", lineage={"run_id": "7"})

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        out.append(f"{repo_id}@{revision}")
        if repo_id != "lab/wrist":
            raise LocalEntryNotFoundError("ConnectError: name or service not known")
        return str(tmp_path / "hub" / repo_id)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return out


@pytest.mark.parametrize("source", ["lab/wrist", Path("lab/wrist"), "hf://lab/wrist"])
def test_a_repository_is_named_with_and_without_its_scheme(asked: list[str], source: str | Path) -> None:
    assert load_encoder(source).lineage == {"run_id": "7"}
    assert read_config(source)["lineage"] == {"run_id": "7"}
    assert asked == ["lab/wrist@None"] * 2
    assert is_name(source)
    assert name_of("lab/wrist") == "lab/wrist"


def test_revisions_of_a_repository(asked: list[str]) -> None:
    load_encoder("lab/wrist@v2")
    load_encoder("lab/wrist", revision="v3")
    assert asked == ["lab/wrist@v2", "lab/wrist@v3"]
    with pytest.raises(ConfigError, match="'v2', the argument is 'v3'"):
        load_encoder("lab/wrist@v2", revision="v3")


def test_an_existing_folder_wins(asked: list[str]) -> None:
    tiny(window_s=4.0).save("lab/wrist")
    assert load_encoder("lab/wrist").spec.window_s == 4.0
    assert not asked
    assert not is_name("lab/wrist")
    assert name_of("lab/wrist") == "wrist"
    with pytest.raises(ConfigError, match="a local folder has no revisions"):
        load_encoder("lab/wrist", revision="v2")


def test_a_mistyped_folder_sends_no_request(asked: list[str]) -> None:
    """Beside other folders, the name is meant as a path."""
    os.makedirs("encoders/mine")
    with pytest.raises(CheckpointError, match=r"encoders/mien/config\.json"):
        load_encoder("encoders/mien")
    for path in ("encoder", "/no/where", "./encoder", "../x", "a/b/c", "runs/encoder 1"):
        with pytest.raises(CheckpointError, match=r"config\.json"):
            load_encoder(path)
    assert not asked


def test_the_error_of_a_failed_download_names_both_possibilities(asked: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_encoder("lab/ankle")
    assert caught.value.message.startswith("lab/ankle: no such local folder, and not available as a repository on the")
    assert "LocalEntryNotFoundError: ConnectError" in caught.value.message
    assert "imu-pretrain export RUN OUT" in str(caught.value.hint)
    assert "hf download lab/ankle" in str(caught.value.hint)


def test_the_owner_of_shipped_encoders_is_never_asked_for_on_the_hub(asked: list[str]) -> None:
    for name in ("imu-video/large", "imu-video/Small", "IMU-Video/small", "imu-video/small@main", "imu-video/small.x"):
        with pytest.raises(CheckpointError, match="no shipped encoder of this name"):
            encoder_folder(name)
    assert not asked


def test_the_name_without_its_owner_leads_to_the_whole_name(asked: list[str]) -> None:
    with pytest.raises(CheckpointError, match="small: no such folder") as caught:
        load_encoder("small")
    assert "imu-video/small" in str(caught.value.hint)
    tiny().save("small", lineage={"run_id": "8"})
    assert load_encoder("small").lineage == {"run_id": "8"}


def test_other_spellings_of_a_shipped_name_lead_to_it(asked: list[str]) -> None:
    for name in ("imu-video/small/", " imu-video/small", "imu-video\\small", "Small"):
        with pytest.raises(CheckpointError, match="no such folder") as caught:
            load_encoder(name)
        assert caught.value.hint == "the encoder inside the package is named imu-video/small"
    with pytest.raises(CheckpointError, match="no such folder") as caught:
        load_encoder("imu-video")
    assert "imu-video list pretrained" in str(caught.value.hint)
    assert not asked


def test_projectors_are_read_where_the_encoder_is(asked: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"projectors\.safetensors: no such file"):
        load_pair_model("lab/wrist")
