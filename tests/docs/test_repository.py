"""Files for contributors and services: workflows, templates, citation, hooks; their content agrees with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_are_complete(path: Path) -> None:
    workflow = load(path)
    assert workflow[True], "the key `on` is read as a boolean by YAML 1.1"
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        assert "@" in step.get("uses", "@"), "actions are pinned to a version"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_run_targets_that_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    for step in steps(path):
        for call in re.findall(r"^make (.+)$", step.get("run", ""), flags=re.M):
            assert {word for word in call.split() if "=" not in word} <= targets


def test_tested_python_versions_are_the_classifiers() -> None:
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    jobs = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared
    assert PROJECT["requires-python"] == f">={declared[0]}"
    oldest = [s["with"]["python-version"] for s in jobs["oldest"]["steps"] if "python-version" in s.get("with", {})]
    assert oldest == [declared[0]]


def test_dependencies_have_lower_bounds() -> None:
    """The job `oldest` can only resolve what has one."""
    assert [d for d in PROJECT["dependencies"] if not re.search(r">=\d", d)] == []


def test_issue_templates_are_forms() -> None:
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = load(path)
        if path.name == "config.yml":
            assert all(link["url"].startswith(PROJECT["urls"]["Repository"]) for link in form["contact_links"])
            continue
        assert form["name"]
        assert form["description"]
        named = [field["id"] for field in form["body"]]
        assert len(named) == len(set(named))


def test_dependabot_watches_actions_and_packages() -> None:
    watched = {entry["package-ecosystem"] for entry in load(ROOT / ".github" / "dependabot.yml")["updates"]}
    assert watched == {"github-actions", "pip"}


def test_citation_names_this_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_hooks_of_pre_commit_need_no_file_of_the_clone() -> None:
    """A fresh clone has no .venv: remote hooks are pinned, local ones go through make."""
    for repository in load(ROOT / ".pre-commit-config.yaml")["repos"]:
        if repository["repo"] == "local":
            assert all(hook["entry"].startswith("make ") for hook in repository["hooks"])
        else:
            assert re.fullmatch(r"v\d+(\.\d+)+", repository["rev"])


def test_the_changelog_has_the_sections_of_its_format() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.split(r"^## ", text, flags=re.M)[1]
    assert first.startswith(("[Unreleased]", f"[{PROJECT['version']}]"))
    sections = re.findall(r"^### (.+)$", first, flags=re.M)
    assert sections
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert len(sections) == len(set(sections))


def test_configs_that_pages_name_exist() -> None:
    """Pages follow when a config moves; one removed script is named, as removed."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, path)
        for page in pages
        for path in re.findall(r"(?<![\w/])configs/[\w/.-]*\w", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 20, "the pattern finds the paths"
    missing = {(page, path) for page, path in named if not (ROOT / path).exists()}
    assert missing == {("CHANGELOG.md", "configs/demo.sh")}
