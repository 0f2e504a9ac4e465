"""The configuration: the whole of it, and `load`, which reads a file at once.

Here are the rules between sections. The sections are in `sections`, what a single value may be in `values`,
how YAML is read in `yamltree`, how secrets are had in `credentials`, how faults become lines in `faults`.
Nothing here prints, logs or exits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from bridge import credentials
from bridge.config import outlets, yamltree
from bridge.config.choosing import Choosing, changed
from bridge.config.faults import (
    ConfigError,
    Rule,
    beneath_secret,
    faults_of,
    keep,
    line_of,
    secret_keys,
    without,
)
from bridge.config.page import Page
from bridge.config.pbx import Asterisk, FreeSwitch
from bridge.config.section import Section
from bridge.config.sections import (
    Admin,
    Cost,
    Gate,
    Hangup,
    Log,
    Media,
    Metrics,
    Outbox,
    Overload,
    Pause,
    Quota,
    Rtzr,
    Spool,
)
from bridge.config.sinks import Sinks
from bridge.config.values import WorkerNumber, loopback
from bridge.credentials import DEFAULT_PASSWORD, Secrets
from bridge.wire.webhook import SecretFault, key

__all__ = ["DEFAULT_CONFIG", "Config", "ConfigError", "Secrets", "load"]

DEFAULT_CONFIG = Path("/etc/rtzr-bridge/bridge.yaml")
_BIGGEST_FILE = 1 << 20
_LAST_PORT = 65535
_OF_PBX = ("ari_password", "ami_secret", "esl_password")
"""Of the secrets: one of these is needed."""


class Config(Section):
    """All of it. `Config()` is every default, without secrets."""

    rtzr: Rtzr = Rtzr()
    pbx: Literal["asterisk", "freeswitch"] = "asterisk"
    """Which PBX is followed: of the sections asterisk and freeswitch, the one of this name holds."""
    asterisk: Asterisk = Asterisk()
    freeswitch: FreeSwitch = FreeSwitch()
    media: Media = Media()
    gate: Gate = Gate()
    hangup: Hangup = Hangup()
    quota: Quota = Quota()
    cost: Cost = Cost()
    spool: Spool = Spool()
    outbox: Outbox = Outbox()
    pause: Pause = Pause()
    rules: Annotated[tuple[Choosing, ...], Field(strict=False, max_length=1000)] = ()
    """Which calls are transcribed without a line in the dialplan, the first that matches: docs/rules.md."""
    workers: WorkerNumber = 1
    """Processes that hear calls, one a core; auto for as many as there are cores."""
    overload: Overload = Overload()
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 30
    """On SIGTERM, let live calls go on this long."""
    sinks: Sinks = Sinks()
    page: Page = Page()
    admin: Admin = Admin()
    metrics: Metrics = Metrics()
    log: Log = Log()

    _secrets: Secrets = PrivateAttr(default_factory=Secrets)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        utterance_ms = max(self.gate.max_utterance_ms, 1000 * self.rtzr.max_utter_duration)
        return keep(
            self,
            Rule(
                not self.media.audiosocket_calls or self.workers == 1,
                ("media.audiosocket_calls", "workers"),
                "come to one process; set workers: 1, or leave it out",
            ),
            Rule(
                self.pbx != "asterisk" or self.asterisk.transport != "websocket_client" or self.workers == 1,
                ("asterisk.transport", "workers"),
                "leads to one process, as a section of websocket_client.conf leads to one port; "
                "set workers: 1, or transport: websocket or audiosocket",
            ),
            Rule(
                1000 * self.media.ring_s >= utterance_ms + self.gate.preroll_ms,
                (
                    "media.ring_s",
                    "gate.max_utterance_ms",
                    "gate.preroll_ms",
                    "rtzr.max_utter_duration",
                ),
                "cannot hold one whole utterance, which a lost connection would need again; give more than "
                "gate.max_utterance_ms + gate.preroll_ms and than rtzr.max_utter_duration",
            ),
            Rule(
                self.workers == "auto" or self.media.last_port - self.media.first_port >= self.workers - 1,
                ("workers", "media.first_port", "media.last_port"),
                "are more than there are ports; widen media.first_port to media.last_port",
            ),
            Rule(
                self.workers == "auto"
                or self.media.websocket_port not in self.media.audiosocket_ports(self.workers),
                ("media.websocket_port", "media.audiosocket_port", "workers"),
                "is one of AudioSocket's, which are audiosocket_port and one more for each further worker; "
                "give another",
            ),
            *self._for_freeswitch(),
            *self._text_for_the_pbx(),
            *self._rules_between_rules(),
            *self._rules_of_outlets(),
        )

    def _for_freeswitch(self) -> Iterator[Rule]:
        """What its media modules cannot do."""
        asterisk = self.pbx == "asterisk"
        yield Rule(
            asterisk or ":" not in self.media.advertised,
            ("media.advertise", "media.bind", "pbx"),
            "is an IPv6 address, which FreeSWITCH's media modules take in no URL; "
            "give a host name or an IPv4 address",
        )
        yield Rule(
            asterisk or not self.media.early_media,
            ("media.early_media", "pbx"),
            "is not for FreeSWITCH: a stream before the answer costs the caller the ringback; set false",
        )

        yield Rule(
            asterisk or not self.media.audiosocket_calls,
            ("media.audiosocket_calls", "pbx"),
            "is for Asterisk's AudioSocket application; leave it out",
        )
        last = self.media.websocket_ports(1 if self.workers == "auto" else self.workers)[-1]
        yield Rule(
            asterisk or last <= _LAST_PORT,
            ("media.websocket_port", "workers"),
            f"leaves too few ports up to {_LAST_PORT}: each worker has its own; give a lower one",
        )

    def _text_for_the_pbx(self) -> Iterator[Rule]:
        """What each way to the PBX can be told over."""
        told, asterisk = self.sinks.pbx, self.asterisk
        freeswitch = self.pbx == "freeswitch"
        ari = not freeswitch and asterisk.via == "ari"
        via = "asterisk.via"
        for_ari = "is for a user_event over ARI; leave it out, or give user_event (and asterisk.via: ari)"
        yield Rule(
            told.variable is None or not ari,
            ("sinks.pbx.variable", via),
            "is set over AMI only: ARI refuses it; set asterisk.via: ami, or give user_event and application",
        )
        yield Rule(
            told.user_event is None or told.application is not None or not ari,
            ("sinks.pbx.application", "sinks.pbx.user_event", via),
            "is missing: over ARI one application is told; name it, or set asterisk.via: ami",
        )
        yield Rule(
            told.application is None or (ari and told.user_event is not None),
            ("sinks.pbx.application", "sinks.pbx.user_event", "pbx" if freeswitch else via),
            "is for ARI, which FreeSWITCH does not have; leave it out" if freeswitch else for_ari,
        )
        yield Rule(
            told.application is None or told.application != asterisk.app,
            ("sinks.pbx.application", "asterisk.app"),
            "is the bridge's own; name the application that is to read what was said",
        )
        yield Rule(
            freeswitch or told.user_event is None or told.user_event != asterisk.user_event,
            ("sinks.pbx.user_event", "asterisk.user_event"),
            "is the event by which the dialplan announces calls; give another name",
        )

    def _rules_between_rules(self) -> Iterator[Rule]:
        names = [rule.name for rule in self.rules]
        for number, rule in enumerate(self.rules):
            once = names.index(rule.name) == number
            yield Rule(once, (f"rules.{number}.name",), "is another rule's name; give it one of its own")
            if once:
                yield self._fitting(number, rule.name)
            yield from outlets.named_sinks(number, rule, self.sinks, self.sinks_on)

    def _rules_of_outlets(self) -> Iterator[Rule]:
        yield from outlets.endpoints(self.outbox, self.sinks, self.rules)
        read = {
            "rtzr.ca_file": self.rtzr.ca_file,
            "sinks.redis.ca_file": self.sinks.redis.ca_file,
            "freeswitch.media_tls_cert": self.freeswitch.media_tls_cert,
            "freeswitch.media_tls_key": self.freeswitch.media_tls_key,
        }
        for number, webhook in enumerate(self.sinks.webhooks):
            read[f"sinks.webhooks.{number}.ca_file"] = webhook.ca_file
        yield from outlets.apart(self.outbox, self.sinks, self.spool, self.admin, read)

    def _fitting(self, number: int, name: str) -> Rule:
        """Whether what a rule changes goes together with what it does not."""
        try:
            self.ruled(name)
        except ValidationError as error:
            why = "; ".join(str(detail["msg"]) for detail in error.errors())
            return Rule(False, (f"rules.{number}",), f"does not go with the other keys: {why}")
        return Rule(True, (), "")

    @property
    def trunk_contexts(self) -> tuple[str, ...]:
        """Patterns of the contexts in which calls come from outside, of the PBX that is followed."""
        return self.freeswitch.trunk_contexts if self.pbx == "freeswitch" else self.asterisk.trunk_contexts

    @property
    def sinks_on(self) -> frozenset[str]:
        """The names of the sinks that are on, the outbox being one; the page shows what the feed has."""
        outbox = {"outbox"} if self.outbox.path is not None else frozenset()
        return self.sinks.on | outbox | ({"feed"} if self.page.port else frozenset())

    @property
    def sinks_of_rules(self) -> dict[str, frozenset[str]]:
        """The names of the sinks that the calls of a rule go to, where it names some."""
        return {rule.name: frozenset(rule.sinks) for rule in self.rules if rule.sinks is not None}

    def knows_sinks_of(self, rule: str | None) -> bool:
        """Whether it is known where calls of a rule go; "" is none. It is not of a rule that is not there any
        more, nor, where some rule names sinks, of a call whose rule nobody knows (None)."""
        if rule is None:
            return not self.sinks_of_rules
        return not rule or any(rule == one.name for one in self.rules)

    @property
    def rules_without_outbox(self) -> frozenset[str]:
        """The rules of whose calls nothing is to be in the outbox."""
        return self.rules_without("outbox")

    def rules_without(self, sink: str) -> frozenset[str]:
        """The rules whose calls do not go there."""
        return frozenset(rule for rule, names in self.sinks_of_rules.items() if sink not in names)

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """The environment variables that the YAML names for secrets."""
        sinks = self.sinks
        return (*sorted(sinks.keys_of_webhooks | sinks.urls_of_webhooks), *sinks.redis.variables)

    def ruled(self, name: str) -> "Config":
        """The same configuration with what the rule `name` changes. Raises ValidationError."""
        for rule in self.rules:
            if rule.name == name:
                gate, rtzr = changed(self.gate, rule.gate), changed(self.rtzr, rule.rtzr)
                return self.model_copy(update={"gate": gate, "rtzr": rtzr})
        return self

    @property
    def secrets(self) -> Secrets:
        """What the environment gave; no key of the YAML and no part of `model_dump`."""
        return self._secrets

    def with_secrets(self, secrets: Secrets) -> "Config":
        """The same configuration with these secrets."""
        copy = self.model_copy()
        copy._secrets = secrets
        return copy


def load(path: Path, environ: Mapping[str, str], *, pbx: bool = True, rtzr: bool = True) -> Config:
    """The configuration in `path`, with the secrets of `environ` (the PBX's only if `pbx`, RTZR's only if
    `rtzr`, those that the YAML names only if both).

    Raises ConfigError, whose text is one line a fault: every fault of the file and the environment at once.
    """
    text, unread = _text(path)
    tree = yamltree.parse(text)
    secrets, missing = credentials.read(environ, _needed(tree.value, environ, pbx=pbx, rtzr=rtzr))
    if unread is not None:
        raise ConfigError([line_of(path, unread), *_environment(missing)])
    config, faults = _validated(tree)
    faults.sort(key=lambda fault: fault.line or 0)
    lines = [line_of(path, fault) for fault in faults]
    lines += _environment(missing)
    if config is not None:
        lines += _environment(_known_to_all(config, secrets))
        if pbx and rtzr:  # the daemon, and nothing less, opens what these are for
            secrets, missing = _with_named(config, secrets, environ)
            lines += _environment(missing)
    if lines or config is None:
        raise ConfigError(lines)
    return config.with_secrets(secrets)


def _known_to_all(config: Config, secrets: Secrets) -> list[str]:
    """A password that is FreeSWITCH's own default guards nothing but loopback."""
    freeswitch = config.freeswitch
    if secrets.esl_password != DEFAULT_PASSWORD or freeswitch.default_password_allowed:
        return []
    if loopback(freeswitch.esl_host):
        return []
    mend = "set another in event_socket.conf.xml, or freeswitch.default_password_allowed: true"
    return [f"ESL_PASSWORD: is the one that every FreeSWITCH has at first; {mend}"]


