"""Bytes of others as pages show them: as text in which nothing stays invisible, and as a hex dump."""

import codecs
from itertools import groupby
from typing import Final, NamedTuple, Self

from worker.text import hex_lines, printable

SHOWN_MAX_BYTES: Final = 65_536
"""A value within its limit is shown whole; of a larger one the start, as a page of megabytes helps nobody."""

_HEX_WIDTH: Final = 8  # fits on a phone


class Piece(NamedTuple):
    r"""Part of a text; `is_escape` tells what stands for something unprintable from a `\n` that was sent so."""

    text: str
    is_escape: bool


class Raw(NamedTuple):
    """Bytes to be shown, `more_bytes` of which are left out."""

    pieces: list[Piece]
    hex: str
    more_bytes: int

    @classmethod
    def of(cls, value: bytes) -> Self:
        """Return how to show a value."""
        shown = value[:SHOWN_MAX_BYTES]
        more_bytes = len(value) - len(shown)
        return cls(to_pieces(shown, is_cut=more_bytes > 0), "\n".join(hex_lines(shown, _HEX_WIDTH)), more_bytes)


def to_pieces(value: bytes, *, is_cut: bool = False) -> list[Piece]:
    """
    Return a value as text with everything unprintable escaped; where a line of it ends, one ends here as well.

    Args:
        is_cut: the value goes on, so its last bytes may be the start of a character, and are left out then.
    """
    # bytes that are no text become lone surrogates, which are not printable either
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(value, final=not is_cut)
    return [
        Piece("".join(characters) if is_shown else "".join(map(_escape, characters)), not is_shown)
        for is_shown, characters in groupby(text, str.isprintable)
    ]


def _escape(character: str) -> str:
    if character == "\n":
        return "\\n\n"
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return printable(character)
