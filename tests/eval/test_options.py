"""Positional words of a command with several data folders: folders and config overrides side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.options import data_and_overrides, need_folders
from imu_video.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one", "two", "rate=50", "training.steps=10"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_overrides_stand_anywhere_among_the_folders(folder: Path) -> None:
    words = ["one", "scenario.groups=5", Path("two"), "algorithms=[erm, coral]", "models.0.lr=0.1"]
    assert data_and_overrides(words) == (
        [Path("one"), Path("two")],
        ["scenario.groups=5", "algorithms=[erm, coral]", "models.0.lr=0.1"],
    )
    assert data_and_overrides(["./rate=50", folder / "rate=50", "seeds=[1]"]) == (
        [Path("rate=50"), folder / "rate=50"],
        ["seeds=[1]"],
    )
    remote = ["s3://bucket/rate=50", "https://host/data?key=1"]
    assert [str(p) for p in data_and_overrides(remote)[0]] == ["s3:/bucket/rate=50", "https:/host/data?key=1"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["training.steps=10", "one"], "'training.steps=10' is a folder and an override", "./training.steps=10"),
        (["one", "three"], "data folder three: no such folder", "section.key=value"),
        (["one", "scenario.groups:5"], "data folder scenario.groups:5: no such folder", "section.key=value"),
        (["./rate=60"], "data folder rate=60: no such folder", "section.key=value"),
        (["seeds=[1]"], "no data folder, only overrides", "imu-eval ood DATA"),
    ],
)
def test_words_that_are_neither_are_refused(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        need_folders(data_and_overrides(words)[0])
    assert caught.value.message == message
    assert hint in str(caught.value.hint)
