"""XML from strangers: elements and text, nothing else (XML 1.0, fifth edition, without §2.8's document types).

Room: wire. A document type is where entities are declared, so none is read: no bomb of entities, no file or address
fetched. Size, depth, number of elements and length of a text are bounded. Names lose their namespace prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from ginnel.wire.read import Malformed

MAX_SIZE = 64 * 1024
MAX_DEPTH = 32
MAX_ELEMENTS = 2000
MAX_TEXT = 4096


@dataclass(slots=True)
class Element:
    """`text`: directly inside, without surrounding white space."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)

    def text_of(self, name: str) -> str:
        """Of the first child of that name; "": there is none."""
        found = self.child(name)
        return found.text if found is not None else ""

    def every(self, name: str) -> Iterator[Element]:
        """Elements of that name at any depth, in the document's order, this one included."""
        if self.name == name:
            yield self
        for child in self.children:
            yield from child.every(name)


class _Builder:
    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise Malformed("the XML is too deep or has too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, _: str) -> None:
        closed = self._open.pop()
        closed.text = closed.text.strip()

    def text(self, data: str) -> None:
        element = self._open[-1]
        if len(element.text) + len(data) > MAX_TEXT:
            raise Malformed(f"a text of the XML is longer than {MAX_TEXT}")
        element.text += data


def _refuse(*_: object) -> NoReturn:
    raise Malformed("the XML has a document type or an entity of its own")


def parse(body: bytes) -> Element:
    """The root element. UTF-8 is read whatever the document says of itself; bytes that are none are replaced.
    Raises WireError."""
    if len(body) > MAX_SIZE:
        raise Malformed(f"expected at most {MAX_SIZE} bytes of XML, got {len(body)}")
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.UnparsedEntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    try:
        parser.Parse(body.decode("utf-8-sig", "replace"), True)
    except expat.ExpatError as error:
        raise Malformed(f"no XML: {expat.ErrorString(error.code)}") from None
    return builder.root.children[0]
