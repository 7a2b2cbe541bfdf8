"""Bounded YAML: nodes and content of one document, with limits on depth, aliases and numbers; no files."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from imu_video.runtime.content import DEPTH_LIMIT, TOO_DEEP, Unacceptable, shown

ALIAS_LIMIT = 1000
"""Most aliases of one document."""
EXPANDED_LIMIT = 300_000
"""Most nodes of one document, after every alias is replaced by the content of its anchor.

It bounds the time: parser, composer and constructor take about 10 microseconds for each node. A `dataset.yaml` that
lists 20,000 recordings has 240,000 nodes and more.
"""
_LONGEST_NUMBER = 100

if yaml.__with_libyaml__:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

_MERGE, _VALUE = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML document, with their lines; None for an empty one.

    Raises:
        Unacceptable: not YAML, or beyond one of the limits.
    """
    return _run(text, content=False)


def construct(text: str) -> Any:
    """The content of a YAML document; see `parse_yaml` of documents.

    Raises:
        Unacceptable: not YAML, or beyond one of the limits.
    """
    return _run(text, content=True)


def _run(text: str, *, content: bool) -> Any:
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return root if root is None or not content else loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        character = f"character {chr(error.character)!r}" if 0 <= error.character < 0x110000 else "a character"
        raise Unacceptable(f"not valid YAML: {character} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        if "exceeded maximum nesting" in what:  # libyaml reads ahead and finds it first
            raise Unacceptable(TOO_DEEP, line=mark.line + 1 if mark else None) from error
        raise Unacceptable(f"not valid YAML: {what}", line=mark.line + 1 if mark else None) from error
    except Unacceptable:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, KeyError, IndexError) as error:
        # dates such as 2001-99-99 and escapes beyond Unicode raise plain Python errors inside the parser
        raise Unacceptable(f"not valid YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()


_Base: Any
if yaml.__with_libyaml__:
    # Events of libyaml are several times faster; composer and constructor stay those of Python, which `_Loader` counts.
    class _Base(Composer, CParser, SafeConstructor, Resolver):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

else:
    _Base = yaml.SafeLoader


class _Loader(_Base):
    """A safe loader that counts. Composition is recursive, at most `DEPTH_LIMIT` levels deep."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._aliases = self._nodes = 0
        self._open: set[str] = set()
        self._weights: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self._aliases += 1
            if event.anchor in self._open:
                raise Unacceptable(f"the alias *{event.anchor} is inside its own anchor &{event.anchor}", line=line)
            if self._aliases > ALIAS_LIMIT:
                raise Unacceptable(f"more than {ALIAS_LIMIT} aliases", line=line)
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise Unacceptable(
                f"the tag {event.tag!r} is not supported",
                line=line,
                hint="remove it; put texts that YAML reads as another type in quotation marks",
            )
        self._nodes += 1
        if self._nodes > EXPANDED_LIMIT:
            raise Unacceptable(f"more than {EXPANDED_LIMIT} keys and values", line=line)
        self._depth += 1
        if self._depth > DEPTH_LIMIT + 1:  # the scalars inside the last level
            raise Unacceptable(TOO_DEEP, line=line)
        if event.anchor is not None:
            self._open.add(event.anchor)
        node = super().compose_node(parent, index)
        self._open.discard(event.anchor)
        self._depth -= 1
        self._weigh(node, line)
        if isinstance(node, yaml.MappingNode):
            self._refuse_repetition(node)
        return node

    def _weigh(self, node: Any, line: int) -> None:
        weight = 1
        if isinstance(node, yaml.SequenceNode):
            weight += sum(self._weights[id(child)] for child in node.value)
        elif isinstance(node, yaml.MappingNode):
            weight += sum(self._weights[id(child)] for pair in node.value for child in pair)
        if weight > EXPANDED_LIMIT:
            raise Unacceptable(f"more than {EXPANDED_LIMIT} values once its aliases are expanded", line=line)
        self._weights[id(node)] = weight

    def _refuse_repetition(self, node: yaml.MappingNode) -> None:
        """Refuse two equal keys, of which the parser would keep the last: also ``1`` and ``01``."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # not hashable: the constructor refuses it
            line = key.start_mark.line + 1
            name = key.value if key.tag in (_MERGE, _VALUE) else self.construct_object(key)
            if name in lines:
                raise Unacceptable(
                    f"the key {shown(key.value)} is given twice, first in line {lines[name]}",
                    line=line,
                    hint="put the content of both under one key",
                )
            lines[name] = line

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return super().construct_yaml_int(_short(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return super().construct_yaml_float(_short(node))


def _short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    """The node of a number, unless it is so long that converting it takes minutes (``1:1:1:...``)."""
    if len(node.value) > _LONGEST_NUMBER:
        raise Unacceptable(
            f"a number of {len(node.value)} digits, expected at most {_LONGEST_NUMBER}", line=node.start_mark.line + 1
        )
    return node


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
