"""bridge/page/door.py: who is let in, by what, and how often somebody may guess."""

import ipaddress
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from bridge.page.door import COOKIE, Door

TOKEN = "t0ken-of-16-characters"
HOST = "bridge.example:8091"
HERE = {"host": HOST, "origin": f"http://{HOST}"}
OWN = frozenset({f"https://{HOST}"})
LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def asked(method: str = "GET", body: bytes = b"", client: str = "127.0.0.1", /, **headers: str) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    named = {name.replace("_", "-"): value for name, value in ({"host": HOST} | headers).items()}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": b"",
        "headers": raw,
        "client": (client, 5000),
    }
    return Request(scope, receive)


def status(answer: Response | None) -> int:
    """200: let in."""
    return 200 if answer is None else answer.status_code


async def logged_in(door: Door, token: str = TOKEN, **headers: str) -> Response:
    return await door.login(asked("POST", urlencode({"token": token}).encode(), **(HERE | headers)))


def cookie_of(answer: Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


class TestToken:
    def test_nothing_shown_nobody_in(self) -> None:
        assert status(Door(TOKEN).refusal(asked())) == 401
        assert status(Door("").refusal(asked(authorization="Bearer "))) == 401
        assert status(Door("").refusal(asked(cookie=f"{COOKIE}=9999999999."))) == 401

    def test_programs_show_the_token(self) -> None:
        door = Door(TOKEN)
        assert status(door.refusal(asked(authorization=f"Bearer {TOKEN}"))) == 200
        assert status(door.refusal(asked("POST", authorization=f"bearer  {TOKEN}"))) == 200
        assert status(door.refusal(asked(authorization=f"Basic {TOKEN}"))) == 401
        assert status(door.refusal(asked(authorization="Bearer 토큰"))) == 401

    async def test_a_login_gives_a_cookie_that_no_script_and_no_other_page_can_use(self) -> None:
        door = Door(TOKEN)
        answer = await logged_in(door)
        assert answer.status_code == 204
        told = answer.headers["set-cookie"].lower()
        assert "httponly" in told
        assert "samesite=strict" in told
        assert "secure" not in told
        assert TOKEN not in told
        assert status(door.refusal(asked(cookie=cookie_of(answer)))) == 200
        assert status(Door("another-token-of-16").refusal(asked(cookie=cookie_of(answer)))) == 401

    async def test_behind_tls_the_cookie_is_for_tls_alone(self) -> None:
        door = Door(TOKEN, origins=frozenset({"https://calls.example"}))
        answer = await logged_in(door, origin="https://calls.example")
        assert "secure" in answer.headers["set-cookie"].lower()

    async def test_a_cookie_is_good_for_a_shift(self) -> None:
        clock = Clock()
        door = Door(TOKEN, wall=clock)
        cookie = cookie_of(await logged_in(door))
        clock.now += 12 * 3600 - 1
        assert status(door.refusal(asked(cookie=cookie))) == 200
        clock.now += 1
        assert status(door.refusal(asked(cookie=cookie))) == 401

    async def test_who_changes_its_end_has_no_cookie(self) -> None:
        door = Door(TOKEN)
        value = cookie_of(await logged_in(door)).partition("=")[2]
        _, _, seal = value.partition(".")
        for changed in (
            f"9999999999.{seal}",
            f"{value}0",
            seal,
            "",
            ".",
            "x.y",
            "9" * 5000,
            "1e9.0",
            "１.２",
        ):
            assert status(door.refusal(asked(cookie=f"{COOKIE}={changed}"))) == 401, changed

    async def test_a_logout_takes_it_back(self) -> None:
        answer = await Door(TOKEN).logout(asked("POST", b"", **HERE))
        assert "max-age=0" in answer.headers["set-cookie"].lower()

    @pytest.mark.parametrize("body", [b"", b"token", b"x=1", b"\xff\xfe", b"token=" + b"x" * 5000, b"{}"])
    async def test_a_form_that_is_none(self, body: bytes) -> None:
        assert (await Door(TOKEN).login(asked("POST", body, **HERE))).status_code == 400


class TestGuessing:
    async def test_who_guesses_waits_and_nobody_else(self) -> None:
        clock = Clock()
        door = Door(TOKEN, clock=clock)
        tries = [(await logged_in(door, "wrong")).status_code for _ in range(6)]
        assert tries == [401] * 5 + [429]
        late = await logged_in(door)
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) >= 1
        assert status(door.refusal(asked(authorization=f"Bearer {TOKEN}"))) == 429
        assert status(door.refusal(asked("GET", b"", "10.0.0.9", authorization=f"Bearer {TOKEN}"))) == 200
        clock.now += 5
        assert (await logged_in(door)).status_code == 204

    def test_there_is_an_end_to_what_is_remembered(self) -> None:
        door = Door(TOKEN)
        for number in range(1200):
            door.refusal(
                asked("GET", b"", f"10.0.{number // 250}.{number % 250}", authorization="Bearer wrong")
            )
        assert len(door._guesses) == 1000


