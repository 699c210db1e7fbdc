"""A drawing of vl-convert as a part of the page: colours by theme, titles on marks, links to samples, nothing else."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from reports.palette import LIGHT

_PROPERTIES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}
_TAGS = {"svg", "g", "a", "path", "line", "rect", "text"}
_ATTRIBUTES = {
    *("x", "y", "x1", "x2", "y1", "y2", "width", "height", "d", "transform", "text-anchor", "font-size"),
    *("fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "opacity"),
}
_HREF = "{http://www.w3.org/1999/xlink}href"
_DIGITS = re.compile(r"(-?\d+\.\d\d)\d+")


def inline_svg(svg: str, identity: str, title: str, description: str) -> str:
    """Make a drawing part of the page.

    Parameters
    ----------
    svg : str
        What `reports.drawing.draw` returned.
    identity, title, description : str
        What a screen reader says of it, and the id that title and description start with.

    Returns
    -------
    str
        SVG that holds only the elements and attributes a chart needs. Colours of the light theme have become the
        page's custom properties, descriptions of marks titles, and links the page's own addresses.
    """
    drawn = ElementTree.fromstring(svg)
    parts = [kept for child in drawn for kept in _kept(child)]
    named, told = Element("title", {"id": f"{identity}-t"}), Element("desc", {"id": f"{identity}-d"})
    named.text, told.text = title, description
    links = any(part.tag == "a" or part.find(".//a") is not None for part in parts)
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": drawn.get("viewBox", ""),
            "width": drawn.get("width", ""),
            "height": drawn.get("height", ""),
            "role": "group" if links else "img",
            "aria-labelledby": f"{identity}-t {identity}-d",
        },
    )
    root.extend([named, told, *parts])
    return ElementTree.tostring(root, encoding="unicode")


def _kept(element: Element) -> list[Element]:
    """What stays of an element: itself, what is in it where it only groups, or nothing where nothing is drawn."""
    tag = element.tag.rpartition("}")[2]
    attributes = {name: _value(value) for name, value in element.attrib.items() if name in _ATTRIBUTES}
    if tag not in _TAGS or _is_empty(element, tag):
        return []
    children = [kept for child in element for kept in _kept(child)]
    if tag == "g" and (not children or attributes in ({}, {"transform": "translate(0,0)"})):
        return children
    kept = Element(tag, attributes)
    kept.text = element.text if tag == "text" else None
    if tag == "a":
        # Vega resolves an address that is only a fragment against its own site.
        kept.set("href", "#" + element.get(_HREF, "").partition("#")[2])
        kept.set("aria-label", f"{children[0].findtext('title', '')}: samples")
    elif says := element.get("aria-label"):
        ElementTree.SubElement(kept, "title").text = says
    kept.extend(children)
    return [kept]


def _is_empty(element: Element, tag: str) -> bool:
    return tag == "path" and ("background" in element.get("class", "") or not element.get("d"))


def _value(value: str) -> str:
    return _PROPERTIES.get(value) or _DIGITS.sub(r"\1", value)
