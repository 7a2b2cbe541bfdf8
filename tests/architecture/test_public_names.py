"""The public names of every package resolve, are listed by `dir`, and cost nothing until they are used."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import imu_video

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["imu_video", *sorted(f"imu_video.{m.name}" for m in pkgutil.iter_modules(imu_video.__path__) if m.ispkg)]
PUBLIC = [name for name in PACKAGES if name != "imu_video.cli"]  # a command: no module imports it
LAZY = ["eval.data", "eval.results", "imu_video.encoders.layers", "pretrain"]  # more packages that users import from
EAGER = ["eval.algorithms", "eval.probes", "eval.protocols"]  # importing them registers the built-in components
HEAVY = ["torch", "numpy", "scipy", "pandas", "torchvision", "timm", "transformers", "webdataset", "av", "pydantic"]


def source(package: str) -> ast.Module:
    return ast.parse(ROOT.joinpath(*package.split("."), "__init__.py").read_text())


@pytest.mark.parametrize("package", [*PUBLIC, *LAZY, *EAGER])
def test_every_public_name_resolves_and_dir_lists_them_alone(package: str) -> None:
    module = import_module(package)
    names = list(module.__all__)
    assert names, f"{package} has no public names"
    assert len(set(names)) == len(names)
    assert dir(module) == sorted(names)
    for name in names:
        value = getattr(module, name)
        assert name == "__version__" or not name.startswith("_")
        if isinstance(value, ModuleType):
            assert value.__name__ == f"{package}.{name}"
        elif isinstance(value, type | FunctionType):
            assert value.__qualname__ == name, "the name of the object itself"
            assert value.__module__.startswith(package), f"{name} belongs to {value.__module__}"
    typing_noise = {"Any", "TYPE_CHECKING", "annotations", "import_module", "exports", "version"}
    assert not typing_noise & set(dir(module))


@pytest.mark.parametrize("package", [*PUBLIC, *LAZY])
def test_type_checkers_are_told_the_same_names(package: str) -> None:
    """A type checker reads the imports under TYPE_CHECKING; at run time `exports` does their work."""
    module = import_module(package)
    told = {
        alias.asname or alias.name
        for block in source(package).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert told == set(module.__all__) - {"__version__"}


@pytest.mark.parametrize("package", [*PUBLIC, *LAZY, *EAGER])
def test_no_public_name_is_that_of_a_module_beside_it(package: str) -> None:
    """Importing such a module would silently replace the name."""
    module = import_module(package)
    modules = {m.name for m in pkgutil.iter_modules(module.__path__)}
    for name in modules & set(module.__all__):
        assert isinstance(getattr(module, name), ModuleType), f"{package}.{name} is a module and something else"


def test_every_public_package_is_a_public_name_of_the_library() -> None:
    assert {name.removeprefix("imu_video.") for name in PUBLIC if name != "imu_video"} <= set(imu_video.__all__)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"module 'imu_video\.shards' has no attribute 'load_indx'") as caught:
        _ = imu_video.shards.load_indx
    assert caught.value.name == "load_indx"
    assert not hasattr(imu_video, "Any")


def test_importing_every_package_loads_nothing_heavy() -> None:
    """A fresh process: packages, then `dir` of each, then one name, which loads what it needs."""
    code = (
        "import sys; from importlib import import_module\n"
        f"for name in {[*PUBLIC, *LAZY]}: dir(import_module(name))\n"
        f"print([m for m in {HEAVY} if m in sys.modules])\n"
        "import imu_video; imu_video.metrics.macro_f1\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["[]", "['numpy']"]


def test_submodules_are_reached_without_importing_them() -> None:
    code = "import imu_video; print(imu_video.losses.InfoNCE.__name__, imu_video.losses.functional.info_nce.__name__)"
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "InfoNCE info_nce\n"


def test_a_star_import_gives_the_listed_names() -> None:
    names: dict[str, object] = {}
    exec("from imu_video.metrics import *", names)
    assert set(names) - {"__builtins__"} == set(imu_video.metrics.__all__)
