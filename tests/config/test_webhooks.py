"""bridge/config/webhooks.py: whom a webhook may call, and secrets that are in the environment alone."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load
from bridge.config.webhooks import Webhook
from bridge.delivery.endpoints import build_webhooks, rules_of_webhooks
from bridge.wire.address import Reach
from tests.config.test_config import ENVIRON
from tests.net.receiver import OLD_SECRET, SECRET, receiving, stored

CRM = "url: https://crm.example/hook, secret_env: CRM_WEBHOOK_SECRET"
KNOWN = {**ENVIRON, "CRM_WEBHOOK_SECRET": SECRET, "CRM_WEBHOOK_SECRET_OLD": OLD_SECRET}

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The configuration with these webhooks; or the lines that it is refused with, as a ConfigError."""

    def reading(
        *webhooks: str,
        environ: dict[str, str] = KNOWN,
        more: str = "",
        outbox: str = "outbox: {path: /x/outbox.db}\n",
        rtzr: bool = True,
    ) -> Config:
        file = tmp_path / "bridge.yaml"
        items = "".join(f"    - {{{webhook}}}\n" for webhook in webhooks)
        file.write_text(f"sinks:\n  webhooks:\n{items}{more}{outbox}")
        return load(file, environ, rtzr=rtzr)

    return reading


@pytest.fixture
def fault(read: Read) -> Callable[..., str]:
    """The one line that a configuration is refused with, from its key on."""

    def refused(*webhooks: str, environ: dict[str, str] = KNOWN, **parts: str) -> str:
        with pytest.raises(ConfigError) as error:
            read(*webhooks, environ=environ, **parts)
        (line,) = error.value.lines
        return line.partition(": ")[2]

    return refused


def only(config: Config) -> Webhook:
    (webhook,) = config.sinks.webhooks
    return webhook


def test_the_least_that_is_said(read: Read) -> None:
    webhook = only(read(f"name: crm, {CRM}"))
    assert webhook.secret_env == ("CRM_WEBHOOK_SECRET",)
    assert (webhook.batch, webhook.timeout_s, webhook.rules) == (100, 10, None)
    assert webhook.reach == Reach()


def test_all_that_can_be_said(read: Read) -> None:
    config = read(
        "name: crm, url: 'http://10.1.2.3:8080/hook', "
        "secret_env: [CRM_WEBHOOK_SECRET, CRM_WEBHOOK_SECRET_OLD], "
        "rules: [sales line], batch: 1, timeout_s: 2.5, allow_private: [10.1.0.0/16, 192.168.7.5]",
        "name: erp, url: 'http://localhost:8080/', secret_env: CRM_WEBHOOK_SECRET, allow_private: true",
        more="rules: [{name: sales line}]\n",
    )
    crm, erp = config.sinks.webhooks
    assert crm.reach == Reach(networks=(ip_network("10.1.0.0/16"), ip_network("192.168.7.5/32")))
    assert erp.reach == Reach(private=True)
    assert config.secrets.named == {"CRM_WEBHOOK_SECRET": SECRET, "CRM_WEBHOOK_SECRET_OLD": OLD_SECRET}
    assert rules_of_webhooks(config) == {"webhook:crm": frozenset({"sales line"}), "webhook:erp": None}
    assert [(one.name, one.batch) for one in build_webhooks(config)] == [
        ("webhook:crm", 1),
        ("webhook:erp", 100),
    ]


