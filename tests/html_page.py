"""Pages as a parser sees them: their elements, links, figures and text."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A parsed page: its elements, links and text; fails on one that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.script = ""
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        assert text.startswith("<!doctype html>")
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """Take in an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"th", "td"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        """Close the element opened last."""
        assert self._open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        """Take in an element of a drawing that closes itself."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Take in text."""
        if self._open and self._open[-1] == "script":
            self.script += data.strip()
        else:
            self.words.append(data)
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data.strip()

    @property
    def text(self):
        """The text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        """Return the attributes of each element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def link(self, rel):
        """Return where the link of this relation leads; None when there is none."""
        return next((attributes["href"] for attributes in self.all("a") if attributes.get("rel") == rel), None)
