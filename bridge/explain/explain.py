"""`rtzr-bridge explain`: which rule chooses a call, which do not, and why.

The same rules as the daemon's, on what is given by hand, what the PBX tells of a live channel, or what a log
has of many calls. It changes nothing, neither here nor there.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bridge import logs
from bridge.admin import completing
from bridge.commands.ending import JsonOption
from bridge.config import DEFAULT_CONFIG, Config, ConfigError, load
from bridge.explain import live, log
from bridge.explain.log import ExplainError
from bridge.loops import new_loop
from bridge.types import CallId
from bridge.waiting import waited
from bridge.wire.rules import CallRule, Direction, Facts, Line, choose, explain, matches


def command(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file.")] = DEFAULT_CONFIG,
    channel: Annotated[
        str, typer.Option(help="A live channel's unique id; what it does now is asked of the PBX.")
    ] = "",
    context: Annotated[str, typer.Option(help="Where the call enters the dialplan.")] = "",
    extension: Annotated[str, typer.Option(help="What is dialled there.")] = "",
    caller: Annotated[str, typer.Option(help="The caller's number.")] = "",
    queue: Annotated[str, typer.Option(help="The queue it is in.")] = "",
    name: Annotated[
        str, typer.Option(help="The caller's channel: PJSIP/trunk-0000002a, sofia/external/...")
    ] = "",
    direction: Annotated[str, typer.Option(help="in, out or internal; in by itself from a trunk.")] = "",
    variable: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Repeat it.")] = None,
    rule: Annotated[str, typer.Option(help="Tell of this rule alone.", autocompletion=completing.rules)] = "",
    from_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every call of a log: ARI, AMI or ESL events, or Master.csv."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Say which rule chooses a call, and of every other why it does not.

    Give a live --channel, what is known of a call, or a log of many. Exit code: 0 the call (of a log: any) is
    transcribed, 1 it is not, 2 there is nothing to be explained.
    """
    try:
        loaded = load(config, os.environ, pbx=bool(channel), rtzr=False)
        variables = _variables(variable or [])
        _known(rule, loaded)
        given = Facts(context, extension, queue, caller, name, _direction(direction), variables)
        if from_log is not None:
            if channel or rule or given != Facts():
                raise ExplainError("--from-log: tells of its calls by itself; leave the other options out")
            raise typer.Exit(log.tell(from_log, loaded, json_=json_))
        if channel:
            logs.set_up("critical", "brief")  # what goes wrong is in the answer
            asked = waited("the PBX is asked", quiet=json_)
            with asked, asyncio.Runner(loop_factory=new_loop) as runner:
                call, facts = runner.run(live.facts(loaded, channel))
        else:
            call, facts = "call", _entered(given, loaded)
    except (ConfigError, ExplainError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    rules = [rule.rule() if channel else _of_any_call(rule.rule()) for rule in loaded.rules]
    lines = _told_of(rule, loaded, explain(rules, facts, call))
    typer.echo(_json(lines, rules, facts, call) if json_ else _text(lines, rules, facts, call))
    choice = choose(rules, facts, call)
    raise typer.Exit(0 if choice is not None and choice.tap else 1)


def _known(rule: str, config: Config) -> None:
    if rule and rule not in {one.name for one in config.rules}:
        raise ExplainError("--rule: is none of the configuration's; give the name of one, or leave it out")


def _told_of(rule: str, config: Config, lines: Sequence[Line]) -> list[Line]:
    """Of all lines, one for each rule, those that are asked for."""
    return [line for line, one in zip(lines, config.rules, strict=True) if rule in ("", one.name)]


def _of_any_call(rule: CallRule) -> CallRule:
    """Whether a call that is only described is among a sample, nobody can say."""
    if not 0 < rule.sample < 100:
        return rule
    return replace(rule, name=f"{rule.name} (for {rule.sample:g} % of its calls)", sample=100)


def _entered(facts: Facts, config: Config) -> Facts:
    if facts.direction is None and matches(config.trunk_contexts, facts.context):
        return replace(facts, direction=Direction.IN)
    return facts


def _direction(text: str) -> Direction | None:
    try:
        return Direction(text) if text else None
    except ValueError:
        raise ExplainError("--direction: is neither in, out nor internal; give one of them") from None


def _variables(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if not all(name and sign for name, sign, _ in pairs):
        raise ExplainError("--variable: is not NAME=VALUE; write it so")
    return {name: value for name, _, value in pairs}


def _text(lines: Sequence[Line], rules: Sequence[CallRule], facts: Facts, call: CallId) -> str:
    return "\n".join([*map(log.line_of, lines), _verdict(rules, facts, call)])


def _verdict(rules: Sequence[CallRule], facts: Facts, call: CallId) -> str:
    choice = choose(rules, facts, call)
    return log.verdict(None, "") if choice is None else log.verdict(choice.tap, choice.rule)


def _json(lines: Sequence[Line], rules: Sequence[CallRule], facts: Facts, call: CallId) -> str:
    choice = choose(rules, facts, call)
    document = {
        "tapped": choice is not None and choice.tap,
        "rule": None if choice is None else choice.rule,
        "rules": [log.as_json(line) for line in lines],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)
