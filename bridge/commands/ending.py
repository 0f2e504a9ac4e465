"""How a command ends: its coroutine, its JSON and the option that asks for it, and its word when it fails.

Exit codes: 0 done, 1 it failed, 2 the configuration or the arguments are wrong, 130 Ctrl-C.
"""

import errno
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from bridge import loops

INTERRUPTED = 130
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What is wrong where standard output cannot be written, whatever the command is about."""
WHOSE_TEXT = "This text is the emulator's: it hears a code book of tones, no real speech."

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T], by: Callable[[Coroutine[Any, Any, _T]], _T] = loops.run) -> _T:
    """Run a coroutine, on uvloop where the platform has it; Ctrl-C ends it without a word."""
    try:
        return by(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def fail(text: str, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code) from None


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
