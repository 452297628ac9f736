"""Reading a page as a browser does: well-formed or not, what it loads, and what it says where."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """A page.

    Attributes:
        wrong: Tags that are closed out of order or never.
        loads: What each tag would load: the tag and the address.
        ids: All names of places.
        sections: What is said in each section with a name.
        rows: The cells of each table's rows, by the section.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.sections: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.tags: list[str] = []
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()
        self.wrong += self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.tags.append(tag)
        if len(known) != len(attributes):
            self.wrong.append(f"{tag}: an attribute twice")
        self.ids += [known["id"] or ""] if "id" in known else []
        self.loads += [(tag, known[name] or "") for name in ("src", "href", "srcset", "data") if name in known]
        if tag == "section":
            self._section = known.get("id") or ""
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self.rows[self._section][-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"/{tag}")
        if tag == "section":
            self._section = ""

    def handle_data(self, text: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.sections[self._section] = self.sections.get(self._section, "") + text
        if self._section in self.rows and {"td", "th"} & {*self._open}:
            self.rows[self._section][-1][-1] += text
