"""bridge/config/page.py: the page is off, near and shut unless somebody opens it."""

from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load

ENVIRON = {"RTZR_CLIENT_ID": "i", "RTZR_CLIENT_SECRET": "s", "ARI_PASSWORD": "p"}
TOKEN = {"RTZR_PAGE_TOKEN": "0123456789abcdef"}


def read(tmp_path: Path, text: str, **environ: str) -> Config:
    file = tmp_path / "bridge.yaml"
    file.write_text(text)
    return load(file, ENVIRON | environ)


def fault(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environ)
    (line,) = caught.value.lines
    return line.partition(": ")[2]


def test_it_is_off_and_on_loopback() -> None:
    page = Config().page
    assert (page.port, page.bind, page.trusted_header) == (0, "127.0.0.1", None)
    assert "feed" not in Config().sinks_on


def test_it_wants_a_token(tmp_path: Path) -> None:
    config = read(tmp_path, "page: {port: 8091}", **TOKEN)
    assert config.secrets.page_token == TOKEN["RTZR_PAGE_TOKEN"]
    assert TOKEN["RTZR_PAGE_TOKEN"] not in repr(config.secrets)
    assert fault(tmp_path, "page: {port: 8091}").startswith("RTZR_PAGE_TOKEN: is not set; ")
    short = fault(tmp_path, "page: {port: 8091}", RTZR_PAGE_TOKEN="short-0ne")
    assert short.startswith("RTZR_PAGE_TOKEN: is too short")
    assert "short-0ne" not in short


def test_behind_a_proxy_that_knows_people_it_may_do_without(tmp_path: Path) -> None:
    text = "page: {port: 8091, trusted_header: X-Forwarded-User}"
    config = read(tmp_path, text)
    assert config.secrets.page_token == ""
    assert [str(network) for network in config.page.networks] == ["127.0.0.1/32", "::1/128"]
    assert read(tmp_path, text, **TOKEN).secrets.page_token == TOKEN["RTZR_PAGE_TOKEN"]
    assert fault(tmp_path, text, RTZR_PAGE_TOKEN="short").startswith("RTZR_PAGE_TOKEN: is too short")


def test_what_it_shows_is_the_feeds(tmp_path: Path) -> None:
    rules = "rules: [{name: a, sinks: [feed]}]\n"
    assert "feed" in read(tmp_path, f"{rules}page: {{port: 8091}}", **TOKEN).sinks_on
    assert "names feed, which is off; set sinks.feed.port or page.port" in fault(tmp_path, rules)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("trusted_header: 'X User'", "page.trusted_header: "),
        ("proxies: [here]", "page.proxies[0]: is no address or network; write 127.0.0.1 or 172.18.0.0/16"),
        ("proxies: [10.0.0.1/8]", "page.proxies[0]: is no address or network; "),
        ("trusted_header: X-User, proxies: []", "page.proxies: names no proxy, so nobody could log in"),
        ("origins: [calls.example]", "page.origins[0]: is no origin; "),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, key: str, said: str) -> None:
    assert fault(tmp_path, f"page: {{{key}}}").startswith(said)
