"""What a single value of the configuration may be: URLs, addresses, names, keywords, spans of time.

Types for the fields of `config`, each refusing with a text that says the mend and never the value.
"""

import ipaddress
import re
import ssl
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from bridge.config.faults import refuse
from bridge.wire.address import literal
from bridge.wire.rules import PatternError, compiled

_VAD_TAIL_MS = 180
_MOST_WORKERS = 256
_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107."""
_LONGEST_PATTERN = 200
_LONGEST_STREAM = 200
_MOST_VARIABLES = 5


def loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(plain: str, secured: str, *, plain_far: bool, query: bool = False) -> AfterValidator:
    """A rule for URLs of two schemes: the `plain` one goes beyond loopback only if `plain_far`; `query`:
    whether it may have one."""

    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise refuse("is not a URL; write it as {}://host:port/path", secured) from None
        if parts.scheme not in (plain, secured) or not host or not value.isprintable() or " " in value:
            raise refuse("is not a URL of this kind; begin it with {}:// or {}://", plain, secured)
        if query and ("@" in parts.netloc or parts.fragment):
            raise refuse("carries a user, a password or a fragment; take it out")
        if not query and ("@" in parts.netloc or parts.query or parts.fragment):
            raise refuse("carries a user, a password or a query; leave only scheme, host, port and path")
        if parts.scheme == plain and not plain_far and not loopback(host):
            raise refuse("would send credentials and calls unencrypted; use {}://", secured)
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise refuse("is not an IP address; give one of this machine, or 0.0.0.0 for all") from None
    return value


def _host(value: str) -> str:
    if value in ("0.0.0.0", "::"):
        raise refuse("is no address that the PBX could send to; give this machine's own")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?", value):
        raise refuse("is neither a host name nor an IP address; give the one the PBX reaches us by")
    return value


def _ca_file(value: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except (ssl.SSLError, ValueError):
        raise refuse("holds no PEM certificate; give a file of them") from None
    except OSError as error:
        raise refuse(
            "cannot be read ({}); give the path of a PEM file", error.strerror or "no path"
        ) from None
    return value


def _path(value: str) -> str:
    if not value.isprintable():
        raise refuse("is no path; write one without control characters")
    return value


def _variable(value: object) -> str:
    return _variables([value])[0]


def _redis(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise refuse("is not a URL; write it as redis://host:port/0") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise refuse("carries a user, a password or a query; give username and password_env instead")
    local = parts.scheme == "unix" and not host and re.fullmatch(r"/[^\s%]+", parts.path)
    far = parts.scheme in ("redis", "rediss") and host and re.fullmatch(r"(/\d{0,5})?", parts.path)
    if not (local or far) or not value.isprintable() or " " in value:
        raise refuse("is not Redis' kind of URL; write redis://host:port/0, rediss:// or unix:///path")
    return value


def _stream(value: str) -> str:
    plain = value.replace("{rule}", "")
    if not value or len(value) > _LONGEST_STREAM or not re.fullmatch(r"[!-z|~]*", plain) or "{" in plain:
        raise refuse("is no stream's name; use letters, digits, signs, and {{rule}} for the name of the rule")
    return value


def _socket_path(value: str) -> str:
    if not value.startswith("/") or len(value.encode()) > _LONGEST_SOCKET_PATH:
        raise refuse(
            "is no path for a socket; write one from / on, of {} bytes at most, such as "
            "/var/lib/rtzr-bridge/admin.sock",
            _LONGEST_SOCKET_PATH,
        )
    return _path(value)


def _origin(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and value == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        whole = False
    if not whole or not parts.netloc or not re.fullmatch(r"[a-z0-9.:\[\]-]+", parts.netloc):
        raise refuse("is no origin; write a page's https://host or https://host:port, in small letters")
    return value


def _keyword(value: str) -> str:
    word, colon, score = value.partition(":")
    if not re.fullmatch(r"[가-힣]+( [가-힣]+)*", word):
        raise refuse("is not Hangul; write the word as it sounds, in whole syllables and single spaces")
    if len(word) > 20:
        raise refuse("is over 20 characters; shorten it")
    if colon and not (re.fullmatch(r"[+-]?\d(\.\d{1,6})?", score) and -5 <= float(score) <= 5):
        raise refuse("has a score that is no number from -5 to 5; write word:2.0")
    return value


def _silence(value: int) -> int:
    if value < _VAD_TAIL_MS:
        raise refuse(
            "is below {}: WebRTC VAD itself says speech for up to 160 ms after it has ended, so less cannot "
            "be told; give {} or more",
            _VAD_TAIL_MS,
            _VAD_TAIL_MS,
        )
    return value


def _workers(value: object) -> int | str:
    if value == "auto" or (type(value) is int and 1 <= value <= _MOST_WORKERS):
        return value
    raise refuse("is neither auto nor a whole number from 1 to {}; begin with 1", _MOST_WORKERS)


def _patterns(value: object) -> tuple[str, ...]:
    """One pattern or a list of them."""
    given = value if isinstance(value, list | tuple) else [value]
    for one in given:
        if not isinstance(one, str) or not one or len(one) > _LONGEST_PATTERN:
            raise refuse("is no text; put numbers in quotes, or YAML takes their zeros away")
        try:
            compiled(one)
        except PatternError as error:
            raise refuse("{}", str(error)) from None
    return tuple(given)


def _rtp_range(value: object) -> tuple[int, int]:
    """rtpstart and rtpend."""
    given = tuple(value) if isinstance(value, list | tuple) else ()
    whole = [one for one in given if type(one) is int and 0 < one < 65536]
    if len(given) != 2 or len(whole) != 2 or whole[0] >= whole[1]:
        raise refuse("is not two ports, the lower one first; write [10000, 20000] as rtp.conf has it")
    return whole[0], whole[1]


def _called(value: str) -> str:
    """A URL whose host everybody reads alike."""
    if not value.isascii():
        raise refuse("is not in ASCII; write its host as xn--... and its path with %..")
    try:
        literal(urlsplit(value).hostname or "")
    except ValueError:
        raise refuse(
            "has a host that is no name and no address as usual; write 192.0.2.1 or [2001:db8::1]"
        ) from None
    return value


def _variables(value: object) -> tuple[str, ...]:
    """One name of an environment variable or a list of them."""
    given = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not 1 <= len(given) <= _MOST_VARIABLES:
        raise refuse("names no secret, or more than {}; give the variables that hold them", _MOST_VARIABLES)
    for one in given:
        if not isinstance(one, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]{0,99}", one):
            raise refuse("is no name of an environment variable; give the name, such as CRM_WEBHOOK_SECRET")
    return given


def _allow_private(value: object) -> bool | tuple[str, ...]:
    """true, false or a list of networks."""
    if isinstance(value, bool):
        return value
    try:
        return tuple(str(ipaddress.ip_network(one)) for one in _texts(value))
    except ValueError:
        raise refuse("is neither true, false nor a list of networks; write [10.1.0.0/16]") from None


def _texts(value: object) -> list[str]:
    """Raises ValueError for what is no list of some texts."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
        raise ValueError
    return list(value)


