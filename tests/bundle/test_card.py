"""The model card shows hostile names as themselves, in every field."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from imu_video.bundle.card import render
from imu_video.runtime.text import plain
from tests.hostile import HOSTILE, Page, commonmark, mkdocs

TAGS = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "ul", "li"}


def _config(name: str) -> dict[str, Any]:
    lineage: dict[str, Any] = {
        "dataset": {"dataset": name, "citation": name, "subjects": [name, "b"], name or "empty": name},
        "teacher": {"description": {"url": f"http://h/{name}"}},
        "control": name,
        "config": {f"code (loss {name})": name},
        "licences": {"recordings": name, name: "MIT"},
    }
    return {
        "encoder": {"name": name, "width": 3, "label": name, "nested": {name: [name, 2]}},
        "input": {
            "rate_hz": 50.0, "window_s": 2.0, "gravity": name, "channels": [name], "units": {name: name},
            "mean": [0.0], "std": [1.0],
        },
        "feature_dim": 8,
        "parameters": 1000,
        "versions": {"imu-video": name, "torch": name},
        "weights_sha256": name,
        "lineage": lineage,
    }  # fmt: skip


def test_hostile_names_make_no_markup() -> None:
    for name in HOSTILE:
        card = render(_config(name))
        front, _, body = card.removeprefix("---\n").partition("\n---\n")
        assert set(yaml.safe_load(front)) == {"library_name", "tags"}
        page = Page(commonmark(body))
        assert {tag for tag, _ in page.tags} <= TAGS | {"strong"}, name
        assert [tag for tag, _ in page.tags].count("strong") == bool(name)  # the note on a control
        assert not page.addresses
        assert not page.other
        assert {names for tag, names in page.tags if tag not in ("code", "th", "td")} == {()}
        assert not any(character in page.text for character in "\x1b\u202e\u200b\x9b\r\udc80")
        assert page.words.count(" ".join(plain(" ".join(name.split())).split())) >= 12
        assert [tag for tag, _ in page.tags].count("table") == 5


@pytest.mark.parametrize("licence", ["MIT", "[x](http://h)", ["a", "![b](http://h/c.png)"], None])
def test_one_licence_for_everything(licence: Any) -> None:
    config = _config("walk")
    config["lineage"]["licences"] = licence
    page = Page(mkdocs(render(config).partition("\n---\n")[2]))
    assert not page.addresses
    shown = ", ".join(licence) if isinstance(licence, list) else licence or "No licences were recorded"
    assert shown in page.words


def test_code_of_plugins_has_its_own_section() -> None:
    config = _config("walk")
    del config["lineage"]["config"]
    assert "## Plugins" not in render(config)
    config["lineage"]["config"] = {"seed": 0, "code (loss mine)": "00ff", "code (encoder a|b)": "11ee"}
    card = render(config)
    section = card.partition("## Plugins")[2].partition("\n## ")[0]
    assert "sha256" in section
    assert section.endswith("| encoder a\\|b | 11ee |\n| loss mine | 00ff |\n")
    assert "config.code" not in card
    assert "| config.seed | 0 |" in card
    assert "code (loss mine)" in config["lineage"]["config"], "the config itself is not changed"
