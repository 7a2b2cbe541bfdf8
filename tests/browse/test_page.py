"""The browsing page in a real browser: the cursor follows the clip, filters work, nothing leaves the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from imu_video.browse.page import render, write_page
from imu_video.errors import ShardError
from imu_video.runtime.text import plain
from imu_video.shards.schema import Index
from tests.hostile import HOSTILE as NAMES
from tests.hostile import Page

HOSTILE = "sit </script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_file(folder: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "deep" / "page.html"
    assert write_page(folder, out, most=100) == 15
    return out


@pytest.fixture
def page(browser: Any, page_file: Path) -> Any:
    """The page, opened; the test fails when its script complains or it asks for anything but itself."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.set_default_timeout(300_000)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}") or dialog.dismiss())
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    _wait(opened, READY)
    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    opened.close()


def _wait(page: Any, expression: str) -> None:
    """Poll from outside: the page's policy forbids the evaluation that wait_for_function relies on."""
    for _ in range(4800):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never true: {expression}")


READY = "[...document.querySelectorAll('video')].every(v => v.readyState >= 2)"


def _open(page: Any, key: str) -> None:
    page.click(f"#list li[data-key={key}]")
    _wait(page, READY)


def test_nothing_of_the_data_is_parsed_as_html(folder: Index, page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert text.count("</script>") == 2
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", text)
    assert "default-src 'none'" in text
    title = render({"title": "<b>", "samples": []})
    assert "<title>&lt;b&gt;: samples</title>" in title


def test_unknown_split_and_no_half_page(folder: Index, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no split 'tset'"):
        write_page(folder, tmp_path / "page.html", split="tset")
    assert list(tmp_path.iterdir()) == []


def test_cursor_follows_the_video(page: Any) -> None:
    _open(page, "d-p0-00001")
    frame = 0.1
    look = (
        "() => new Promise(done => requestAnimationFrame(() => done([document.querySelector('video')"
        ".currentTime, ...[...document.querySelectorAll('.cursor')].map(c => Number(c.dataset.time))])))"
    )
    seen = [page.evaluate(look)]  # before it plays: on a loaded machine it may have ended at the next look
    page.click("#play")
    for _ in range(4):
        page.wait_for_timeout(250)
        seen.append(page.evaluate(look))
    if not page.evaluate("document.querySelector('video').ended"):
        page.click("#play")
    times = [video for video, *_ in seen]
    assert times == sorted(times)
    assert times[-1] > times[0]
    for video, *cursors in seen:
        assert len(cursors) == 2  # two devices
        assert all(abs(cursor - video) <= frame for cursor in cursors)
    left, width, shown = page.evaluate(  # at one moment: the pause may still be on its way
        "() => { const c = document.querySelector('.cursor');"
        " return [parseFloat(getComputedStyle(c).left), document.querySelector('.device').clientWidth,"
        " Number(c.dataset.time)]; }"
    )
    assert left / width == pytest.approx(shown / 2, abs=0.01)


def test_a_click_on_a_trace_goes_there_in_clip_and_skeleton(page: Any) -> None:
    _open(page, "d-p0-00001")
    before = page.evaluate("document.querySelector('.pose').toDataURL()")
    box = page.locator(".device canvas").first.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 20)
    _wait(page, "!document.querySelector('video').seeking")
    assert page.evaluate("document.querySelector('video').currentTime") == pytest.approx(1.5, abs=0.02)
    assert float(page.get_attribute(".cursor", "data-time")) == pytest.approx(1.5, abs=0.02)
    assert page.evaluate("document.querySelector('.pose').toDataURL()") != before
    # frame 15 of 20, whose grey level is known: the picture itself moved
    grey = page.evaluate(
        "() => { const v = document.querySelector('video'), c = document.createElement('canvas');"
        " c.width = c.height = 8; const d = c.getContext('2d'); d.drawImage(v, 0, 0, 8, 8);"
        " return d.getImageData(4, 4, 1, 1).data[0]; }"
    )
    assert grey == pytest.approx(20 + 180 * 15 / 19, abs=12)


def test_filters_by_person_label_placement_and_reason(page: Any) -> None:
    def keys() -> list[str]:
        return page.eval_on_selector_all("#list li", "all => all.map(e => e.dataset.key)")

    assert len(keys()) == 15
    page.select_option("#filter-subject", "p1")
    assert keys() == [f"d-p1-{n:05d}" for n in range(5)]
    page.select_option("#filter-placement", "wrist")
    assert keys() == ["d-p1-00001", "d-p1-00003"]
    page.select_option("#filter-reason", "waist:flat")
    assert keys() == ["d-p1-00003"]
    assert "waist:flat" in page.inner_text("#flags")
    page.select_option("#filter-label", "walk")
    assert keys() == []
    assert page.is_visible("#empty")
    for name in ("subject", "placement", "reason"):
        page.select_option(f"#filter-{name}", "")
    assert len(keys()) == 9
    page.select_option("#filter-label", HOSTILE)
    assert len(keys()) == 6
    page.select_option("#filter-split", "test")
    assert keys() == ["d-p2-00001", "d-p2-00003"]


def test_facts_sync_and_keyboard(page: Any) -> None:
    _open(page, "d-p0-00001")
    assert "score 0.800" in page.inner_text("main")
    assert page.inner_text("#list li[aria-selected=true]").startswith(HOSTILE)
    page.keyboard.press("j")
    assert page.get_attribute("#list li[aria-selected=true]", "data-key") == "d-p0-00002"
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert page.get_attribute("#list li[aria-selected=true]", "data-key") == "d-p0-00000"
    assert page.locator("video").count() == 0  # this sample has no clip; the skeleton plays by the clock
    page.keyboard.press(" ")
    _wait(page, "Number(document.querySelector('.cursor').dataset.time) > 0.2")
    page.keyboard.press(" ")


def test_hostile_names_stay_inside_the_data_of_the_page() -> None:
    kept = Page(render({"title": "walk", "samples": []})).tags
    for name in NAMES:
        page = render({"title": name, "facts": [[name, name]], "samples": [{"label": name, "tags": {"a": name}}]})
        read = Page(page)
        assert read.tags == kept, name
        assert read.addresses == []
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\udc80]", page)
        content = json.loads(page.split('id="data">')[1].split("</script>")[0])
        assert content["samples"][0] == {"label": plain(name), "tags": {"a": plain(name)}}
