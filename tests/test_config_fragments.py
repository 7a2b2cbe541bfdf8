"""Paths of YAML files where a component entry is expected: overrides, values, changes to them, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from eval.protocols.ood.config import OodConfig
from imu_video.config import Config, Fragment, dump_yaml, load_config, validate
from imu_video.errors import ConfigError
from pretrain.config import PretrainConfig
from pretrain.identity import identity, run_id
from tests.pretrain.conftest import resolved

BASE = "configs/pretrain/base.yaml"
Entry = Annotated[dict[str, Any], Fragment()]


class Inner(Config):
    part: Entry | None = None


class Whole(Config):
    one: Entry = {"name": "default"}
    many: tuple[Entry, ...] = ()
    inner: Inner = Inner()
    plain: str = ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parts, and an empty working folder elsewhere: paths are relative to the file that contains them."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "wide.yaml").write_text("name: net\nwidth: 8\ndepth: 2\n")
    (tmp_path / "parts" / "narrow.yaml").write_text("extends: wide.yaml\nwidth: 4\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def load(folder: Path, text: str, *overrides: str) -> Whole:
    (folder / "whole.yaml").write_text(text)
    return load_config(folder / "whole.yaml", Whole, overrides)


def test_a_path_stands_for_the_content_of_its_file(folder: Path) -> None:
    narrow, wide = ({"name": "net", "width": width, "depth": 2} for width in (4, 8))
    text = "one: parts/narrow.yaml\nmany: [parts/wide.yaml, {name: b}]\ninner: {part: parts/wide.yaml}\n"
    config = load(folder, text)
    assert (config.one, config.many, config.inner.part) == (narrow, (wide, {"name": "b"}), wide)
    assert load(folder, "many: parts/wide.yaml\n").many == (wide,)
    again = validate(config.model_dump(), Whole, source="again")
    assert again == config
    assert ".yaml" not in dump_yaml(config)


def test_a_mapping_extends_a_file_and_changes_it(folder: Path) -> None:
    config = load(folder, "many:\n- {extends: parts/wide.yaml, depth: 5, weight: 0.5}\n")
    assert config.many == ({"name": "net", "width": 8, "depth": 5, "weight": 0.5},)
    (folder / "child.yaml").write_text("extends: whole.yaml\none: {width: 3}\n")
    (folder / "whole.yaml").write_text("one: parts/wide.yaml\n")
    assert load_config(folder / "child.yaml", Whole).one == {"name": "net", "width": 3, "depth": 2}


def test_overrides_take_paths_and_change_what_they_read(folder: Path) -> None:
    wide = folder / "parts" / "wide.yaml"
    config = load(folder, "plain: a\n", f"one={wide}", "one.width=1", f"many={wide}", "many.0.weight=2")
    assert config.one == {"name": "net", "width": 1, "depth": 2}
    assert config.many == ({"name": "net", "width": 8, "depth": 2, "weight": 2},)


def test_paths_elsewhere_stay_text(folder: Path) -> None:
    assert load(folder, "plain: parts/wide.yaml\n").plain == "parts/wide.yaml"


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("one: parts/wid.yaml\n", [], ["whole.yaml: key 'one'", "parts/wid.yaml", "No such file"]),
        ("many: [parts/wide.yaml, {extends: no.yaml}]\n", [], ["whole.yaml: key 'many.1'", "no.yaml"]),
        ("{}", ["inner.part=configs/loss/info_nc.yaml"], ["override 'inner.part=", "did you mean 'info_nce.yaml'"]),
        ("one: parts/nameless.yaml\n", [], ["whole.yaml: key 'one'", "nameless.yaml is not a component entry"]),
        ("one: parts/bad.yaml\n", [], ["whole.yaml: key 'one'", "parts/bad.yaml", "not valid YAML"]),
    ],
)
def test_errors_name_file_and_key(folder: Path, text: str, overrides: list[str], words: list[str]) -> None:
    (folder / "parts" / "bad.yaml").write_text("a: [")
    (folder / "parts" / "nameless.yaml").write_text("width: 3\n")
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_shipped_fragments_determine_the_run_like_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # shipped files are found from any folder

    def run(*overrides: str) -> tuple[str, str]:
        config = load_config(BASE, PretrainConfig, overrides)
        saved = resolved(config)
        return run_id(identity(saved, data="x")), dump_yaml(saved)

    named = run("loss=[configs/loss/barlow_twins.yaml]", "encoder=configs/encoder/harood_cnn.yaml")
    written = run(
        "loss=[{name: barlow_twins, between: augmented_pair, redundancy: 0.005}]",
        "encoder={name: harood_cnn, kernel: 9, norm: batch}",
    )
    assert named == written
    single = run("loss=configs/loss/barlow_twins.yaml", "encoder=configs/encoder/harood_cnn.yaml")
    assert single == written
    alone = [run("loss=info_nce"), run("loss={name: info_nce}"), run("loss=sigmoid_pair", "loss=info_nce")]
    assert alone == [run("loss=[info_nce]")] * 3
    assert run("loss=info_nce", "loss.0.temperature=0.2") == run("loss=[{name: info_nce, temperature: 0.2}]")
    own = run("augment=jitter", "objective=masked_patches")
    assert own == run("augment=[{name: jitter}]", "objective=[{name: masked_patches}]")
    assert ".yaml" not in named[1]


def test_live_teachers_and_backbones_take_paths() -> None:
    live = load_config(BASE, PretrainConfig, ["data.teacher=live", "data.live_teacher=configs/teacher/tiny.yaml"])
    assert live.data.live_teacher == {"name": "tiny", "modality": "video"}
    path = "configs/eval/ood/hapt_person.yaml"
    assert load_config(path, OodConfig, ["models.0.backbone=configs/encoder/tpn.yaml"]).models[0].backbone == {
        "name": "tpn",
        "width": 32,
        "dropout": 0.1,
        "pooling": "max",
    }
