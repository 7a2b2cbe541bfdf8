"""Division of a job into parts: shares are complete and disjoint, and an incomplete division is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imu_video.errors import ConfigError
from imu_video.runtime.parts import check_part, find_parts, part_folder, part_of, share


@pytest.mark.parametrize("of", [1, 2, 3, 7, 9])
def test_shares_are_disjoint_and_complete(of: int) -> None:
    shares = [share(range(7), number, of) for number in range(1, of + 1)]
    assert sorted(item for one in shares for item in one) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("number", "of"), [(0, 1), (-1, 2), (3, 2), (1, 0)])
def test_a_part_outside_its_division_is_refused(number: int, of: int) -> None:
    with pytest.raises(ConfigError, match=rf"part {number}/{of}: expected i/n with 1 <= i <= n"):
        check_part(number, of)


def test_parts_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(11, 0, -1):
        part_folder(tmp_path, number, 11).mkdir()
    (tmp_path / "notes").mkdir()  # not a part
    found = find_parts(tmp_path, command="build")
    assert list(found) == list(range(1, 12)), "10 and 11 follow 9, not 1"
    assert [part_of(folder) for folder in found.values()] == [f"{number}/11" for number in range(1, 12)]


def test_an_incomplete_division_is_refused_with_the_command_that_completes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no parts to merge(.|\n)*try: build OUT --part 1/4"):
        find_parts(tmp_path / "missing", command="build OUT")
    part_folder(tmp_path, 2, 4).mkdir()
    with pytest.raises(ConfigError, match=r"part 1/4, 3/4, 4/4 is missing(.|\n)*try: build OUT --part 1/4"):
        find_parts(tmp_path, command="build OUT")
    part_folder(tmp_path, 1, 3).mkdir()
    with pytest.raises(ConfigError, match="contains divisions into 3 and 4 parts"):
        find_parts(tmp_path, command="build OUT")
