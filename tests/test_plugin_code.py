"""The hash of a plugin covers the modules that it imports from its folder, and nothing else."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imu_video import plugin_code, registry
from imu_video.registry import load_plugin

HEAD = "from imu_video.registry import losses\n"
PART = "@losses.register('{}')\nclass Part:\n    def __init__(self) -> None: ...\n"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def of_listing(files: dict[str, str]) -> str:
    """As ``sha256sum FILES | sha256sum`` prints it."""
    return sha256("".join(f"{sha256(text)}  {name}\n" for name, text in sorted(files.items())))


class Folder:
    """Files beside a plugin, loaded as a new process would do it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: set[str] = set()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            file = self.root / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(text)

    def start(self) -> None:
        """Forget all modules of the folder."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.root)):
                del sys.modules[name]
                plugin_code._sources.pop(name, None)
                plugin_code._files.pop(name, None)
        for name in self.names:
            registry.losses._classes.pop(name, None)

    def load(self, *plugins: str) -> list[str | None]:
        """Hashes of the losses that plugins register, each under the name of its file, in a new process."""
        self.start()
        for name in plugins:
            load_plugin(self.root / f"{name}.py")
        self.names |= set(plugins)
        return [registry.source_hash(registry.losses.get(name)) for name in plugins]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Folder(tmp_path)
    before = list(sys.meta_path)
    yield made
    made.start()
    assert sys.meta_path == before


def test_a_plugin_without_modules_of_its_own_keeps_the_hash_of_its_file(folder: Folder) -> None:
    mine = HEAD + "import json, numpy\nimport imu_video.losses\n" + PART.format("pc_mine")
    folder.write(pc_mine=mine, pc_unused="W = 1")
    assert folder.load("pc_mine") == [sha256(mine)]


def test_an_edited_module_changes_the_hash(folder: Folder) -> None:
    mine = HEAD + "from pc_helper import W\n" + PART.format("pc_mine")
    folder.write(pc_mine=mine, pc_helper="W = 1")
    assert folder.load("pc_mine") == [of_listing({"pc_mine.py": mine, "pc_helper.py": "W = 1"})]
    folder.write(pc_helper="W = 2")  # same size and second: Python's cache would still hold W = 1
    assert folder.load("pc_mine") == [of_listing({"pc_mine.py": mine, "pc_helper.py": "W = 2"})]
    assert sys.modules["pc_helper"].W == 2


def test_modules_of_packages_relative_and_dynamic_imports_count(folder: Folder) -> None:
    mine = HEAD + "import importlib, pc_pack.first\nimportlib.import_module('pc_late')\n" + PART.format("pc_mine")
    folder.write(
        pc_mine=mine,
        pc_late="",
        pc_pack__in____init__="",
        pc_pack__in__first="from . import second\n",
        pc_pack__in__second="S = 1",
        pc_pack__in__unused="",
    )
    files = {
        "pc_mine.py": mine,
        "pc_late.py": "",
        "pc_pack/__init__.py": "",
        "pc_pack/first.py": "from . import second\n",
        "pc_pack/second.py": "S = 1",
    }
    assert folder.load("pc_mine") == [of_listing(files)]


def test_installed_packages_below_the_folder_do_not_count(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = HEAD + "import pc_installed\n" + PART.format("pc_mine")
    folder.write(pc_mine=mine, **{"env__in__site-packages__in__pc_installed": "V = 1"})
    monkeypatch.syspath_prepend(folder.root / "env" / "site-packages")
    assert folder.load("pc_mine") == [sha256(mine)]
    assert sys.modules["pc_installed"].V == 1


def test_a_module_that_two_plugins_share_counts_for_both_in_any_order(folder: Folder) -> None:
    one = HEAD + "from pc_shared import W\n" + PART.format("pc_one")
    two = HEAD + "import pc_shared as shared\n" + PART.format("pc_two")
    folder.write(pc_one=one, pc_two=two, pc_shared="from pc_deep import W", pc_deep="W = 1")
    shared = {"pc_shared.py": "from pc_deep import W", "pc_deep.py": "W = 1"}
    expected = [of_listing({"pc_one.py": one, **shared}), of_listing({"pc_two.py": two, **shared})]
    assert folder.load("pc_one", "pc_two") == expected
    assert folder.load("pc_two", "pc_one") == expected[::-1]
    folder.start()
    __import__("pc_shared")  # by a program, before the plugin
    load_plugin(folder.root / "pc_two.py")
    assert registry.source_hash(registry.losses.get("pc_two")) == expected[1]


def test_a_component_in_a_module_beside_the_plugin(folder: Folder) -> None:
    part = HEAD + PART.format("pc_mine")
    folder.write(pc_mine="import pc_part", pc_part=part)
    assert folder.load("pc_mine") == [sha256(part)]
    part = "from pc_deep import W\n" + part
    folder.write(pc_part=part, pc_deep="W = 1")
    assert folder.load("pc_mine") == [of_listing({"pc_part.py": part, "pc_deep.py": "W = 1"})]


def test_a_component_in_a_package_beside_the_plugin(folder: Folder) -> None:
    part = HEAD + PART.format("pc_mine")
    folder.write(pc_mine="import pc_pack.part", pc_pack__in____init__="", pc_pack__in__part=part)
    (alone,) = folder.load("pc_mine")
    assert alone == sha256(part), "the files of the package, as of an installed one"
    folder.write(pc_pack__in____init__="import pc_deep", pc_deep="W = 1")
    (first,) = folder.load("pc_mine")
    folder.write(pc_deep="W = 2")
    (second,) = folder.load("pc_mine")
    assert len({alone, first, second}) == 3


def test_a_plugin_that_failed_is_recorded_when_it_loads(folder: Folder) -> None:
    mine = HEAD + "import pc_helper\n" + PART.format("pc_mine")
    folder.write(pc_mine=mine + "1 / 0", pc_helper="")
    with pytest.raises(registry.ConfigError, match="ZeroDivisionError"):
        load_plugin(folder.root / "pc_mine.py")
    registry.losses._classes.pop("pc_mine")
    folder.write(pc_mine=mine)
    load_plugin(folder.root / "pc_mine.py")
    folder.names.add("pc_mine")
    expected = of_listing({"pc_mine.py": mine, "pc_helper.py": ""})
    assert registry.source_hash(registry.losses.get("pc_mine")) == expected
