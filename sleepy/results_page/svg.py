"""A matplotlib figure as SVG inside of a page: its colours are the page's own, in light and dark, and it has no style
attributes, which a strict content security policy forbids."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from sleepy.figures import BLUE, GREY, INK, RULE, SKY, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the page's style sheet calls the colours of the house.
_COLOURS = {
    BLUE: "blue", SKY: "sky", VERMILION: "vermilion", GREY: "grey", INK: "ink", RULE: "rule", "#000000": "ink",
    "#FFFFFF": "paper", "white": "paper",
}  # fmt: skip
_NAMED = {colour.lower(): f"var(--{name})" for colour, name in _COLOURS.items()}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LONG = re.compile(r"(-?\d+\.\d)\d+")
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


class Pictures:
    """Pictures of one page, and the classes that stand for their styles."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._drawn = 0

    def inline(self, draw: Callable[[], Figure], title: str) -> str:
        """What `draw` draws, as an <svg> element that is at most as wide as it was drawn; `title` is what a screen
        reader says of it."""
        import matplotlib

        out = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{self._drawn}"}):
            figure = draw()
            figure.savefig(
                out, format="svg", metadata={"Date": None}, transparent=True, bbox_inches="tight", pad_inches=0.04
            )
        svg = ElementTree.fromstring(out.getvalue())
        self._clean(svg, f"p{self._drawn}-")
        self._drawn += 1
        svg.attrib = {"viewBox": svg.get("viewBox", ""), "class": "picture", "role": "img", "aria-label": title}
        width = float(svg.attrib["viewBox"].split()[2])
        svg.set("width", f"{width * 4 / 3:.0f}")  # points as CSS pixels
        text = ElementTree.tostring(svg, encoding="unicode").replace("ns0:", "").replace(":ns0", "")
        return f'<div class="scroll">{text}</div>'

    def css(self) -> str:
        """The rules of all classes."""
        return "".join(f".{name}{{{style}}}" for style, name in self._classes.items())

    def _clean(self, svg: ElementTree.Element, prefix: str) -> None:
        for parent in list(svg.iter()):
            for child in list(parent):
                if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                    parent.remove(child)
        used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", ElementTree.tostring(svg, encoding="unicode")))
        kept = {a or b for a, b in used}
        for element in svg.iter():
            if style := element.attrib.pop("style", ""):
                element.set("class", self._class(style))
            name = element.attrib.pop("id", "")
            if name in kept:
                element.set("id", prefix + name)
            if link := element.attrib.pop(_LINK, ""):
                element.set("href", link.replace("#", f"#{prefix}"))
            if clip := element.get("clip-path"):
                element.set("clip-path", clip.replace("#", f"#{prefix}"))
            for key in ("d", "x", "y", "transform"):
                if value := element.get(key):
                    element.set(key, _LONG.sub(r"\1", " ".join(value.split())))
            if element.get("transform", "").startswith("rotate(-0 "):
                del element.attrib["transform"]
            element.text, element.tail = (element.text or "").strip() or None, None

    def _class(self, style: str) -> str:
        """The class for a style: without matplotlib's fonts, with the page's colours."""
        rules = [rule.strip().replace(": ", ":") for rule in style.split(";")]
        rules = [rule for rule in rules if rule and not rule.startswith("font-family")]
        text = _COLOUR.sub(lambda found: _NAMED.get(found[0], found[0]), ";".join(rules))
        return self._classes.setdefault(text, f"s{len(self._classes)}")
