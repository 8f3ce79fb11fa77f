"""Text of others, made fit for a line: of a log, of a terminal, of a header."""


def printable(text: str) -> str:
    r"""Return the text with each unprintable character escaped, as in `\n`: it stays on its line and steers nothing."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
