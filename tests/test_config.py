"""Configs resolve the same way every time and name what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import model_validator

from imu_video.config import Config, PathText, digest, dump_yaml, load_config, merge, read_yaml, validate
from imu_video.errors import ConfigError


class Optim(Config):
    lr: float
    steps: int = 10


class Whole(Config):
    name: str
    optim: Optim
    loss: list[dict[str, object]] = []


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text("name: base\noptim: {lr: 0.1, steps: 5}\nloss:\n- {name: a, weight: 1.0}\n- {name: b}\n")
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_extends_overrides_and_round_trip(base: Path) -> None:
    child = write(base.parent / "child.yaml", "extends: base.yaml\nname: child\noptim: {steps: 7}\n")
    config = load_config(child, Whole, ["optim.lr=1e-3", "loss.1.weight=0.5"])
    assert (config.name, config.optim.steps, config.optim.lr) == ("child", 7, 1e-3)
    assert config.loss == [{"name": "a", "weight": 1.0}, {"name": "b", "weight": 0.5}]
    again = load_config(write(base.parent / "dumped.yaml", dump_yaml(config)), Whole)
    assert again == config
    assert digest(again) == digest(config)


def test_environment_variables(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = write(base.parent / "env.yaml", "extends: base.yaml\nname: run-${WHERE_TO}\n")
    monkeypatch.delenv("WHERE_TO", raising=False)
    with pytest.raises(ConfigError, match="WHERE_TO is not set"):
        load_config(child, Whole)
    monkeypatch.setenv("WHERE_TO", "moon")
    assert load_config(child, Whole).name == "run-moon"


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("name: x\noptim: {lrr: 0.1}", [], ["optim.lrr", "did you mean 'lr'"]),
        ("name: x\noptim: {lr: fast}", [], ["optim.lr", "'fast'"]),
        ("name: x", [], ["'optim'", "missing"]),
        ("- 1", [], ["expected a mapping"]),
        ("name: [", [], ["not valid YAML"]),
        ("extends: gone.yaml", [], ["gone.yaml"]),
        ("extends: bad.yaml", [], ["cycle"]),
        ("name: x\noptim: {lr: 1}", ["optim.lr"], ["expected section.key=value"]),
        ("name: x\noptim: {lr: 1}", ["optim.lr.deep=2"], ["not a section"]),
        ("name: x\noptim: {lr: 1}\nloss: [{}]", ["loss.3.weight=2"], ["index '3' is invalid"]),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path / "bad.yaml", text), Whole, overrides)
    for word in words:
        assert word in str(caught.value)


def test_a_file_that_is_no_text_and_a_link_to_itself_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml is not a UTF-8 text file"):
        load_config(tmp_path / "binary.yaml", Config)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(ConfigError, match=r"config .*loop\.yaml: "):
        load_config(tmp_path / "loop.yaml", Config)


def test_a_rule_over_several_keys_says_its_sentence_only(base: Path) -> None:
    class Ruled(Whole):
        @model_validator(mode="after")
        def _rule(self) -> Ruled:
            raise ValueError("name and loss are at odds")

    with pytest.raises(ConfigError) as caught:
        load_config(base, Ruled)
    assert str(caught.value).endswith("base.yaml: name and loss are at odds")


def test_a_component_with_another_name_replaces_the_entry() -> None:
    old = {"encoder": {"name": "a", "width": 3}}
    assert merge(old, {"encoder": {"name": "b"}}) == {"encoder": {"name": "b"}}
    assert merge(old, {"encoder": {"width": 4}}) == {"encoder": {"name": "a", "width": 4}}


@given(
    st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False)))
)
def test_digest_ignores_key_order(data: dict[str, object]) -> None:
    assert digest(data) == digest(dict(reversed(list(data.items()))))


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("lr=0.1", "unknown key 'lr'", "write the section too: optim.lr"),
        ("loss=a", r"key 'loss': expected a list \(got 'a'\)", "'loss=[...]'"),
        ("loss={name: a}", "key 'loss': expected a list", "'loss=[...]'"),
    ],
)
def test_frequent_mistakes_in_overrides_have_a_remedy(base: Path, override: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load_config(base, Whole, [override])
    assert hint in str(error.value.hint)


def test_a_missing_config_names_the_shipped_file_of_a_similar_name() -> None:
    for name in ("folder", "configs/data/foldr.yaml"):
        with pytest.raises(ConfigError, match="No such file") as error:
            load_config(name, Whole)
        assert error.value.hint == "did you mean configs/data/folder.yaml?"
    with pytest.raises(ConfigError, match="No such file") as error:
        load_config("zzzzzz.yaml", Whole)
    assert "the shipped configs are in" in str(error.value.hint)


@pytest.mark.parametrize("value", ["null", "on", "01", "2024-05-06", "1.50"])
def test_texts_that_yaml_takes_for_something_else(value: str, tmp_path: Path) -> None:
    """The hint is obeyed: in quotation marks the text is what it looks like."""

    class Named(Config):
        names: list[str]

    path = tmp_path / "x.yaml"
    path.write_text(f"names: [{value}]\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: key 'names\.0': Input should be a valid string") as error:
        validate(read_yaml(path), Named, source=str(path))
    assert "quotation marks" in str(error.value.hint)
    path.write_text(f"names: ['{value}']\n")
    assert validate(read_yaml(path), Named, source=str(path)).names == [value]


@pytest.mark.parametrize("text", ["a: 1\nb: {c: 2}\na: 3\n", "b:\n  - {a: 1, a: 2}\n"])
def test_a_key_that_is_given_twice_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"twice\.yaml, line [23]: the key 'a' is given twice, first in line [12]"):
        read_yaml(path)


def test_anchors_and_merge_keys_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "anchors.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": [{"x": 1, "y": 2}] * 2}


@pytest.mark.parametrize("value", ["null", "7", "[null]", "{a: 1}", "''", "[[a]]", "true"])
def test_extends_takes_paths_only(value: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", f"extends: {value}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: key 'extends': expected the path of a file or a list of paths"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x.yaml", "`extends` forms a cycle"),
        ("/dev/zero", "/dev/zero: a device or a pipe, expected a file"),
        (".", "a folder, expected a file"),
        ("http://localhost:1/x.yaml", "No such file"),
        (f"{'a' * 300}.yaml", "File name too long"),
        ("gone.yaml", "gone.yaml: No such file"),
    ],
)
def test_what_extends_names_must_be_a_config(value: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.yaml", f"extends: '{value}'\n")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(path, Whole)


def test_a_chain_of_files_has_an_end(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number}.yaml", f"extends: {number + 1}.yaml\n")
    with pytest.raises(ConfigError, match=r"a chain of more than 32 files"):
        read_yaml(tmp_path / "0.yaml")


@pytest.mark.parametrize("text", ["a" * 5000, "a" * 256 + "/b", "x\0y", ""])
def test_paths_that_cannot_exist_are_refused(text: str) -> None:
    class Place(Config):
        root: PathText

    with pytest.raises(ConfigError, match="key 'root': "):
        validate({"root": text}, Place, source="x")
    assert validate({"root": "s3://a/b c/é"}, Place, source="x").root == "s3://a/b c/é"


def test_infinite_numbers_of_sections_are_refused() -> None:
    class Rates(Config):
        rates: tuple[float, ...]

    with pytest.raises(ConfigError, match=r"key 'rates\.0': Input should be a finite number"):
        validate({"rates": [float("inf")]}, Rates, source="x")
