"""Pages of the site that are generated from code, and links into the repository; not the text of the other pages."""

from __future__ import annotations

import ast
import importlib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("imu_video", "pretrain", "eval")
_SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
COMMANDS = {name: target.partition(":")[0] for name, target in _SCRIPTS.items()}
# Markdown outside docs/ -> its page. Studies are added by `outside`.
OUTSIDE = {"CONTRIBUTING.md": "develop/contributing.md", "CHANGELOG.md": "develop/changelog.md"}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the sections of the navigation whose pages depend on the code."""
    filled = {
        "Commands": [{name: f"reference/commands/{name}.md"} for name in COMMANDS],
        "Python API": [{room: f"reference/api/{room}.md"} for room in rooms()],
        "Findings": findings(),
    }
    config.nav = _fill(config.nav, filled)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {f"reference/api/{room}.md": api_page(room, modules) for room, modules in rooms().items()}
    made |= {f"reference/commands/{name}.md": command_page(name, module) for name, module in COMMANDS.items()}
    made["start/examples.md"] = gallery_page()
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    for source, path in outside().items():
        files.append(File.generated(config, path, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site where there is one, else at the file on GitHub."""
    uri = page.file.src_uri
    sources = {path: source for source, path in outside().items()}
    if page.file.generated_by and uri not in sources:
        return markdown
    source = PurePosixPath(sources.get(uri, f"docs/{uri}"))

    def target(match: re.Match[str]) -> str:
        start, link, fragment, end = match.group(1), match.group(2), match.group(3) or "", match.group(4)
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            return match.group(0)
        path = os.path.normpath(source.parent / link)
        page_of = path.removeprefix("docs/") if path.startswith("docs/") else None
        if path in outside():
            found = outside()[path]
        elif page_of and files.get_file_from_path(page_of):
            found = page_of
        elif (ROOT / path).exists() and not path.startswith(".."):
            return f"{start}{config.repo_url}/blob/main/{path}{fragment}{end}"
        else:
            return match.group(0)  # left as it is: the strict build reports it
        return f"{start}{os.path.relpath(found, PurePosixPath(uri).parent)}{fragment}{end}"

    return LINK.sub(target, markdown)


def rooms() -> dict[str, list[str]]:
    """Every public package and its modules: a room inside a room is part of the outer one's page."""
    found: dict[str, list[str]] = {}
    for top in PACKAGES:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] == "__main__" or any(part.startswith("_") and part != "__init__" for part in parts):
                continue
            module = ".".join(part for part in parts if part != "__init__")
            if "configs" in parts or not ast.parse(path.read_text(encoding="utf-8")).body:
                continue
            room = ".".join(parts[:2]) if len(parts) > 2 else top
            found.setdefault(room, []).append(module)
    return found


def api_page(room: str, modules: list[str]) -> str:
    """The public names of the package, then one section per module."""
    lines = [f"# {room}", ""]
    if room in modules:
        lines += [*_package(room), *_public_names(room, set(modules))]
    for module in modules:
        if module != room:
            lines += [f"## {module}", ""]
            lines += _package(module) if _file(module).name == "__init__.py" else [f"::: {module}", ""]
    return "\n".join(lines)


def _package(name: str) -> list[str]:
    """A package's docstring only: what it re-exports is documented where it is defined."""
    return [f"::: {name}", "    options:", "      members: false", ""]


def _public_names(package: str, modules: set[str]) -> list[str]:
    """What users import from the package, each with a link to its section."""
    loaded, lines = importlib.import_module(package), []
    for name in getattr(loaded, "__all__", ()):
        value = getattr(loaded, name)
        home = getattr(value, "__module__", None)
        if home in modules and home != package and getattr(value, "__name__", None) == name and value.__doc__:
            summary = value.__doc__.strip().partition("\n")[0].replace("|", "\\|")
            lines.append(f"| [`{name}`][{home}.{name}] | {summary} |")
    return [f"| `from {package} import` | |", "|---|---|", *lines, ""] if lines else []


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def command_page(name: str, module: str) -> str:
    """Arguments and options of every command, from the typer app itself."""
    import typer

    app = importlib.import_module(module).app
    return "\n".join(_command(typer.main.get_command(app), name, level=1))


def _command(command: Any, name: str, *, level: int) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    yield from (f"{'#' * min(level, 4)} {name}", "")
    if command.help:
        yield from (_text(command.help), "")
    yield from ("```", " ".join(command.get_usage(context).removeprefix("Usage:").split()), "```", "")
    rows: dict[str, list[str]] = {"argument": [], "option": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and parameter.name not in ("help", "install_completion", "show_completion"):
            flags = " ".join(record[0].split()).replace("|", "\\|")
            rows[parameter.param_type_name].append(f"| `{flags}` | {_text(record[1], cell=True)} |")
    for kind, lines in rows.items():
        if lines:
            yield from (f"| {kind} | |", "|---|---|", *lines, "")
    # Not `command.commands`: a group may create its commands when they are looked up, as `imu-eval` does.
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, child)
        if not found.hidden:
            yield from _command(found, f"{name} {child}", level=level + 1)


def _text(text: str, *, cell: bool = False) -> str:
    text = text.replace("\f", "").replace("<", "&lt;")
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|") if cell else text.strip()


def gallery_page() -> str:
    """Every script of examples/ with its docstring; the first line of the docstring is the heading."""
    lines = [
        "# Examples",
        "",
        "Scripts that make their own data and finish in seconds; the test suite runs each of them.",
        "",
    ]
    for path in sorted((ROOT / "examples").glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        title, _, rest = (ast.get_docstring(tree) or path.stem).partition("\n")
        code = "\n".join(source.splitlines()[tree.body[0].end_lineno or 0 :]).strip()
        lines += [
            f"## {title.rstrip('.')}",
            "",
            rest.strip(),
            "",
            f'```python title="examples/{path.name}"',
            code,
            "```",
            "",
        ]
    return "\n".join(lines)


def outside() -> dict[str, str]:
    """Markdown files elsewhere in the repository -> their page."""
    found = dict(OUTSIDE)
    for path in sorted((ROOT / "studies").rglob("*.md")):
        name = path.relative_to(ROOT / "studies").with_name(path.name.replace("README", "index"))
        found[path.relative_to(ROOT).as_posix()] = f"findings/{name.as_posix()}"
    return found


def findings() -> list[Any]:
    """Navigation of the studies: the overview, then each study with its pages."""
    pages = [page for page in outside().values() if page.startswith("findings/")]
    folders = sorted({str(PurePosixPath(page).parent) for page in pages} - {"findings"})
    top: list[Any] = ["results.md", *(page for page in pages if str(PurePosixPath(page).parent) == "findings")]
    return top + [{_name(folder): sorted(p for p in pages if p.startswith(f"{folder}/"))} for folder in folders]


def _name(folder: str) -> str:
    return {"utd_mhad": "UTD-MHAD"}.get(
        PurePosixPath(folder).name, PurePosixPath(folder).name.replace("_", " ").capitalize()
    )


def _fill(entry: Any, filled: dict[str, list[Any]]) -> Any:
    if isinstance(entry, list):
        return [_fill(item, filled) for item in entry]
    if isinstance(entry, dict):
        return {key: filled.get(key, []) if value == [] else _fill(value, filled) for key, value in entry.items()}
    return entry
