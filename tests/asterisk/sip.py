"""Calls that reach the test's Asterisk by SIP: sipp as a telephone that speaks a prompt and hangs up.

The callee's side, and what Asterisk does with the call, is in pbx.py and pbx_config.py.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.asterisk.pbx import Asterisk

HEADERS = """\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "sipp" <sip:0298765432@[local_ip]:[local_port]>;tag=[call_number]"""

SCENARIO = f"""<?xml version="1.0" encoding="UTF-8"?>
<scenario name="a telephone that speaks">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
{HEADERS}
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
{HEADERS}
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  <nop><action><exec rtp_stream="AUDIO,1,0"/></action></nop>
  <pause milliseconds="LENGTH_MS"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
{HEADERS}
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
"""


@contextmanager
def sip_call(pbx: Asterisk, number: str, ulaw: bytes, folder: Path) -> Iterator[None]:
    """A telephone calls `number`, speaks `ulaw` (mu-law, 8 kHz) once it is answered, and hangs up at its end.

    The call is announced like any from a telephone. Leaving the block waits until the telephone is done;
    AssertionError with sipp's own words when the call failed. `folder` is for its files.
    """
    audio, scenario = folder / "phone.ulaw", folder / "phone.xml"
    audio.write_bytes(ulaw)
    length_ms = len(ulaw) // 8
    text = SCENARIO.replace("AUDIO", str(audio)).replace("LENGTH_MS", str(length_ms))
    scenario.write_text(text, encoding="utf-8")
    command = ["sipp", pbx.sip_address, "-sf", str(scenario), "-s", number, "-m", "1", "-nostdin"]
    command += [
        "-i",
        "127.0.0.1",
        "-mi",
        "127.0.0.1",
        "-timeout",
        f"{length_ms // 1000 + 20}s",
        "-timeout_error",
    ]
    phone = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield
        said, _ = phone.communicate(timeout=length_ms / 1000 + 30)
        assert phone.returncode == 0, said.decode(errors="replace")[-2000:]
    finally:
        if phone.poll() is None:
            phone.kill()
            phone.communicate()
