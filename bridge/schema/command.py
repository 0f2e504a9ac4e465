"""`rtzr-bridge schema`: prints one of the documents."""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from bridge.schema import asyncapi, configuration, shapes


class Document(StrEnum):
    """What can be printed."""

    EVENTS = "events"
    ASYNCAPI = "asyncapi"
    CONFIG = "config"


_MADE: dict[Document, Callable[[], shapes.Schema]] = {
    Document.EVENTS: shapes.events,
    Document.ASYNCAPI: asyncapi.document,
    Document.CONFIG: configuration.document,
}


def command(
    document: Annotated[
        Document,
        typer.Argument(
            help="events, config: JSON Schema 2020-12; asyncapi: AsyncAPI 3.0.", show_default=False
        ),
    ],
) -> None:
    """Print what programs may rely on, as one JSON document.

    events: every event, as each sink delivers it. asyncapi: webhooks, Redis streams and the live feed.
    config: the YAML file, for editors.
    """
    typer.echo(json.dumps(_MADE[document](), ensure_ascii=False, indent=2))
