"""The pages in Markdown: links lead somewhere, both READMEs say the same, and no event is left untold."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from jsonschema import Draft202012Validator

from bridge.schema import shapes

ROOT = Path(__file__).parent.parent
FOLDERS = ("bench", "bridge", "config", "dialplan", "docker", "docs", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
READMES = ("README.md", "README.ko.md")
_MOST_LINES = 120
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.M)
EVENTS = ROOT / "docs" / "events.md"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    return _LINK.findall(re.sub(r"`[^`\n]*`", "``", prose(page)))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Its headings as GitHub names them in links."""
    titles = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for _, title in _HEADING.findall(prose(page))]
    slugs = [re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles]
    seen: Counter[str] = Counter()
    for at, slug in enumerate(slugs):
        seen[slug] += 1
        slugs[at] = slug if seen[slug] == 1 else f"{slug}-{seen[slug] - 1}"
    return frozenset(slugs)


def broken(page: Path, link: str) -> bool:
    """Whether it leads nowhere in this tree."""
    if re.match(r"[a-z]+:", link):
        return False
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if broken(page, link)] == []


@pytest.mark.parametrize("link", ["docs/none.md", "docs/rules.md#no-heading", "#no-heading", "../x.md"])
def test_a_link_that_leads_nowhere_is_seen(link: str) -> None:
    assert broken(ROOT / "README.md", link)


def test_every_page_is_in_the_index() -> None:
    told = {link.partition("#")[0] for link in links(ROOT / "docs" / "README.md")}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - told == {"README.md"}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each code block, without remarks at the ends of its lines."""
    return [(kind, re.sub(r" +# .*", "", text)) for _, kind, text in _FENCE.findall(page.read_text())]


def test_both_readmes_have_the_same_sections_code_links_and_tables() -> None:
    english, korean = (ROOT / one for one in READMES)
    levels = [[level for level, _ in _HEADING.findall(prose(page))] for page in (english, korean)]
    assert levels[0] == levels[1]
    assert blocks(english) == blocks(korean)
    assert Counter(links(english)) - Counter(links(korean)) == Counter({"README.ko.md": 1})
    assert Counter(links(korean)) - Counter(links(english)) == Counter({"README.md": 1})
    rows = [re.findall(r"^\|.*$", prose(page), re.M) for page in (english, korean)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]


@pytest.mark.parametrize("one", READMES)
def test_a_readme_is_two_screens(one: str) -> None:
    assert len((ROOT / one).read_text().splitlines()) <= _MOST_LINES


def test_every_event_is_told_with_an_example_of_its_shape() -> None:
    page = EVENTS.read_text()
    checker = Draft202012Validator(shapes.events())
    examples = [json.loads(text) for _, kind, text in _FENCE.findall(page) if kind == "json"]
    assert [error.message for one in examples for error in checker.iter_errors(one)] == []
    assert {one["type"] for one in examples} == set(shapes.TYPES.values())
    for kind in shapes.TYPES.values():
        _, _, section = page.partition(f"\n### {kind}\n")
        assert f'"type": "{kind}"' in section.partition("\n### ")[0]


def test_every_key_of_every_event_is_told() -> None:
    told = set(re.findall(r"`([\w.]+)(?:: \w+)?`", prose(EVENTS)))
    for definition in shapes.definitions().values():
        properties = definition["properties"]
        keys = properties.keys() | properties.get("data", {}).get("properties", {}).keys()
        assert keys - told == set()
