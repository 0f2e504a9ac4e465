"""The secrets of the daemon: read from the environment, or from files that it names, and nowhere else.

Nothing here puts a secret's value into an exception, a repr or a log.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLES = {
    "client_id": "RTZR_CLIENT_ID",
    "client_secret": "RTZR_CLIENT_SECRET",
    "ari_password": "ARI_PASSWORD",
    "ami_secret": "AMI_SECRET",
    "esl_password": "ESL_PASSWORD",
}
"""Field of `Secrets` -> environment variable; each may be given as `<variable>_FILE` instead."""

DEFAULT_PASSWORD = "ClueCon"  # noqa: S105 - it is everybody's
"""FreeSWITCH's, of its event socket, as it is installed."""

_LONGEST = 4096
_SHORTEST_TOKEN = 16
_SECRET_KEY = re.compile(
    r"(clientid|secret|password|passwd|passphrase|token|apikey|privatekey|credential|authorization)s?$"
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the bridge proves itself with; empty where the command at hand does not need it."""

    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    ari_password: str = field(default="", repr=False)
    ami_secret: str = field(default="", repr=False)
    esl_password: str = field(default="", repr=False)
    named: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those whose variables the YAML names, by variable."""
    feed_token: str = field(default="", repr=False)
    """What readers of the live feed show; the YAML names its variable."""
    page_token: str = field(default="", repr=False)
    """As `feed_token`, of the live page."""


class _Unusable(ValueError):
    """Why a secret cannot be had; the text holds no part of it."""


def looks_secret(key: str) -> bool:
    """Whether a key by this name would hold a secret: `client_secret`, `clientSecret`, `ARI-PASSWORD`."""
    return _SECRET_KEY.search(re.sub(r"[^a-z]", "", key.lower())) is not None


def read(environ: Mapping[str, str], needed: tuple[str, ...]) -> tuple[Secrets, list[str]]:
    """The `needed` fields of `Secrets`, and a line for each that cannot be had; an empty variable is none."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name in needed:
        try:
            values[name] = _one(environ, VARIABLES[name])
        except _Unusable as error:
            faults.append(str(error))
    return Secrets(**values), faults


def read_named(environ: Mapping[str, str], variables: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The secrets in variables that the YAML names, and a line for each that cannot be had; as `read`."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for variable in dict.fromkeys(variables):
        try:
            values[variable] = _one(environ, variable)
        except _Unusable as error:
            faults.append(str(error))
    return values, faults


def given(environ: Mapping[str, str], variable: str) -> bool:
    """Whether `variable` holds anything, or the file that `<variable>_FILE` names is there: a unit may name
    more files than there are. One that cannot be looked at is, so that whoever reads it tells why."""
    try:
        return bool(environ.get(variable)) or Path(environ.get(f"{variable}_FILE", "")).is_file()
    except OSError:
        return True


def read_token(environ: Mapping[str, str], variable: str) -> tuple[str, list[str]]:
    """The token that `variable` (or `<variable>_FILE`) holds, and a line where it cannot be had or is guessed
    too soon."""
    try:
        token = _one(environ, variable)
    except _Unusable as error:
        return "", [str(error)]
    if len(token) < _SHORTEST_TOKEN:
        mend = f"give {_SHORTEST_TOKEN} characters or more, such as `openssl rand -hex 16` prints"
        return "", [f"{variable}: is too short for a token that everybody may guess at; {mend}"]
    return token, []


def _one(environ: Mapping[str, str], variable: str) -> str:
    clear, file = environ.get(variable, ""), environ.get(f"{variable}_FILE", "")
    if clear and file:
        raise _Unusable(f"{variable}: is given twice, as {variable}_FILE also; unset one of the two")
    if file:
        return _checked(_contents(f"{variable}_FILE", file), f"{variable}_FILE")
    if not clear:
        raise _Unusable(
            f"{variable}: is not set; set it, or {variable}_FILE to the path of a file that holds it"
        )
    return _checked(clear, variable)


def _contents(variable: str, file: str) -> str:
    # A relative "path" may be the secret itself, put into the wrong variable: then it is not repeated.
    named = file if Path(file).is_absolute() and file.isprintable() else "the file it names"
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(_LONGEST + 1).decode()
    except UnicodeDecodeError:
        raise _Unusable(f"{variable}: {named} is not text in UTF-8; write the secret alone into it") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise _Unusable(
            f"{variable}: {named} cannot be read ({why}); give the full path of a readable file"
        ) from None
    if not text.strip():
        raise _Unusable(f"{variable}: {named} is empty; write the secret into it")
    return text


def _checked(text: str, variable: str) -> str:
    value = text.rstrip("\r\n")
    if len(value) > _LONGEST or not value.isprintable():
        raise _Unusable(f"{variable}: is not one line of text; give the secret alone, without line breaks")
    if value != value.strip():
        raise _Unusable(f"{variable}: begins or ends with a space; take the space away")
    return value
