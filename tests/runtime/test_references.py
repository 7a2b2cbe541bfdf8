"""Values of environment variables: used by the run, stored and printed as `${NAME}`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from imu_video.config import Config, dump_yaml, load_config, read_yaml
from imu_video.errors import ConfigError
from imu_video.runtime import console, references

SECRET = 'tok"en\\with/odd é'


class Section(Config):
    root: str
    split: str = "val"
    scale: float = 1.0
    live: bool = False


class Whole(Config):
    data: Section
    seed: int = 0
    encoder: dict[str, Any] = {}
    names: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("_values", "_named", "_keys"):
        monkeypatch.setattr(references, table, {})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    values = {"ROOT": "/mnt/recordings", "SPLIT": "val", "SEED": "3", "SCALE": "1e-1", "ON": "true", "TOKEN": SECRET}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "a.yaml"
    path.write_text(
        "data: {root: '${ROOT}/x', split: '${SPLIT}', scale: '${SCALE}', live: '${ON}'}\n"
        "seed: ${SEED}\nencoder: {name: mine, weights: '${TOKEN}', label: val}\nnames: [a, '${ROOT}']\n"
    )
    return path


def test_a_resolved_config_keeps_its_references(file: Path, tmp_path: Path) -> None:
    config = load_config(file, Whole)
    assert config.data == Section(root="/mnt/recordings/x", split="val", scale=0.1, live=True)
    assert (config.seed, config.encoder["weights"], config.names) == (3, SECRET, ("a", "/mnt/recordings"))
    text = dump_yaml(config)
    for written in ("${ROOT}/x", "split: ${SPLIT}", "${SEED}", "${SCALE}", "${ON}", "weights: ${TOKEN}", "- ${ROOT}"):
        assert written in text
    assert "label: val" in text  # the same word, but not from the environment
    assert "tok" not in text
    again = tmp_path / "b.yaml"
    again.write_text(text)
    assert load_config(again, Whole) == config


def test_overrides_and_parents_keep_what_was_not_changed(file: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: a.yaml\nseed: 4\n")
    text = dump_yaml(load_config(child, Whole, ["data.split=test", "encoder.weights=w"]))
    assert "${ROOT}/x" in text
    assert "split: test" in text
    assert "weights: w" in text
    assert "seed: 4" in text


def test_a_config_without_references_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", "/mnt/recordings")
    path = tmp_path / "a.yaml"
    path.write_text("data: {root: /mnt/recordings}\n")
    assert "root: /mnt/recordings" in dump_yaml(load_config(path, Whole))


def test_unset_variables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOT")
    with pytest.raises(ConfigError, match="environment variable ROOT is not set") as raised:
        load_config(file, Whole)
    assert raised.value.hint == "export ROOT=..."
    assert read_yaml(file, strict=False)["data"]["root"] == "${ROOT}/x"


def test_everything_printed_shows_references(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_config(file, Whole)
    console.table(["folder", "secret"], [[Path("/mnt/recordings/x"), SECRET]], title=SECRET)
    console.say(f"built /mnt/recordings/out with {SECRET!r} and {json.dumps(SECRET)}")
    console.say_json({"root": "/mnt/recordings/x", "secret": SECRET})
    console.say_error(f"{SECRET}: not found\n    {SECRET}", hint=f"ls /mnt/recordings/{SECRET}")
    console.warn(SECRET)
    console.relay(f"Traceback {SECRET}\n")
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "tok" not in shown
    assert "/mnt" not in shown
    assert "${ROOT}/x\t${TOKEN}\n" in shown
    assert "error: ${TOKEN}: not found\n    ${TOKEN}\n  try: ls ${ROOT}/${TOKEN}\n" in shown
    assert json.loads(re.search(r"^\{.*?^\}", shown, re.DOTALL | re.MULTILINE)[0]) == {
        "root": "${ROOT}/x",
        "secret": "${TOKEN}",
    }  # type: ignore[index]


def test_another_value_is_noticed_without_storing_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = load_config(file, Whole).model_dump(mode="json")
    saved = references.protected(now, keep=("seed",))
    assert re.fullmatch(r"\$\{TOKEN\} \(value [0-9a-f]{12}\)", saved["encoder"]["weights"])
    assert "tok" not in json.dumps(saved)
    assert saved["data"]["split"] == "val"
    assert references.same(saved, now)
    assert references.same(now, saved)
    monkeypatch.setenv("TOKEN", "another token")
    other = load_config(file, Whole).model_dump(mode="json")
    assert not references.same(saved, other)
    assert not references.same(saved, references.protected(other))
    assert not references.same("${TOKEN}", SECRET)


def test_documents_of_strangers_do_not_read_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stolen!")
    assert references.reread({"model": "evil/${AWS_SECRET_ACCESS_KEY}", "root": ["${ROOT}"]}) == {
        "model": "evil/${AWS_SECRET_ACCESS_KEY}",
        "root": ["${ROOT}"],
    }
    load_config(file, Whole)
    stored = references.restored({"root": "/mnt/recordings/x"})
    assert stored == {"root": "${ROOT}/x"}
    assert references.reread(stored) == {"root": "/mnt/recordings/x"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://user:pa:ss@host:8080/x", "https://***@host:8080/x"),
        ("cannot read 'https://ghp_abc@host/x'", "cannot read 'https://***@host/x'"),
        ("https://h/a?X-Amz-Credential=AKIA%2F1&x=1&X-Amz-Signature=ab", "https://h/a?X-Amz-Credential=***&x=1&X-Amz-Signature=***"),
        ("https://h/a?sig=ab%3D&se=2026", "https://h/a?sig=***&se=2026"),
        ("https://h/a?access_token=ab#t", "https://h/a?access_token=***"),
        ("mail anna@h.example", "mail anna@h.example"),
    ],
)  # fmt: skip
def test_addresses_are_printed_without_credentials(address: str, shown: str) -> None:
    assert references.masked(address) == shown
