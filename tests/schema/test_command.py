"""bridge/schema/command.py: one JSON document on standard output, and nothing else."""

import json

import pytest
from typer.testing import CliRunner

from bridge.cli import app
from bridge.schema import asyncapi, configuration, shapes

DOCUMENTS = {"events": shapes.events, "asyncapi": asyncapi.document, "config": configuration.document}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_printed(name: str) -> None:
    done = CliRunner().invoke(app, ["schema", name])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == DOCUMENTS[name]()


@pytest.mark.parametrize("arguments", [[], ["rules"]])
def test_any_other_is_an_error(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["schema", *arguments]).exit_code == 2
