"""`rtzr-bridge explain`: what an administrator reads, and what a script does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.config.choosing import Match

RULES = """
rules:
  - name: 긴급
    match: {extension: ["112", "119"]}
    tap: false
  - name: line
    match: {did: "1588*", variables: {TENANT: acme}}
  - name: tenth
    match: {context: "from-*"}
    sample: 10
"""
TOO_LONG = "is longer than silence_ms, which ends the utterance; give silence_ms or less"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "bridge.yaml"
    file.write_text(RULES, encoding="utf-8")
    return file


def explained(config: Path, *options: str) -> Result:
    """RTZR's secrets are not needed, the PBX's only for a live channel."""
    environ = {"RTZR_CLIENT_ID": "", "RTZR_CLIENT_SECRET": "", "ARI_PASSWORD": ""}
    if "--channel" in options:
        environ["ARI_PASSWORD"] = "password"
    return CliRunner().invoke(app, ["explain", "-c", str(config), *options], env=environ)


def test_each_rule_says_why_and_the_last_line_what_comes_of_it(config: Path) -> None:
    trunk = ("--context", "from-trunk", "--extension", "15881234", "--variable", "TENANT=acme")
    result = explained(config, *trunk)
    assert result.output.splitlines() == [
        "no  긴급: extension is 15881234, and should be 112 or 119",
        "hit line: every condition holds",
        "-   tenth (for 10 % of its calls): not asked: line matched before",
        "It is transcribed, by line.",
    ]
    assert result.exit_code == 0


def test_a_call_that_is_forbidden_or_of_no_rule_ends_with_1(config: Path) -> None:
    forbidden = explained(config, "--extension", "119")
    assert (forbidden.output.splitlines()[-1], forbidden.exit_code) == ("It is not: 긴급 chose so.", 1)
    unknown = explained(config, "--context", "other")
    assert unknown.output.splitlines()[-1].startswith("No rule chooses it")
    assert unknown.exit_code == 1


def test_a_script_gets_one_document(config: Path) -> None:
    document = json.loads(explained(config, "--context", "from-phones", "--json").output)
    assert (document["tapped"], document["rule"]) == (True, "tenth (for 10 % of its calls)")
    assert [one["hit"] for one in document["rules"]] == [False, False, True]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--direction", "up"), "--direction: is neither in, out nor internal"),
        (("--variable", "TENANT"), "--variable: is not NAME=VALUE"),
        (("--channel", "1.1"), "asterisk: PbxUnreachable"),
    ],
)
def test_what_cannot_be_explained_is_said_and_ends_with_2(
    config: Path, options: tuple[str, ...], told: str
) -> None:
    config.write_text(RULES + "asterisk: {ari_url: 'http://127.0.0.1:9/ari'}\n", encoding="utf-8")
    result = explained(config, *options)
    assert (result.exit_code, told in result.output) == (2, True)


def test_faults_in_rules_are_told_with_their_places(config: Path) -> None:
    config.write_text(
        """
rules:
  - match: {extension: 100, colour: red}
  - name: a
    match: {caller: "_01["}
    gate: {silence_ms: 200, hangover_ms: 900}
  - name: a
""",
        encoding="utf-8",
    )
    lines = [line.partition("bridge.yaml")[2] for line in explained(config).output.splitlines()]
    assert lines == [
        ":3: rules[0].name: is missing; give it",
        ":3: rules[0].match.extension: is no text; put numbers in quotes, or YAML takes their zeros away",
        f":3: rules[0].match.colour: is not a key; the keys here are {', '.join(Match.model_fields)}",
        ":5: rules[1].match.caller: has a [ that is not closed, or nothing in it; give a set such as [1-5]",
    ]
    config.write_text("rules:\n  - name: a\n    gate: {hangover_ms: 900}\n  - name: a\n", encoding="utf-8")
    assert [line.partition("bridge.yaml")[2] for line in explained(config).output.splitlines()] == [
        f":2: rules[0]: does not go with the other keys: hangover_ms {TOO_LONG}",
        ":4: rules[1].name: is another rule's name; give it one of its own",
    ]


CAPTURES = Path(__file__).parent.parent / "captures" / "asterisk"
RULES_OF_LOG = (
    "rules: [{name: tenth, match: {context: 'from-*', variables: {TENANT: '*'}}}, {name: never, tap: false}]"
)


def test_every_call_of_a_log_has_its_block(config: Path) -> None:
    config.write_text(RULES_OF_LOG, encoding="utf-8")
    log = ("--from-log", str(CAPTURES / "events.json"))
    result = explained(config, *log)
    lines = result.output.splitlines()
    assert lines[0].startswith("call phone-d4baeac5-3572-4108-a21c-90356c2f8cff  2026-11-22 ")
    assert lines[1].startswith("    context from-phones, extension 705100, ")
    assert "variables" not in lines[1]
    assert lines[2:4] == [
        "no  tenth: variables.TENANT is not known, and should be *",
        "hit never: its tap is false",
    ]
    assert (lines[-1], result.exit_code) == (
        "It is not: never chose so. That was known 0.0 s after it came in.",
        1,
    )
    document = json.loads(explained(config, *log, "--json").output)
    assert (document["log"], document["unread"], len(document["calls"])) == ("ARI events", [], 1)
    assert (document["calls"][0]["tapped"], document["calls"][0]["rule"]) == (False, "never")


def test_a_log_without_a_call_and_no_log_end_with_2(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text, told in [
        (None, "cannot be read (No such file or directory); give a file of events"),
        ("hello", "has neither ARI's events"),
        ("Event: FullyBooted\n\nnoise\n", "has no call in it (0 AMI events of use, 1 not readable)"),
    ]:
        if text is not None:
            log.write_text(text, encoding="utf-8")
        result = explained(config, "--from-log", str(log))
        assert (result.exit_code, told in result.output) == (2, True), result.output
    result = explained(config, "--from-log", str(log), "--context", "x")
    assert (result.exit_code, "leave the other options out" in result.output) == (2, True)


def test_unreadable_lines_of_a_log_are_told_beside_the_answer(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "ami.log"
    noise = "".join(f"noise {number}\n" for number in range(22))
    log.write_bytes(
        b"Asterisk Call Manager/11.0.0\n" + noise.encode() + b"\n" + (CAPTURES / "ami.txt").read_bytes()
    )
    result = explained(config, "--from-log", str(log))
    assert (result.exit_code, result.stdout.count("call "), "noise" in result.stdout) == (0, 1, False)
    told = result.stderr.splitlines()
    assert (len(told), told[0]) == (21, f"{log}: line 2 is no 'Header: value' of AMI; left out")
    assert told[-1] == f"{log}: and 2 more that cannot be read"


def test_a_cdr_is_explained_with_a_warning(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "Master.csv"
    row = '"","010","119","from-trunk","","PJSIP/t-1","","Dial","","2026-11-22 10:00:00",'
    row += '"","","9","5","","","1.1",""'
    log.write_text(row + "\n", encoding="utf-8")
    result = explained(config, "--from-log", str(log))
    lines = result.output.splitlines()
    assert (lines[0], lines[-1][:11]) == ("call 1.1  2026-11-22 10:00:00", "A CDR keeps")
    assert "It is not: 긴급 chose so." in lines
