"""Every study has its parts, and every link of its pages, and every link to them, leads to a file and a heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(p.parent for p in (ROOT / "studies").glob("*/run.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "studies").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub forms them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("folder", STUDIES, ids=lambda p: p.name)
def test_a_study_has_its_parts(folder: Path) -> None:
    readme = (folder / "README.md").read_text()
    assert list((folder / "configs").rglob("*.yaml")) or "`--seed`" in readme, "what determines the numbers"
    for part in ("**Question.**", "**Data.**", "**Method.**", "**Commands**", "**Answer.**", "](results.md)"):
        assert part in readme, part
    assert f"python studies/{folder.name}/run.py" in readme
    assert f"({folder.name}/README.md)" in (ROOT / "studies" / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_studies_and_to_studies_lead_somewhere(page: Path) -> None:
    own = page.is_relative_to(ROOT / "studies")
    for link in LINK.findall(page.read_text()):
        if "://" in link or not (own or "studies/" in link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