async def test_what_is_built_signs_with_every_secret(read: Read) -> None:
    async with receiving() as receiver:
        config = read(
            f"name: crm, url: '{receiver.url}', secret_env: [CRM_WEBHOOK_SECRET, CRM_WEBHOOK_SECRET_OLD], "
            "allow_private: [127.0.0.0/8]"
        )
        (sender,) = build_webhooks(config)
        async with sender:
            await sender.send([stored(1)])
    assert receiver.got[0].verified(SECRET) == receiver.got[0].verified(OLD_SECRET)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CRM, "name: is missing; give it"),
        ("name: crm, secret_env: X", "url: is missing; give it"),
        ("name: crm, url: https://x/, url_env: U, secret_env: X", "url: is given twice, by url_env also"),
        ("name: crm, url_env: 'https://x/?k=hunter2', secret_env: X", "url_env: is no name of an env"),
        ("name: crm, url: 'https://x/?k=hunter2', secret_env: X", "url: carries a user, a password or a"),
        ("name: crm, url: https://crm.example/", "secret_env: is missing; give it"),
        ("name: a b, " + CRM, "name: is no name; use letters, digits and . _ - only"),
        ("name: crm, url: 'ftp://x', secret_env: X", "url: is not a URL of this kind; begin it with http"),
        ("name: crm, url: 'unix:///run/x.sock', secret_env: X", "url: is not a URL of this kind"),
        ("name: crm, url: 'https://a:b@x/', secret_env: X", "url: carries a user, a password or a query"),
        ("name: crm, url: 'http://crm.example/', secret_env: X", "url: would send transcripts unencrypted"),
        ("name: crm, url: 'https://127.0.0.1/', secret_env: X", "url: is no address of the internet (loop"),
        ("name: crm, url: 'https://localhost/', secret_env: X", "url: is no address of the internet (loop"),
        ("name: crm, url: 'https://[::1]/', secret_env: X", "url: is no address of the internet (loop"),
        ("name: crm, url: 'https://169.254.169.254/', secret_env: X", "url: is no address of"),
        ("name: crm, url: 'https://0x7f000001/', secret_env: X", "url: has a host that is no name"),
        ("name: crm, url: 'https://2130706433/', secret_env: X", "url: has a host that is no name"),
        ("name: crm, url: 'https://비밀.example/', secret_env: X", "url: is not in ASCII"),
        ("name: crm, url: https://crm.example, secret_env: []", "secret_env: names no secret"),
        ("name: crm, url: https://crm.example, secret_env: whsec_abc", "secret_env: is no name of an env"),
        ("name: crm, url: https://crm.example, secret_env: 5", "secret_env: is no name of an environment"),
        (f"name: crm, {CRM}, batch: 101", "batch: is too big; give 100 or less"),
        (f"name: crm, {CRM}, allow_private: 10.0.0.0/8", "allow_private: is neither true, false nor"),
        (f"name: crm, {CRM}, allow_private: [10.0.0.1/8]", "allow_private: is neither true, false nor"),
        (f"name: crm, {CRM}, allow_private: []", "allow_private: is neither true, false nor"),
        (f"name: crm, {CRM}, secret: hunter2", "secret: is a secret, and none is read from this file"),
        (f"name: crm, {CRM}, rules: [sales]", "rules: names a rule that is not there"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_mend(fault: Callable[..., str], text: str, line: str) -> None:
    told = fault(text)
    assert told.startswith(f"sinks.webhooks[0].{line}")
    assert not any(part in told for part in ("whsec_abc", "hunter2", "/run"))


def test_what_is_private_is_no_machine_s_own_passwords(fault: Callable[..., str]) -> None:
    private = "name: crm, url: 'https://169.254.169.254/', secret_env: X, allow_private: true"
    assert "(a metadata address)" in fault(private)


def test_a_secret_in_clear_is_told_where_it_belongs(fault: Callable[..., str]) -> None:
    told = fault(f"name: crm, {CRM}, secret: hunter2")
    assert told.endswith("take it out and set the environment variable that secret_env names")


def test_they_need_an_outbox(fault: Callable[..., str]) -> None:
    told = fault(f"name: crm, {CRM}", outbox="")
    assert told.startswith(
        "outbox.path: is missing: events wait there until the webhooks have them; give a file"
    )


def test_a_name_is_for_one(fault: Callable[..., str]) -> None:
    told = fault(f"name: crm, {CRM}", f"name: crm, {CRM}")
    assert told == "sinks.webhooks[1].name: is another webhook's name; give it one of its own"


def test_a_secret_that_is_not_there(fault: Callable[..., str]) -> None:
    assert fault(f"name: crm, {CRM}", environ=ENVIRON).startswith("CRM_WEBHOOK_SECRET: is not set; set it")


def test_a_secret_from_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    environ = {**ENVIRON, "CRM_WEBHOOK_SECRET_FILE": str(tmp_path / "secret")}
    assert read(f"name: crm, {CRM}", environ=environ).secrets.named == {"CRM_WEBHOOK_SECRET": SECRET}


def test_a_secret_that_is_no_key_is_not_repeated(fault: Callable[..., str]) -> None:
    told = fault(f"name: crm, {CRM}", environ={**ENVIRON, "CRM_WEBHOOK_SECRET": "hunter2"})
    assert told.startswith("CRM_WEBHOOK_SECRET: is no key of a webhook")
    assert "hunter2" not in told


def test_they_are_shown_nowhere(read: Read) -> None:
    config = read(f"name: crm, {CRM}")
    assert SECRET not in f"{config!r} {config.secrets!r} {config.model_dump()}"


def test_what_is_no_daemon_needs_none(read: Read) -> None:
    config = read(f"name: crm, {CRM}", environ=ENVIRON, rtzr=False)
    assert config.secrets.named == {}


IN_SECRET = "name: crm, url_env: CRM_WEBHOOK_URL, secret_env: CRM_WEBHOOK_SECRET"


def known(url: str) -> dict[str, str]:
    return {**KNOWN, "CRM_WEBHOOK_URL": url}


async def test_a_url_with_a_key_is_in_the_environment(read: Read) -> None:
    async with receiving() as receiver:
        config = read(
            f"{IN_SECRET}, allow_private: true", environ=known(f"{receiver.url}?code=hunter2&sig=%2Bx")
        )
        (sender,) = build_webhooks(config)
        async with sender:
            await sender.send([stored(1)])
    assert receiver.got[0].line == "POST /hook?code=hunter2&sig=%2Bx HTTP/1.1"
    assert "hunter2" not in f"{config!r} {config.secrets!r} {config.model_dump()} {sender!r}"


def test_or_in_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://crm.example/?code=hunter2\n")
    environ = {**KNOWN, "CRM_WEBHOOK_URL_FILE": str(tmp_path / "url")}
    assert read(IN_SECRET, environ=environ).secrets.named["CRM_WEBHOOK_URL"].endswith("=hunter2")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", "is not set; set it"),
        ("ftp://crm.example/?code=hunter2", "is not a URL of this kind; begin it with http"),
        ("hunter2", "is not a URL of this kind"),
        ("https://crm.example/?code=hunter2 x", "is not a URL of this kind"),
        ("https://[::1/?code=hunter2", "is not a URL; write it as"),
        ("https://a:hunter2@crm.example/", "carries a user, a password or a fragment; take it out"),
        ("https://crm.example/#hunter2", "carries a user, a password or a fragment"),
        ("http://crm.example/?code=hunter2", "would send transcripts unencrypted over the internet"),
        ("https://127.0.0.1/?code=hunter2", "is no address of the internet (loopback)"),
        ("https://169.254.169.254/?code=hunter2", "is no address of the internet (a metadata address)"),
        ("https://0x7f000001/?code=hunter2", "has a host that is no name"),
        ("https://crm.example/?code=hunter2비밀", "is not in ASCII"),
    ],
)
def test_what_is_wrong_with_it_is_told_without_any_part_of_it(
    fault: Callable[..., str], url: str, line: str
) -> None:
    told = fault(IN_SECRET, environ=known(url))
    assert told.startswith(f"CRM_WEBHOOK_URL: {line}")
    assert "hunter2" not in told
