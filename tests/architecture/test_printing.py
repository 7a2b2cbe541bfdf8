"""One module prints, so that everything printed is plain text; rich would read names of data as markup."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRINTER = "imu_video/runtime/console.py"
LIVE = {"imu_video/runtime/logging.py", "pretrain/observe/reporter.py"}
"""Progress bars: their texts are our own, or plain."""
CALLS = re.compile(
    r"(print|pprint|(typer|click)\.(echo|secho|style)|(sys\.)?(__)?std(out|err)(__)?\.(buffer\.)?write(lines)?)"
)


def _modules() -> Iterator[tuple[str, ast.AST]]:
    """The modules in which such a call could be."""
    for top in ("imu_video", "pretrain", "eval", "studies"):
        for path in sorted((ROOT / top).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if re.search(r"print\(|echo|\.style|stdout|stderr|rich", text):
                yield path.relative_to(ROOT).as_posix(), ast.parse(text)


def test_only_the_console_prints() -> None:
    printing, drawing = set(), set()
    for name, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and CALLS.fullmatch(ast.unparse(node.func)):
                printing.add(name)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
                drawing.add(name)
            if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "rich" for alias in node.names):
                drawing.add(name)
    assert printing == {PRINTER}
    assert drawing == {PRINTER, *LIVE}


def test_texts_of_progress_bars_are_no_markup() -> None:
    text = (ROOT / "imu_video/runtime/logging.py").read_text(encoding="utf-8")
    assert 'TextColumn("{task.description}", markup=False)' in text
