"""Parts of a build merge into the bytes of an unsplit one, or into nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imu_video.errors import ConfigError, ShardError
from imu_video.shards.building.build import BuildConfig, build, build_part
from imu_video.shards.building.encode import tar_of
from imu_video.shards.building.merge import merge_parts
from imu_video.shards.schema import Index

Maker = Callable[..., BuildConfig]
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def whole(people_config: Maker, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(people_config(), tmp_path_factory.mktemp("whole") / "data")


@pytest.mark.parametrize("parts", [1, 3, 6])
def test_any_division_gives_the_bytes_of_an_unsplit_build(
    people_config: Maker, whole: Index, files_of: Tree, tmp_path: Path, parts: int
) -> None:
    out = tmp_path / "data"
    for number in range(parts, 0, -1):  # in any order
        folder = build_part(people_config(), out, (number, parts))
        assert folder == tmp_path / "data.parts" / f"{number}-of-{parts}"
    assert not out.exists()
    index = merge_parts(out)
    assert index.digest == whole.digest
    assert files_of(out) == files_of(whole.root)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.fixture
def parts(people_config: Maker, tmp_path: Path) -> Path:
    for number in (1, 2):
        build_part(people_config(), tmp_path / "data", (number, 2))
    return tmp_path / "data"


def test_a_finished_part_is_only_looked_at(people_config: Maker, parts: Path, logged: Any) -> None:
    build_part(people_config(), parts, (1, 2))
    assert logged.progress == []
    assert "2 of 2 subjects are finished" in logged.lines[0]


def test_what_does_not_fit_together_is_refused(people_config: Maker, parts: Path) -> None:
    root = parts.with_name("data.parts")
    shutil.move(root / "2-of-2", root.with_name("aside"))
    with pytest.raises(ConfigError, match=r"part 2/2 is missing(.|\n)*--part 2/2"):
        merge_parts(parts)
    build_part(people_config(seed=3), parts, (2, 2))
    with pytest.raises(ConfigError, match=r"part 2/2 was built from another config(.|\n)*--part 2/2 --force"):
        merge_parts(parts)
    shutil.rmtree(root / "2-of-2")
    shutil.move(root.with_name("aside"), root / "2-of-2")
    build_part(people_config(), parts, (1, 3))
    with pytest.raises(ConfigError, match="contains divisions into 2 and 3 parts"):
        merge_parts(parts)
    shutil.rmtree(root / "1-of-3")
    shutil.copytree(root / "2-of-2", root / "3-of-3")
    shutil.move(root / "2-of-2", root / "2-of-3")
    shutil.move(root / "1-of-2", root / "1-of-3")
    with pytest.raises(ConfigError, match="1-of-3 is not part 1/3"):  # renamed by hand: a subject would be in it twice
        merge_parts(parts)
    assert not parts.exists()


def test_an_unfinished_or_damaged_part_is_named_and_continued(
    people_config: Maker, parts: Path, whole: Index, files_of: Tree
) -> None:
    part = parts.with_name("data.parts") / "2-of-2"
    tar = part / tar_of("p1")
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ShardError, match=r"2-of-2 \(subjects missing: 1\)(.|\n)*--part 2/2"):
        merge_parts(parts)
    assert not parts.exists()
    assert part.is_dir()
    build_part(people_config(), parts, (2, 2))
    merge_parts(parts)
    assert files_of(parts) == files_of(whole.root)


def test_merging_needs_parts_and_a_free_name(people_config: Maker, parts: Path, whole: Index, files_of: Tree) -> None:
    with pytest.raises(ConfigError, match="no parts to merge"):
        merge_parts(parts.with_name("other"))
    parts.mkdir()
    (parts / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="exists and is not a data folder"):
        merge_parts(parts, force=True)
    (parts / "thesis.tex").unlink()
    build(people_config(seed=5), parts)
    with pytest.raises(ConfigError, match="exists"):
        merge_parts(parts)
    merge_parts(parts, force=True)
    assert files_of(parts) == files_of(whole.root)


def test_a_split_without_windows_leaves_the_parts(people_config: Maker, tmp_path: Path) -> None:
    config = people_config(window={"seconds": 9.0, "rate_hz": 20})
    build_part(config, tmp_path / "data", (1, 1))
    with pytest.raises(ShardError, match="has no window"):
        merge_parts(tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.parts"]


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0)])
def test_a_part_lies_within_its_number(people_config: Maker, tmp_path: Path, part: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="expected i/n"):
        build_part(people_config(), tmp_path / "data", part)


def test_parts_know_their_job(parts: Path, whole: Index) -> None:
    job = json.loads((parts.with_name("data.parts") / "1-of-2" / "job.json").read_text())
    assert job["config_digest"] == whole.build.config_digest
    assert job["part"] == [1, 2]
    assert job["people"] == {"train": ["p0", "p1"], "val": ["p3"], "test": ["p2"]}