Name = Annotated[str, Field(title="name", pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Seconds = Annotated[float, Field(gt=0, le=60)]
_TwoPorts = Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(min_length=2, max_length=2)]
RtpRange = Annotated[tuple[int, int], BeforeValidator(_rtp_range, json_schema_input_type=_TwoPorts)]
Port = Annotated[int, Field(ge=1024, le=65535)]
Threshold = Annotated[float, Field(ge=0, le=1)]
Keywords = Annotated[
    tuple[Annotated[str, AfterValidator(_keyword), Field(title="keyword")], ...],
    Field(strict=False, max_length=100),
]
Silence = Annotated[
    int, Field(le=10000, json_schema_extra={"minimum": _VAD_TAIL_MS}), AfterValidator(_silence)
]
Address = Annotated[str, AfterValidator(_address), Field(title="IP address")]
Host = Annotated[str, AfterValidator(_host), Field(title="host name or IP address")]
CaFile = Annotated[str, AfterValidator(_ca_file), Field(title="path of a file")]
SecuredHttp = Annotated[str, _url("http", "https", plain_far=False), Field(title="URL, https://")]
SecuredWs = Annotated[str, _url("ws", "wss", plain_far=False), Field(title="URL, wss://")]
AnyHttp = Annotated[str, _url("http", "https", plain_far=True), Field(title="URL")]
_Workers = Annotated[int, Field(ge=1, le=_MOST_WORKERS)] | Literal["auto"]
WorkerNumber = Annotated[int | Literal["auto"], PlainValidator(_workers, json_schema_input_type=_Workers)]
Called = Annotated[str, _url("http", "https", plain_far=True), AfterValidator(_called), Field(title="URL")]
CalledInSecret = Annotated[str, _url("http", "https", plain_far=True, query=True), AfterValidator(_called)]
"""As `Called`, but not in the YAML: it may hold a key."""
_Named = Annotated[str, Field(title="name of a variable")]
Variables = Annotated[
    tuple[str, ...], BeforeValidator(_variables, json_schema_input_type=_Named | list[_Named])
]
_NetworkName = Annotated[str, Field(title="network")]
AllowPrivate = Annotated[
    bool | tuple[str, ...], PlainValidator(_allow_private, json_schema_input_type=bool | list[_NetworkName])
]
FilePath = Annotated[str, Field(title="path", min_length=1), AfterValidator(_path)]
Steps = Annotated[
    tuple[Annotated[float, Field(strict=True, ge=0, le=10_000_000)], ...], Field(strict=False, max_length=20)
]
_Pattern = Annotated[str, Field(title="pattern", min_length=1, max_length=_LONGEST_PATTERN)]
Patterns = Annotated[
    tuple[str, ...], BeforeValidator(_patterns, json_schema_input_type=_Pattern | list[_Pattern])
]
Variable = Annotated[
    str, PlainValidator(_variable, json_schema_input_type=str), Field(title="name of a variable")
]
RedisUrl = Annotated[str, AfterValidator(_redis), Field(title="URL of Redis")]
StreamName = Annotated[str, AfterValidator(_stream), Field(title="name of a stream")]
SocketPath = Annotated[str, AfterValidator(_socket_path), Field(title="path")]
Origin = Annotated[str, AfterValidator(_origin), Field(title="origin")]
SinkNames = Annotated[tuple[Literal["console", "jsonl", "pbx", "feed", "outbox"], ...], Field(strict=False)]
Keys = Annotated[str, Field(title="keys of a telephone", pattern=r"^[0-9A-D*#]{1,8}$")]
RuleName = Annotated[str, Field(title="name of a rule", pattern=r"^[^\x00-\x1f/\x7f]{1,64}$")]
