"""bridge/admin/opening.py: what the configuration opens, and what it says where that cannot be."""

import socket
from pathlib import Path

import httpx
import pytest

from bridge.admin.opening import build_feed, open_control, open_feed, open_metrics
from bridge.config import Config, ConfigError, load
from tests.asterisk.pbx import free_tcp_port
from tests.sinks.test_feed import final

TOKEN = "t0ken-of-16-characters"
ENVIRON = {"RTZR_CLIENT_ID": "i", "RTZR_CLIENT_SECRET": "s", "ARI_PASSWORD": "p", "RTZR_FEED_TOKEN": TOKEN}


def config(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "bridge.yaml"
    file.write_text(text)
    return load(file, ENVIRON)


async def test_the_feed_is_read_with_the_token_of_the_environment(tmp_path: Path) -> None:
    port = free_tcp_port()
    given = config(tmp_path, f"sinks: {{feed: {{port: {port}}}}}")
    sink = build_feed(given)
    assert sink is not None
    assert sink.name == "feed"
    await sink.put([final(1), final(2)])
    async with open_feed(given, sink), httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}/events?after=c/x/1"
        assert (await http.get(url)).status_code == 401
        async with http.stream("GET", f"{url}&token={TOKEN}") as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line == "id: c/x/2":
                    break
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as http:
            await http.get(url)


async def test_calls_whose_rule_names_other_sinks_are_not_for_the_feed(tmp_path: Path) -> None:
    text = f"""
sinks: {{feed: {{port: {free_tcp_port()}}}}}
rules: [{{name: a, sinks: [console]}}, {{name: b, sinks: [feed]}}, {{name: c}}]
"""
    sink = build_feed(config(tmp_path, text))
    assert sink is not None
    assert sink._hidden == {"a"}


def test_nothing_is_open_unless_it_is_asked_for() -> None:
    assert build_feed(Config()) is None
    assert Config().admin.socket is None


async def test_a_port_that_is_taken_is_told_as_a_fault_of_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = config(tmp_path, f"sinks: {{feed: {{port: {port}}}}}")
        sink = build_feed(given)
        assert sink is not None
        with pytest.raises(ConfigError, match=rf"^sinks\.feed\.port: 127\.0\.0\.1:{port} is not to be had"):
            async with open_feed(given, sink):
                pass


async def test_a_second_daemon_is_told_and_the_first_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    given = config(tmp_path, f"admin: {{socket: {path}}}")
    async with open_control(given, None):
        with pytest.raises(ConfigError, match=r"^admin\.socket: .* is another daemon's"):
            async with open_control(given, None):
                pass
        assert path.is_socket()
    assert not path.exists()


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    given = config(tmp_path, f"admin: {{socket: {tmp_path}/no/admin.sock}}")
    with pytest.raises(ConfigError, match=r"^admin\.socket: .* is not to be had \(No such file"):
        async with open_control(given, None):
            pass


async def test_without_a_socket_there_is_no_control() -> None:
    async with open_control(Config(), None):
        pass


async def test_metrics_and_probes_are_asked_on_a_port_of_their_own_and_nothing_else(tmp_path: Path) -> None:
    port = free_tcp_port()
    reasons = ["the bridge is starting"]
    given = config(tmp_path, f"metrics: {{port: {port}}}")
    async with open_metrics(given, lambda: reasons), httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}"
        assert (await http.get(f"{url}/health")).text == "ok\n"
        answer = await http.get(f"{url}/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": reasons})
        reasons.clear()
        assert (await http.get(f"{url}/ready")).status_code == 200
        answer = await http.get(f"{url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "rtzr_bridge_legs" in answer.text
        assert (await http.get(f"{url}/deliveries")).status_code == 404
        assert (await http.post(f"{url}/metrics")).status_code == 405
        with pytest.raises(
            ConfigError, match=rf"metrics.port: 127.0.0.1:{port} is not to be had \(Address al"
        ):
            async with open_metrics(given, list):
                pass


async def test_without_a_port_there_are_none(tmp_path: Path) -> None:
    async with open_metrics(config(tmp_path, "metrics: {}"), list):
        pass
