"""HTML from Python in which nothing that was given can become markup."""

from __future__ import annotations

from html import escape

VOID = frozenset({"meta", "link", "input", "br"})


class Html(str):
    """Text that is markup already; every other string is escaped where it is put in."""

    __slots__ = ()


def h(element: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """Return an `element` with its children; None among them is left out.

    Attributes are written as in Python: `class_`, `data_start`. True gives an attribute without a value, None and False
    none.

    >>> h("p", "a < b", h("b", "c"), class_="note", hidden=True)
    '<p class="note" hidden>a &lt; b<b>c</b></p>'
    """
    opened = f"<{element}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(opened if element in VOID else f"{opened}{joined(*children)}</{element}>")


def joined(*children: str | None) -> Html:
    """Return the children one after another, those escaped that are not markup."""
    parts = (child if isinstance(child, Html) else escape(child) for child in children if child is not None)
    return Html("".join(parts))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
