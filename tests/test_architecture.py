"""The laws of DESIGN that a parser of Python can hold: who may import whom, and how big a thing may grow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "bridge").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 50

IMPURE = {"asyncio", "socket", "time", "logging", "os", "structlog", "threading", "selectors", "bridge.net"}
SHELLS = {"bridge.net", "socket", "websockets", "httpx", "panoramisk"}
OWNERS = {"bridge.leg.call", "bridge.calls.switchboard", "bridge.daemon", "bridge.cli"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def in_folder(name: str) -> list[Path]:
    return [path for path in PACKAGE if path.parent.name == name and path.name != "__init__.py"]


def imported(path: Path) -> Iterator[str]:
    """Every name that a file imports, spelt out from the top: `bridge.wire.rtp`, `bridge.wire.rtp.parse`."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(path: Path, modules: set[str]) -> list[str]:
    return [
        name for name in imported(path) if any(name == m or name.startswith(f"{m}.") for m in sorted(modules))
    ]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file, and its lines without the docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            told = isinstance(first, ast.Expr) and ast.get_docstring(node) is not None
            doc = (first.end_lineno or 0) - first.lineno + 1 if told else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - doc


def test_the_import_reader_sees_every_spelling(tmp_path: Path) -> None:
    path = ROOT / "bridge" / "wire" / "x.py"
    text = "import os.path\nfrom ..net import rtp\nfrom . import g711\nfrom bridge import net\n"
    tree = tmp_path / "bridge" / "wire"
    tree.mkdir(parents=True)
    (tree / path.name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "ROOT", tmp_path)
        assert list(imported(tree / path.name)) == [
            "os.path",
            "bridge.net.rtp",
            "bridge.wire.g711",
            "bridge.net",
        ]
        assert forbidden(tree / path.name, IMPURE) == ["os.path", "bridge.net.rtp", "bridge.net"]


@pytest.mark.parametrize("path", in_folder("wire"), ids=named)
def test_wire_is_pure(path: Path) -> None:
    assert forbidden(path, IMPURE | OWNERS | {"websockets", "httpx"}) == []


@pytest.mark.parametrize("path", in_folder("net"), ids=named)
def test_net_knows_nothing_of_calls(path: Path) -> None:
    assert forbidden(path, OWNERS) == []


@pytest.mark.parametrize("path", [p for p in PACKAGE if named(p) == "bridge/leg/call.py"], ids=named)
def test_a_call_is_given_its_shells(path: Path) -> None:
    assert forbidden(path, SHELLS) == []


@pytest.mark.parametrize("path", [*in_folder("wire"), *in_folder("net")], ids=named)
def test_every_wire_and_net_module_has_its_test(path: Path) -> None:
    assert (ROOT / "tests" / path.parent.name / f"test_{path.name}").exists()


@pytest.mark.parametrize("path", PACKAGE, ids=named)
def test_the_package_knows_no_benchmark_and_no_test(path: Path) -> None:
    assert forbidden(path, {"bench", "tests"}) == []


@pytest.mark.parametrize("path", [*PACKAGE, *BENCH], ids=named)
def test_every_file_says_what_lives_in_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [p for p in TESTS if p.name != "__init__.py"], ids=named)
def test_every_test_file_says_what_it_proves(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", [*PACKAGE, *BENCH], ids=named)
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    assert {name: lines for name, lines in functions(path) if lines > LONGEST_FUNCTION} == {}
