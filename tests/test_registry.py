"""The registry derives schemas from signatures and refuses what does not fit them."""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated

import pytest

from imu_video import registry
from imu_video.arguments import LATER, Finite
from imu_video.errors import ConfigError
from imu_video.registry import Registry, load_plugin


@pytest.fixture
def shapes() -> Registry:
    made: Registry = Registry("shape")

    @made.register("disc")
    class Disc:
        def __init__(self, *, radius: float, colour: str = "red", sides: int | None = None) -> None:
            self.radius, self.colour, self.sides = radius, colour, sides

    return made


def test_build_fills_defaults_and_context(shapes: Registry) -> None:
    disc = shapes.build({"name": "disc", "radius": 2}, colour="blue", unrelated=1)
    assert (disc.radius, disc.colour, disc.sides) == (2.0, "blue", None)
    assert shapes.build({"name": "disc", "radius": 2, "colour": "green"}, colour="blue").colour == "green"


def test_arguments_are_complete(shapes: Registry) -> None:
    assert shapes.arguments({"name": "disc", "radius": 1}) == ("disc", {"radius": 1.0, "colour": "red", "sides": None})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("dish", ["unknown shape 'dish'", "did you mean 'disc'"]),
        ({"radius": 1}, ["has no 'name'", "disc"]),
        ({"name": "disc"}, ["radius", "required"]),
        ({"name": "disc", "radius": 1, "color": "x"}, ["'color'", "did you mean 'colour'"]),
        ({"name": "disc", "radius": "big"}, ["radius", "'big'"]),
    ],
)
def test_bad_entries_are_named(shapes: Registry, config: object, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes.build(config)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


def test_arguments_added_later_are_left_out_where_they_have_their_default() -> None:
    """Configs that were saved before the argument existed stay equal to those of today."""
    shapes: Registry = Registry("shape")

    @shapes.register("square")
    class Square:
        def __init__(self, *, side: float = 1.0, turn: Annotated[Finite, LATER] = 0.0) -> None:
            self.side, self.turn = side, turn

    assert shapes.ranges("square") == {"turn": "finite"}
    for same in ({"name": "square"}, {"name": "square", "turn": 0}):
        entry = shapes.entry(same)
        assert entry.config == {"name": "square", "side": 1.0}
        assert entry.build().turn == 0.0
    turned = shapes.entry({"name": "square", "turn": 2})
    assert turned.config == {"name": "square", "side": 1.0, "turn": 2.0}
    assert turned.filled(turn=3.0).build().turn == 2.0


def test_register_refuses_positional_arguments_and_taken_names(shapes: Registry) -> None:
    with pytest.raises(TypeError, match="keyword-only"):

        @shapes.register("square")
        class Square:
            def __init__(self, side: float) -> None: ...

    with pytest.raises(ConfigError, match=r"shape 'disc' is registered twice: .*Disc and .*Other"):

        @shapes.register("disc")
        class Other:
            def __init__(self) -> None: ...


def test_a_class_of_the_same_name_in_another_module_is_refused(shapes: Registry) -> None:
    elsewhere = type("Disc", (), {"__module__": "elsewhere", "__qualname__": shapes.get("disc").__qualname__})
    with pytest.raises(ConfigError, match=r"registered twice: .* and elsewhere\."):
        shapes.register("disc")(elsewhere)


def test_plugin_file_registers_a_component(tmp_path: Path) -> None:
    plugin = tmp_path / "my_parts.py"
    plugin.write_text(
        "from imu_video.registry import losses\n"
        "@losses.register('plugin_test_loss')\n"
        "class Mine:\n"
        "    def __init__(self, *, weight: float = 1.0) -> None:\n"
        "        self.weight = weight\n"
    )
    load_plugin(plugin)
    load_plugin(plugin)  # a second time changes nothing
    assert registry.losses.build({"name": "plugin_test_loss", "weight": 3}).weight == 3.0
    del registry.losses._classes["plugin_test_loss"]


def test_broken_plugin_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_plugin(tmp_path / "absent.py")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load_plugin(broken)


def install(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name=f"theirs{number}", value=value, group=group) for number, value in enumerate(values)]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", installed)
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    monkeypatch.setattr(registry, "_broken_plugins", {})


def test_a_broken_installed_plugin_is_a_warning_and_only_its_components_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "half_a_plugin.py").write_text(
        "from imu_video.registry import losses\n"
        "@losses.register('half_loss')\n"
        "class Half:\n"
        "    def __init__(self) -> None: ...\n"
        "raise SystemExit('no licence')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, "a_module_that_does_not_exist", "half_a_plugin")
    filters: Registry = Registry("filter", "imu_video.transforms")
    others: Registry = Registry("other filter", "imu_video.transforms")
    assert filters.names() == others.names() == []
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, "each once, however many registries are read"
    assert "installed plugin 'theirs0' (a_module_that_does_not_exist) failed to import: ModuleNotFound" in messages[0]
    assert "'theirs1' (half_a_plugin) failed to import: SystemExit: no licence" in messages[1]
    assert registry.losses.get("info_nce")
    with pytest.raises(
        ConfigError, match=r"unknown filter 'median'.*; installed plugin 'theirs0' .*ModuleNotFoundError"
    ):
        filters.get("median")
    with pytest.raises(ConfigError, match=r"unknown loss 'half_loss'.*theirs1.*no licence"):
        registry.losses.get("half_loss")


def test_the_hash_of_a_plugin_is_that_of_the_code_that_was_loaded(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    text = "from imu_video.registry import losses\n@losses.register('hashed_loss')\nclass Mine:\n    factor = 1\n"
    text += "    def __init__(self) -> None: ...\n"
    plugin.write_text(text)
    load_plugin(plugin)
    try:
        mine = registry.losses.get("hashed_loss")
        plugin.write_text(text.replace("1", "2"))
        assert registry.source_hash(mine) == hashlib.sha256(text.encode()).hexdigest()
        assert inspect.getsourcefile(mine) == str(plugin)
    finally:
        del registry.losses._classes["hashed_loss"]