def _with_named(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> tuple[Secrets, list[str]]:
    """Also the secrets whose variables the YAML names, and what is wrong with them."""
    named, faults = credentials.read_named(environ, config.secret_variables)
    for variable in sorted(config.sinks.keys_of_webhooks & named.keys()):
        try:
            key(named[variable])
        except SecretFault as error:
            faults.append(f"{variable}: {error}")
    faults += config.sinks.faults_of_urls(named)
    secrets = replace(secrets, named=named)
    if config.sinks.feed.port:
        token, fault = credentials.read_token(environ, config.sinks.feed.token_env)
        secrets, faults = replace(secrets, feed_token=token), [*faults, *fault]
    page = config.page
    if page.port and (page.trusted_header is None or credentials.given(environ, page.token_env)):
        token, fault = credentials.read_token(environ, page.token_env)
        secrets, faults = replace(secrets, page_token=token), [*faults, *fault]
    return secrets, faults


def _needed(tree: object, environ: Mapping[str, str], *, pbx: bool, rtzr: bool) -> tuple[str, ...]:
    """The secrets that are needed: of the PBX's, the one of the way it is reached. Where the file says
    nothing that can be read, any that is given will be it."""
    top = tree if isinstance(tree, dict) else {}
    section = top.get("asterisk")
    via = section.get("via") if isinstance(section, dict) else None
    way = "ami_secret" if via == "ami" else "ari_password"
    if top.get("pbx") == "freeswitch":
        way = "esl_password"
    if not top and any(credentials.given(environ, credentials.VARIABLES[name]) for name in _OF_PBX):
        way = ""
    theirs = {name: pbx and name == way for name in _OF_PBX}
    return tuple(name for name in credentials.VARIABLES if theirs.get(name, rtzr))


def _text(path: Path) -> tuple[str, yamltree.Fault | None]:
    """The file's text, or why it cannot be had."""
    line = None
    try:
        with path.open("rb") as stream:
            raw = stream.read(_BIGGEST_FILE + 1)
        if len(raw) > _BIGGEST_FILE:
            text = "is over 1 MiB, which no configuration is; give the YAML file"
        else:
            return raw.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        text = "is not UTF-8; save the file as UTF-8"
    except (OSError, ValueError) as error:
        text = f"cannot be read ({getattr(error, 'strerror', None) or 'no path'}); give --config FILE"
    return "", yamltree.Fault((), text, line)


def _environment(missing: list[str]) -> list[str]:
    return [f"environment: {line}" for line in missing]


def _validated(tree: yamltree.Tree) -> tuple[Config | None, list[yamltree.Fault]]:
    """The configuration that `tree` says, or None, and every fault of it."""
    if not isinstance(tree.value, dict):
        return None, tree.faults or [_no_mapping(tree)]
    faults = [fault for fault in tree.faults if not beneath_secret(fault.path)] + secret_keys(tree)
    touched = {fault.path for fault in faults}
    while True:  # a rule between keys shows itself only once the keys by themselves are right
        try:
            return Config.model_validate(without(tree.value, touched)), faults
        except ValidationError as error:
            found, places = faults_of(error, Config, tree, touched)
        faults += [fault for fault in found if fault not in faults]
        if places <= touched:
            return None, faults
        touched |= places


def _no_mapping(tree: yamltree.Tree) -> yamltree.Fault:
    if tree.value is None:
        return yamltree.Fault((), "says nothing; begin with a copy of config/bridge.yaml")
    return yamltree.Fault((), "is not a mapping; write 'section:' and 'key: value' lines", 1)
