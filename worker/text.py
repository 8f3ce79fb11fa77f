"""Text and bytes of others, made fit to be shown: in a line of a log, on a terminal, in a header, on a page."""

from collections.abc import Iterator


def printable(text: str) -> str:
    r"""Return the text with each unprintable character escaped, as in `\n`: it stays on its line and steers nothing."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def hex_lines(value: bytes, width: int) -> Iterator[str]:
    """Yield the lines of a hex dump: the offset, up to `width` bytes, and what of these is printable ASCII."""
    for start in range(0, len(value), width):
        row = value[start : start + width]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * width}} {text}"
