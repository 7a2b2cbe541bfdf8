"""Documents: what is read, and one error with a name for everything that is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from imu_video.errors import ConfigError, DataError, collecting
from imu_video.runtime import documents, yaml_nodes
from imu_video.runtime.documents import parse_json, parse_yaml, read_json, read_model, read_yaml, validate

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(0)]))
_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _texts
_content = st.recursive(
    _scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(_content)
def test_every_json_document_is_read_as_it_was_written(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert (
            parse_json(text, "x") == parse_json(text.encode(), "x") == parse_json(b"\xef\xbb\xbf" + text.encode(), "x")
        )
        assert parse_json(text, "x") == value


DEEP = 100_000
JSON_FAULTS = {
    "empty": (b"", "not readable as JSON: Expecting value: line 1, column 1"),
    "cut": (b'{"a": [1,', "not readable as JSON: Expecting value: line 1, column 10"),
    "more after the end": (b"{} {}", "Extra data"),
    "deep lists": (b"[" * DEEP, "nested deeper than 64 levels"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested deeper than 64 levels"),
    "65 levels": (b"[" * 65 + b"]" * 65, "nested deeper than 64 levels"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "Infinity": (b"[-Infinity]", "-Infinity is not a JSON number"),
    "float beyond range": (b'{"a": {"b": [0, 1e400]}}', "key 'a.b.1': the number is infinite"),
    "scalar beyond range": (b"-1e400", "the number is infinite"),
    "integer beyond 64 bits": (b'{"a": 18446744073709551616}', "key 'a': an integer of 65 bits, expected at most 64"),
    "integer of 100,000 digits": (b"1" * 100_000, "not readable as JSON: Exceeds the limit"),
    "key twice": (b'{"b": {"a": 1, "c": 2, "a": 3}}', "the key 'a' is given twice"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "is not a UTF-8 text file: it is UTF-16"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "is not a UTF-8 text file: byte 0xe9 at position 7"),
    "half a pair": (rb'{"a": ["\ud800"]}', "key 'a.0': the text contains half of a surrogate pair"),
    "half a pair in a key": (rb'{"\udfff": 1}', "the text contains half of a surrogate pair"),
    "NUL": (rb'{"a": "x\u0000y"}', "key 'a': the text contains a NUL character"),
    "NUL byte": (b'{"a": "x\0y"}', "not readable as JSON: Invalid control character"),
    "single quotes": (b"{'a': 1}", "not readable as JSON"),
}


@pytest.mark.parametrize("kind", JSON_FAULTS)
def test_json_that_is_refused(kind: str, tmp_path: Path) -> None:
    data, message = JSON_FAULTS[kind]
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path / "x.json", error=ConfigError, hint="write it again")
    assert f"{tmp_path / 'x.json'}" in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint == "write it again"
    assert len(caught.value.message) < 500


def test_64_levels_and_the_largest_numbers_are_read() -> None:
    assert parse_json("[" * 64 + "]" * 64, "x") is not None
    assert parse_json("[18446744073709551615, -1.7976931348623157e308]", "x") == [2**64 - 1, -1.7976931348623157e308]
    assert parse_yaml("[" * 64 + "1" + "]" * 64, "x") is not None
    assert parse_json(r'"\ud83d\ude00"', "x") == "\U0001f600", "a whole pair is one character"


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30))
YAML_FAULTS = {
    "billion laughs": (LAUGHS, "more than 300000 values once its aliases are expanded"),
    "billion merges": (MERGED, "more than 300000 values once its aliases are expanded"),
    "many aliases": ("a: &a 1\nb: [" + "*a, " * 1001 + "]", "line 2: more than 1000 aliases"),
    "alias in its own anchor": ("a: 1\nb: &b {c: [*b]}", "line 2: the alias *b is inside its own anchor &b"),
    "undefined alias": ("a: *b", "line 1: not valid YAML: found undefined alias 'b'"),
    "Python tag": ("a: !!python/object/apply:os.system [exit]", "line 1: the tag 'tag:yaml.org,2002:python/object"),
    "known tag": ("a: !!str 1", "line 1: the tag 'tag:yaml.org,2002:str' is not supported"),
    "tag of a mapping": ("--- !x\na: 1", "the tag '!x' is not supported"),
    "two documents": ("a: 1\n---\nb: 2", "line 2: not valid YAML: expected a single document in the stream"),
    "deep lists": ("[" * DEEP, "line 1: lists and mappings are nested deeper than 64 levels"),
    "deep blocks": ("- " * DEEP, "nested deeper than 64 levels"),
    "deep mappings": ("{a: " * DEEP, "nested deeper than 64 levels"),
    "infinity": ("a: {b: .inf}", "key 'a.b': the number is infinite"),
    "NaN": ("a: [.nan]", "key 'a.0': the number is not a number (NaN)"),
    "infinite key": (".inf: 1", "the key inf: the number is infinite"),
    "float beyond range": ("a: 1.0e+400", "key 'a': the number is infinite"),
    "hexadecimal": ("a: 0x" + "f" * 17, "key 'a': an integer of 68 bits"),
    "long integer": ("a: " + "1" * 10_000, "line 1: a number of 10000 digits, expected at most 100"),
    "base 60": ("a: 1" + ":1" * 100_000, "line 1: a number of 200001 digits"),
    "base 60 with fraction": ("a: 1" + ":1" * 100_000 + ".0", "line 1: a number of 200003 digits"),
    "key twice": ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is given twice, first in line 1"),
    "equal numbers": ("1: a\n0x1: b", "line 2: the key '0x1' is given twice, first in line 1"),
    "merge key twice": ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a", "line 4: the key '<<' is given twice"),
    "merge of a number": ("a: {<<: 1}", "line 1: not valid YAML: while constructing a mapping, expected a mapping"),
    "list as a key": ("? [a]\n: 1", "not valid YAML: while constructing a mapping, found unhashable key"),
    "no such day": ("a: 2001-99-99", "not valid YAML: month must be in 1..12"),
    "no such time zone": ("a: 2001-01-01T00:00:00+99:00", "not valid YAML: offset must be"),
    "beyond Unicode": (r'a: "\UFFFFFFFF"', "not valid YAML: "),
    "half a pair": (
        r'a: "\ud800"',
        "invalid Unicode character" if yaml.__with_libyaml__ else "half of a surrogate pair",
    ),
    "NUL": (r'a: "\0"', "key 'a': the text contains a NUL character"),
    "NUL byte": ("a: \0", "not valid YAML: character '\\x00' is not allowed"),
    "tab": ("a:\n\t- 1", "line 2: not valid YAML"),
}


@pytest.mark.parametrize("kind", YAML_FAULTS)
def test_yaml_that_is_refused(kind: str) -> None:
    text, message = YAML_FAULTS[kind]
    with pytest.raises(DataError) as caught:
        parse_yaml(text, "x.yaml")
    assert caught.value.message.startswith("x.yaml")
    assert message in caught.value.message
    assert len(caught.value.message) < 500


def test_anchors_merge_keys_and_empty_documents() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\n"
    assert parse_yaml(text, "x") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": [{"x": 1, "y": 2}] * 2}
    assert parse_yaml("", "x") is parse_yaml("# nothing\n", "x") is None
    assert parse_yaml("\ufeffa: 1", "x") == {"a": 1}


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_files_that_are_none_or_have_no_end(read: Callable[..., Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    for name, message in {
        "/dev/zero": "a device or a pipe, expected a file",
        "pipe": "a device or a pipe, expected a file",
        "circle": "symbolic links",
        "sparse": "1048576.0 MiB, expected at most",
        ".": "a folder, expected a file",
        "gone": "No such file or directory",
        "x" * 300: "File name too long",
        "a\0b": "null byte",
    }.items():
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)
    (tmp_path / "long").write_bytes(b" " * 100 + b"1")
    with pytest.raises(DataError, match="101 bytes, expected at most 100 bytes"):
        read(tmp_path / "long", limit=100)
    assert read(tmp_path / "long", limit=101) == 1


@pytest.mark.skipif(not Path("/proc/kallsyms").exists(), reason="needs a file whose size the system does not tell")
def test_a_file_that_is_longer_than_its_size_is_bounded() -> None:
    assert os.stat("/proc/kallsyms").st_size == 0
    with pytest.raises(DataError, match="101 bytes, expected at most 100 bytes"):
        documents.read_bytes("/proc/kallsyms", limit=100)


class Shard(BaseModel):
    model_config = ConfigDict(extra="forbid")
    bytes: int = Field(ge=1)
    keys: dict[str, tuple[int, int]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.json: expected a mapping of keys (got None)"),
        ([1], "x.json: expected a mapping of keys (got [1])"),
        ({"bytes": 1}, "x.json: key 'keys' is missing"),
        ({"bytes": 0, "keys": {}}, "x.json: key 'bytes': Input should be greater than or equal to 1 (got 0)"),
        ({"bytes": 1, "keys": []}, "x.json: key 'keys': expected a mapping of keys (got [])"),
        ({"bytes": 1, "keys": {"a": [1]}}, "x.json: key 'keys.a.1' is missing"),
        ({"bytes": 1, "keys": {"a": "12"}}, "x.json: key 'keys.a': expected a list (got '12')"),
        ({"byte": 1, "keys": {}}, "x.json: unknown key 'byte'; did you mean 'bytes'?"),
    ],
)
def test_a_model_that_does_not_fit(content: Any, message: str, tmp_path: Path) -> None:
    for model in (Shard, TypeAdapter(Shard)):
        with pytest.raises(DataError) as caught:
            validate(model, content, "x.json", hint="build it again")
        expected = message if model is Shard else message.replace("did you mean 'bytes'?", "known: none")
        assert (caught.value.message, caught.value.hint) == (expected, "build it again")
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"x\.json: "):
        read_model(tmp_path / "x.json", Shard)


def test_models_of_both_forms_and_all_faults_of_one(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"bytes": 3, "keys": {"a": [0, 3]}}')
    (tmp_path / "x.yaml").write_text("bytes: 3\nkeys: {a: [0, 3]}")
    assert read_model(tmp_path / "x.json", Shard) == read_model(tmp_path / "x.yaml", Shard)
    assert validate(TypeAdapter(dict[str, int]), {"a": 1}, "x") == {"a": 1}
    with collecting() as faults, pytest.raises(ConfigError):
        validate(Shard, {"bytes": 0, "keys": None, "more": 1}, "x", error=ConfigError)
    assert [fault.message.partition(" (")[0] for fault in faults] == [
        "x: unknown key 'more'; known: bytes, keys",
        "x: key 'bytes': Input should be greater than or equal to 1",
        "x: key 'keys': expected a mapping of keys",
    ]


def test_messages_are_bounded() -> None:
    with pytest.raises(DataError) as caught:
        validate(Shard, {"bytes": "x" * 10**6, "keys": {}}, "x")
    assert len(str(caught.value)) < 1000
    with pytest.raises(DataError) as caught:
        validate(Shard, {"y" * 10**6: 1, "bytes": 1, "keys": {}}, "x")
    assert len(str(caught.value)) < 1000


def test_a_document_of_very_many_values_is_refused_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "EXPANDED_LIMIT", 50)
    assert parse_yaml("[" + "1, " * 40 + "1]", "x.yaml") == [1] * 41
    with pytest.raises(DataError, match=r"x\.yaml, line 2: more than 50 keys and values"):
        parse_yaml("[\n" + "1, " * 100 + "unfinished", "x.yaml")
