"""`explain --channel` asks a real Asterisk about a live channel, over ARI and over AMI."""

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import app
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for

RULES = [
    {"name": "sales", "match": {"queue": "sales"}},
    {"name": "acme", "match": {"variables": {"TENANT": "ac*"}}},
    {"name": "line", "match": {"did": "_X."}},
]


def _talks(pbx: Asterisk, channel: str) -> bool:
    """Whether it is up, and with somebody or waiting for somebody."""
    return any(
        one["id"] == channel and one["state"] == "Up" and one["dialplan"].get("app_name") in ("Dial", "Queue")
        for one in pbx.channels()
    )


@pytest.mark.parametrize("via", ["ari", "ami"])
def test_a_live_channel_is_explained_by_what_the_pbx_says(pbx: Asterisk, tmp_path: Path, via: str) -> None:
    file = tmp_path / "bridge.yaml"
    asterisk = {
        "via": via,
        "ari_url": pbx.ari_url,
        "ami_port": pbx.ami_port,
        "username": pbx.username,
        "trunk_contexts": ["outside"],
    }
    file.write_text(json.dumps({"asterisk": asterisk, "rules": RULES}), encoding="utf-8")
    environ = {"ARI_PASSWORD": pbx.password, "AMI_SECRET": pbx.password}
    for context, rule in [
        ("outside", "line"),
        ("tenant", "acme"),
        ("to-queue", "sales"),
        ("unannounced", None),
    ]:
        call = pbx.two_party_call([(10.0, HANGUP)], [], context=context, ring_s=0.1)
        wait_for(partial(_talks, pbx, call.caller), 5, lambda: pbx.cli("core show channels"))
        arguments = ["explain", "-c", str(file), "--channel", call.caller, "--json"]
        result = CliRunner().invoke(app, arguments, env=environ)
        assert json.loads(result.stdout)["rule"] == rule, (context, result.output)
        pbx.hangup_all()
    result = CliRunner().invoke(app, ["explain", "-c", str(file), "--channel", "not-there"], env=environ)
    assert (result.exit_code, "core show channels concise" in result.output) == (2, True)
