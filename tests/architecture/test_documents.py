"""JSON and YAML are parsed in one place, where size, depth, aliases and numbers are bounded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARSERS = {
    "json": {"load", "loads", "JSONDecoder"},
    "yaml": {
        "load", "load_all", "safe_load", "safe_load_all", "full_load", "unsafe_load", "compose", "compose_all", "parse",
        "scan", "SafeLoader", "CSafeLoader", "Loader", "FullLoader",
    },
    "tomllib": {"load", "loads"},
    "pickle": {"load", "loads", "Unpickler"},
}  # fmt: skip
METHODS = {"model_validate_json", "validate_json", "parse_raw", "parse_file"}
ALLOWED = {
    "imu_video/runtime/documents.py": "the reader itself",
    "imu_video/runtime/yaml_nodes.py": "the reader itself",
    "imu_video/runtime/journal.py": "its own argument as JSON holds it",
    "imu_video/runtime/native.py": "messages of its own child processes",
    "imu_video/recordings/windows.py": "a key of a cache of its own",
    "imu_video/testing/losses.py": "an argument of a child process of the same test",
    "imu_video/testing/objectives.py": "an argument of a child process of the same test",
    "eval/results/cells.py": "its own argument as JSON holds it",
    "imu_video/shards/features/plan.py": "its own argument as JSON holds it",
    "imu_video/shards/building/spool.py": "its own rows",
    "imu_video/testing/modalities.py": "its own text",
    "imu_video/shards/reading/pipeline.py": "facts of a sample, at most 1 MiB and flat: the parser of pydantic is five "
    "times faster, and `verify` compares with the one reader",
}
MODULES = [
    path.relative_to(ROOT).as_posix()
    for top in ("imu_video", "pretrain", "eval")
    for path in (ROOT / top).rglob("*.py")
]


def parses(text: str) -> list[str]:
    """Calls and names in a module that parse a document outside the one reader."""
    names: dict[str, str] = {}
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name: one.name for one in node.names if one.name in PARSERS}
        elif isinstance(node, ast.ImportFrom) and node.module in PARSERS:
            found += [f"{node.module}.{one.name}" for one in node.names if one.name in PARSERS[node.module]]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Attribute):
            continue
        module = names.get(node.value.id, "") if isinstance(node.value, ast.Name) else ""
        if node.attr in PARSERS.get(module, ()):
            found.append(f"{module}.{node.attr}")
        elif node.attr in METHODS:
            found.append(node.attr)
    return found


def test_documents_are_parsed_by_one_reader() -> None:
    found = {module: calls for module in MODULES if (calls := parses((ROOT / module).read_text(encoding="utf-8")))}
    new = {module: calls for module, calls in found.items() if module not in ALLOWED}
    assert new == {}, "read files with imu_video.runtime.documents"
    assert set(ALLOWED) <= set(found), "no longer needed in the list"


@pytest.mark.parametrize(
    "text",
    [
        "import json\njson.loads(x)",
        "import json as j\nj.load(f)",
        "from json import loads",
        "import yaml\nyaml.load(x, Loader=yaml.SafeLoader)",
        "Model.model_validate_json(x)",
    ],
)
def test_every_way_to_parse_is_seen(text: str) -> None:
    assert parses(text)
    assert not parses("import json, yaml\njson.dumps(x), yaml.safe_dump(x)\nparse_json(x)")
