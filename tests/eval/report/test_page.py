"""The report in a real browser: nothing runs, nothing leaves, every section is there, and a phone can read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval import cli

ENCODER, LABELS, SHIFT = ": enc on made", ": all encoders on made", ": scenario people on made"
TITLES = (
    *(f"{title}{ENCODER}" for title in ("Summary", "Few-shot", "Paired differences")),
    *(f"{title}{ENCODER}" for title in ("Results per subject", "Results per class", "Calibration")),
    *(f"{title}{ENCODER}" for title in ("Confusion matrices", "Zero-shot from video")),
    f"Zero-shot by something <new>{ENCODER}",
    f"Limited labels{LABELS}",
    f"Calibration, limited labels{LABELS}",
    *(f"{title}{SHIFT}" for title in ("Summary", "Domain shift", "Calibration, domain shift")),
    "Source validation against target: people",
    "Failure cases",
    "Data and features",
    "Evaluation protocol",
    "Provenance",
)
WORDS_ONLY = ("Summary", "Evaluation protocol")
"""Sections without a table or figure."""
FIGURES_ONLY = ("Data and features", "Confusion matrices")
"""Sections that Markdown leaves out."""


@pytest.fixture(scope="module")
def report(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report"
    words = ["report", made.results, out, "--encoder", made.encoder, "--data", made.data]
    done = CliRunner().invoke(cli.app, [str(w) for w in [*words, "--ood-folder", made.benchmark]])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return out


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened; the test fails where anything runs, complains or asks for anything but the page itself."""
    opened = browser.new_page(viewport={"width": request.param, "height": 800})
    opened.set_default_timeout(300_000)
    complaints: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

    def refuse(dialog: Any) -> None:
        complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    opened.on("dialog", refuse)
    opened.on("request", lambda sent: asked.append(sent.url))
    uri = (report / "report.html").as_uri()
    opened.goto(uri)
    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [uri]
    opened.close()


def test_every_section_has_its_anchor_tables_and_figures(page: Any) -> None:
    titles = page.eval_on_selector_all("section > h2", "all => all.map(e => e.textContent)")
    assert titles == list(TITLES)
    links = page.eval_on_selector_all("nav a", "all => all.map(a => [a.getAttribute('href').slice(1), a.textContent])")
    for (anchor, text), title in zip(links, TITLES, strict=True):
        assert text == title
        assert page.locator(f"section#{anchor} > h2").inner_text() == title
    for title in (t for t in TITLES if not t.startswith(WORDS_ONLY)):
        section = page.locator("section", has=page.locator("h2", has_text=re.compile(f"^{re.escape(title)}$")))
        assert section.locator("table, img").count() > 0, title
    broken = page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => '', () => i.alt)))"
        ".then(all => all.filter(Boolean))"
    )
    assert broken == []


def test_hostile_names_are_text_and_nothing_else(page: Any) -> None:
    assert page.locator("script, iframe, object, link, [onerror]").count() == 0
    assert page.locator("img:not([src^='data:image/'])").count() == 0
    shown = page.eval_on_selector_all("td", "all => all.map(e => e.textContent)")
    assert any("<script>alert(1)</script>" in text for text in shown)


def test_nothing_is_wider_than_the_screen(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= screen


def test_clips_of_failures_play(page: Any) -> None:
    cards = page.locator("article.card")
    assert cards.count() > 0
    assert "predicted" in cards.first.inner_text()
    assert page.locator("article.card img").count() >= cards.count(), "every case shows its trace"
    clip = page.locator("article.card video").first
    clip.scroll_into_view_if_needed()
    for _ in range(4800):
        if clip.evaluate("v => v.readyState") >= 1:
            break
        page.wait_for_timeout(25)
    assert clip.evaluate("v => v.duration") == pytest.approx(2.0, abs=0.25)


def test_markdown_holds_the_same_sections_and_no_markup(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    for title in TITLES:
        if title.startswith(FIGURES_ONLY):
            continue
        assert f"## {title.replace('<', '&lt;')}\n" in text
    assert "run\\|fast" in text
