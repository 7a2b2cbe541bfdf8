"""The registry derives schemas from signatures and refuses what does not fit them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from imu_video import registry
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


def test_a_broken_installed_plugin_is_named_at_every_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name="theirs", value="a_module_that_does_not_exist", group=group)]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", installed)
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    filters: Registry = Registry("filter", "imu_video.transforms")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"installed plugin 'theirs' .*ModuleNotFoundError"):
            filters.names()
