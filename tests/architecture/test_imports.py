"""The library stays light to import and every package is shipped."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "torchvision", "timm", "decord", "webdataset", "accelerate", "matplotlib", "pandas", "av"]


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, imu_video; print([m for m in {HEAVY} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_shipped_encoder_loads_nothing_that_it_does_not_need() -> None:
    """The first feature in a fresh process: torch itself, and neither its compiler nor packages of other tasks."""
    others = ["torch._dynamo", "torch._inductor", "sympy", "triton", "torch.onnx", "scipy", "pandas", "pyarrow"]
    others += ["sklearn", "torchvision", "transformers", "accelerate", "matplotlib", "PIL", "webdataset", "onnxruntime"]
    code = f"""if True:
        import sys, numpy, imu_video
        encoder = imu_video.load_encoder("imu-video/small")
        windows = numpy.random.default_rng(0).normal(9.8, 1, (2, 6, 250))
        assert encoder.encode(windows, rate_hz=50, check_units=False).shape[0] == 2
        print([m for m in {others} if m in sys.modules])"""
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_package_is_listed_by_hand() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for top in ("imu_video", "pretrain", "eval")
        for p in (ROOT / top).rglob("__init__.py")
    }
    assert listed == found | {"imu_video.configs"}, "configs/ is shipped as package data"


def test_no_module_hides_the_builtin_eval() -> None:
    for top in ("imu_video", "pretrain", "eval", "tests"):
        for path in (ROOT / top).rglob("*.py"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            assert "import eval" not in lines, f"{path}: write `from eval.x import y`"


def test_child_pythons_ignore_the_working_folder() -> None:
    """A user's own `random.py` or `pretrain.py` there must not be executed: Python's -P, or `runtime.children`."""
    without: list[str] = []
    for top in ("imu_video", "pretrain", "eval", "benchmarks", "studies", "tests"):
        for path in (ROOT / top).rglob("*.py"):
            text = path.read_text()
            for node in ast.walk(ast.parse(text)) if "sys.executable" in text else ():
                if (
                    isinstance(node, ast.List | ast.Tuple)
                    and node.elts
                    and ast.unparse(node.elts[0]) == "sys.executable"
                ):
                    second = node.elts[1] if len(node.elts) > 1 else None
                    if not (isinstance(second, ast.Constant) and second.value == "-P"):
                        without.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    # `python -m` and `python examples/x.py` as a user types them
    allowed = ("tests/e2e/test_working_folder.py", "tests/cli/test_main.py", "tests/docs/test_examples.py")
    assert [line for line in without if not line.startswith(allowed)] == []


def test_only_one_module_starts_pools_of_processes() -> None:
    """It keeps the working folder off their path; a second pool would have to do so again."""
    pools = re.compile(
        r"ProcessPoolExecutor|get_context|multiprocessing\.(Pool|Process)|import (Pool|Process)\b|\bmp\.spawn"
    )
    found = {
        str(path.relative_to(ROOT))
        for top in ("imu_video", "pretrain", "eval")
        for path in (ROOT / top).rglob("*.py")
        if pools.search(path.read_text())
    }
    assert found == {"imu_video/runtime/workers.py"}


def test_files_stay_small() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for top in ("imu_video", "pretrain", "eval")
        for p in (ROOT / top).rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 500
    }
    assert not long, f"split these by what they are about: {long}"