class TestForeignPages:
    FOREIGN = (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": f"http://{HOST}", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    )

    @pytest.mark.parametrize("headers", FOREIGN)
    async def test_they_get_nothing_though_they_bring_a_cookie(self, headers: dict[str, str]) -> None:
        door = Door(TOKEN, header="x-user", proxies=LOOPBACK)
        cookie = cookie_of(await logged_in(door))
        shown = {"cookie": cookie, "x_user": "kim", "authorization": f"Bearer {TOKEN}"}
        assert status(door.refusal(asked("GET", b"", "127.0.0.1", **shown, **headers))) == 403
        assert status(door.refusal(asked("POST", b"", **shown, **headers))) == 403
        body = urlencode({"token": TOKEN}).encode()
        assert (await door.login(asked("POST", body, **headers))).status_code == 403
        assert (await door.logout(asked("POST", b"", **headers))).status_code == 403

    async def test_a_change_by_cookie_says_whose_page_it_is(self) -> None:
        door = Door(TOKEN)
        cookie = cookie_of(await logged_in(door))
        assert status(door.refusal(asked("POST", cookie=cookie))) == 403
        assert status(door.refusal(asked("POST", cookie=cookie, **HERE))) == 200

    async def test_the_pages_own_address_beyond_a_proxy(self) -> None:
        door = Door(TOKEN, origins=frozenset({"https://calls.example"}))
        cookie = cookie_of(await logged_in(door))
        assert status(door.refusal(asked("POST", cookie=cookie, origin="https://calls.example"))) == 200
        assert status(door.refusal(asked("POST", cookie=cookie, origin="https://other.example"))) == 403


class TestBehindAProxy:
    def test_whoever_it_names_is_known_by_that_name(self) -> None:
        door = Door(TOKEN, header="X-Forwarded-User", proxies=LOOPBACK, origins=OWN)
        assert door.who(asked(x_forwarded_user="kim@example.com")) == "kim@example.com"
        assert door.who(asked(x_forwarded_user="김하늘\x1b[2J" + "x" * 500))[:6] == "김하늘[2J"
        assert len(door.who(asked(x_forwarded_user="x" * 500))) == 100
        assert door.who(asked(authorization=f"Bearer {TOKEN}")).startswith("token")

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8091", "localhost.evil.example", "", "[::1"]
    )
    def test_a_name_that_leads_here_is_not_the_pages_own(self, host: str) -> None:
        door = Door(
            "", header="X-Forwarded-User", proxies=LOOPBACK, origins=frozenset({"https://calls.example"})
        )
        named = {"x_forwarded_user": "kim", "host": host}
        assert status(door.refusal(asked(**named, sec_fetch_site="same-origin"))) in (401, 403)
        assert status(door.refusal(asked("POST", **named, origin=f"http://{host}"))) in (401, 403)

    @pytest.mark.parametrize(
        "host", ["calls.example", "calls.example:8443", "localhost:1", "127.0.0.1:1", "[::1]:1"]
    )
    def test_its_own_names_are(self, host: str) -> None:
        door = Door(
            "", header="X-Forwarded-User", proxies=LOOPBACK, origins=frozenset({"https://calls.example"})
        )
        assert status(door.refusal(asked(x_forwarded_user="kim", host=host))) == 200

    def test_its_word_is_believed_and_nobody_elses(self) -> None:
        door = Door("", header="X-Forwarded-User", proxies=LOOPBACK, origins=OWN)
        assert status(door.refusal(asked(x_forwarded_user="kim"))) == 200
        assert status(door.refusal(asked("POST", x_forwarded_user="kim", **HERE))) == 200
        assert status(door.refusal(asked(x_forwarded_user=""))) == 401
        assert status(door.refusal(asked("GET", b"", "10.0.0.9", x_forwarded_user="kim"))) == 401
        assert status(door.refusal(asked("GET", b"", "no address", x_forwarded_user="kim"))) == 401

    def test_without_the_key_no_header_lets_in(self) -> None:
        assert status(Door(TOKEN, proxies=LOOPBACK).refusal(asked(x_forwarded_user="kim"))) == 401

    async def test_where_there_is_no_token_nobody_logs_in_by_one(self) -> None:
        door = Door("", header="x-user", proxies=LOOPBACK)
        assert (await logged_in(door, "")).status_code == 400
        assert (await logged_in(door, "x")).status_code == 401
