"""File patterns with variables in braces: every reading of a path, and names made of its words; no folder is read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

_VARIABLE = re.compile(r"({\w+}|\*)")
_LETTERS = {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "œ": "oe", "đ": "d", "Đ": "D"}
_MOST = 10_000  # readings that are tried for one path; a pattern of several `*` has many that do not differ


def composed(text: str) -> str:
    """Text in one Unicode form (NFC): some systems write an umlaut as one character, others as two."""
    return unicodedata.normalize("NFC", text)


def plain_name(word: str) -> str:
    """A word of a file name as part of a recording's name: letters, digits, ``-`` and ``_`` of ASCII.

    Example:
        >>> plain_name("Žaneta"), plain_name("wash hand "), plain_name("walk.2"), plain_name("走")
        ('Zaneta', 'wash_hand', 'walk_2', 'u8d70')
    """
    out = []
    for letter in unicodedata.normalize("NFKD", composed(word).strip()):
        if letter.isascii():
            out.append(letter if letter.isalnum() or letter in "-_" else "_")
        elif letter in _LETTERS:
            out.append(_LETTERS[letter])
        elif not unicodedata.combining(letter):
            out.append(f"u{ord(letter):x}")
    return "".join(out) or "_"


def placement_name(text: str) -> str:
    """A placement as data folders hold it: lower case, ``_`` for spaces and hyphens.

    Example:
        >>> placement_name("Left Wrist"), placement_name("HIP")
        ('left_wrist', 'hip')
    """
    return re.sub("[ -]+", "_", composed(text).strip().lower())


class Template:
    """A path relative to the folder: ``{variables}`` and ``*`` stand for any text without ``/``.

    The ending of the file matches in upper and lower case.

    Args:
        text: the pattern.
        known: variable -> regular expression that its whole text must match.

    Example:
        >>> Template("{subject}/{recording}_{placement}.csv").readings("s 01/walk.2_Hip.CSV", ["hip"])
        [{'subject': 's 01', 'recording': 'walk.2', 'placement': 'hip'}]
        >>> len(Template("{subject}-{recording}.csv").readings("p1-2-walk.csv"))
        2
    """

    def __init__(self, text: str, known: Mapping[str, str] | None = None) -> None:
        self.text = composed(text).removeprefix("./")
        self.variables = tuple(dict.fromkeys(re.findall(r"{(\w+)}", self.text)))
        self._known = {name: re.compile(pattern) for name, pattern in (known or {}).items()}
        self._pieces = [piece for piece in _VARIABLE.split(self.text) if piece]
        # The ending is what follows the last dot of the last piece; the readers of files ignore its case as well.
        last = self._pieces[-1] if self._pieces else ""
        self._ending = last[last.rindex(".") :] if "." in last and not _VARIABLE.fullmatch(last) else ""
        self.literals = sum(len(piece) for piece in self._pieces if not _VARIABLE.fullmatch(piece))
        quick = "".join("[^/]*" if _VARIABLE.fullmatch(p) else re.escape(p) for p in self._cut(self._pieces))
        self._quick = re.compile(quick, re.DOTALL)

    def _cut(self, pieces: list[str]) -> list[str]:
        if not self._ending:
            return pieces
        *front, last = pieces
        last = last.removesuffix(self._ending)
        return [*front, last] if last else front

    def readings(self, path: str, placements: Iterable[str] | None = None) -> list[dict[str, str]]:
        """Every way to divide a path into the words of the variables, without repeats.

        Args:
            path: relative to the folder, ``/`` between its parts.
            placements: names that ``{placement}`` may have in `placement_name`'s form; any text if None. Of several
                that fit, the longest is taken: ``walk_left_wrist.csv`` is of ``left_wrist``, not of ``wrist``.
        """
        text = composed(path)
        if self._ending:
            if text[-len(self._ending) :].lower() != self._ending.lower():
                return []
            text = text[: -len(self._ending)]
        if not self._quick.fullmatch(text):
            return []
        allowed = None if placements is None else set(placements)
        found: list[dict[str, str]] = []
        for number, words in enumerate(self._divide(text, 0, self._cut(self._pieces), {}, allowed)):
            if words not in found:
                found.append(words)
            if number >= _MOST:
                break
        if allowed is not None and "placement" in self.variables and found:
            longest = max(len(words["placement"]) for words in found)
            found = [words for words in found if len(words["placement"]) == longest]
        return found

    def _divide(
        self, text: str, at: int, pieces: list[str], words: dict[str, str], placements: set[str] | None
    ) -> Iterator[dict[str, str]]:
        if not pieces:
            if at == len(text):
                yield dict(words)
            return
        piece, *rest = pieces
        if not _VARIABLE.fullmatch(piece):
            if text.startswith(piece, at):
                yield from self._divide(text, at + len(piece), rest, words, placements)
            return
        slash = text.find("/", at)
        end = len(text) if slash < 0 else slash
        name = piece[1:-1]
        for stop in range(at + (piece != "*"), end + 1):
            # The next piece of plain text must follow at once: most divisions end here.
            if rest and not _VARIABLE.fullmatch(rest[0]) and not text.startswith(rest[0], stop):
                continue
            if not rest and stop != len(text):
                continue
            if piece == "*":
                yield from self._divide(text, stop, rest, words, placements)
                continue
            word = text[at:stop].strip()
            if name == "placement":
                word = placement_name(word)
            if not self._fits(name, word, placements) or words.get(name, word) != word:
                continue
            yield from self._divide(text, stop, rest, {**words, name: word}, placements)

    def _fits(self, name: str, word: str, placements: set[str] | None) -> bool:
        if name == "placement" and placements is not None and word not in placements:
            return False
        pattern = self._known.get(name)
        return bool(word) and (pattern is None or pattern.fullmatch(word) is not None)

    def path(self, words: Mapping[str, str]) -> str:
        """The path for given words; ``*`` stays."""
        return re.sub(r"{(\w+)}", lambda match: words[match[1]], self.text)
