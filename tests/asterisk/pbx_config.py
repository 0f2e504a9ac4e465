"""The configuration of a test's own Asterisk: the administrator's files of dialplan/asterisk/ and the rest.

Text in, text out (and one folder written). Starting and asking Asterisk is in pbx.py.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.asterisk import company

SNIPPETS = Path(__file__).parents[2] / "dialplan" / "asterisk"
USERNAME = "rtzr-bridge"
PASSWORD = "ari-password-of-the-tests"
READER = "reader"
"""Another user of the same password, who may only read."""
ALMIGHTY = "almighty"
"""A user of AMI who may do everything."""
SILENT = "silent"
"""One who may do all that a run needs, but send no events."""

MODULES = """
app_audiosocket app_bridgewait app_chanspy app_confbridge app_dial app_directed_pickup app_echo app_exec
app_milliwatt app_mixmonitor app_originate app_playback app_queue app_read app_senddtmf app_stack
app_stasis app_transfer app_userevent app_verbose app_while bridge_* cdr_custom chan_audiosocket
chan_bridge_media chan_pjsip chan_rtp chan_websocket codec_alaw codec_g722 codec_resample codec_ulaw
format_pcm format_sln format_wav func_* pbx_config res_ari res_ari_* res_audiosocket res_cdrel_custom
res_crypto res_format_attr_* res_http_websocket res_musiconhold res_parking res_pjproject res_pjsip
res_pjsip_* res_rtp_asterisk res_rtp_multicast res_sorcery_astdb res_sorcery_config res_sorcery_memory
res_clioriginate res_srtp res_stasis res_stasis_* res_statsd res_timing_timerfd res_websocket_client
"""
"""What the tests use; loading all of the package's modules takes seconds and logs errors about databases."""
UNWANTED = """
func_curl func_lock func_odbc func_pitchshift func_realtime func_speex res_pjsip_config_wizard
res_pjsip_geolocation res_pjsip_notify res_pjsip_phoneprov_provider res_pjsip_publish_asterisk
res_pjsip_stir_shaken res_pjsip_transport_websocket res_stasis_test
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where one instance lives. Paths as Asterisk sees them, inside its chroot."""

    base: Path
    http_port: int
    ami_port: int
    sip_port: int
    rtp_first: int
    rtp_last: int
    media_port: int
    """Where Asterisk opens the WebSockets of websocket_client.conf to."""
    phones_port: int
    """Where telephones.py listens for SIP, or will."""

    def sub(self, name: str) -> Path:
        return self.base / name


def snippet(name: str) -> str:
    """The text of a file in dialplan/asterisk/."""
    return (SNIPPETS / name).read_text(encoding="utf-8")


def announcement() -> str:
    """The one dialplan line that an administrator pastes to have a call heard."""
    return line("UserEvent")


def line(application: str) -> str:
    """The dialplan line that runs it, taken from the very file that tells an administrator so."""
    (found,) = re.findall(rf"^;\s+(same => n,{application}\(.*\))$", snippet("extensions.conf"), re.MULTILINE)
    return str(found)


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is not once in the snippet"
    return text.replace(old, new)


def _asterisk(places: Places) -> str:
    own = {
        "astetcdir": "etc",
        "astvarlibdir": "lib",
        "astdbdir": "lib",
        "astkeydir": "lib",
        "astspooldir": "spool",
    }
    own |= {"astrundir": "run", "astlogdir": "log", "astcachedir": "cache"}
    lines = [f"{key} => {places.sub(name)}" for key, name in own.items()]
    lines += ["astdatadir => /usr/share/asterisk", "astagidir => /usr/share/asterisk/agi-bin"]
    return "[directories]\n" + "\n".join(lines) + "\n[options]\nverbose = 3\nnocolor = yes\n"


def _modules(available: list[str]) -> str:
    wanted = [
        name
        for name in available
        if any(fnmatch(name, pattern) for pattern in MODULES.split()) and name not in UNWANTED.split()
    ]
    return "[modules]\nautoload = no\n" + "".join(f"load = {name}.so\n" for name in wanted)


def _extensions(places: Places) -> str:
    return f"""
[globals]
PROMPTS={places.sub("prompts")}

#include extensions-rtzr.conf

{company.DIALPLAN}

; A call from a phone, announced by the administrator's own line.
[from-phones]
exten => _X.,1,NoOp()
 {announcement()}
 same => n,Dial(Local/${{EXTEN}}@phones/n,60)
 same => n,Hangup()

; What a telephone dials for them.
exten => 8801,1,Goto(stay,${{EXTEN}},1)
exten => 8802,1,Goto(visit,${{EXTEN}},1)

; The same without the announcement: none of the bridge's business.
[unannounced]
exten => _X.,1,Dial(Local/${{EXTEN}}@phones/n,60)
 same => n,Hangup()

; From outside, to a variable and to a queue: nothing of the bridge in any of them.
[outside]
exten => _X.,1,Dial(Local/${{EXTEN}}@phones/n,60)
 same => n,Hangup()

[tenant]
exten => _X.,1,Set(__TENANT=acme)
 same => n,Dial(Local/${{EXTEN}}@phones/n,60)
 same => n,Hangup()

[to-queue]
exten => _X.,1,Answer()
 same => n,Queue(sales,,,,30)
 same => n,Hangup()

; A call that is over before anybody can do anything about it.
[hasty]
exten => _X.,1,NoOp()
 {announcement()}
 same => n,Hangup()

; A ring group of two members.
[ring-group]
exten => _X.,1,NoOp()
 {announcement()}
 same => n,Dial(Local/${{EXTEN}}1@phones/n&Local/${{EXTEN}}2@phones/n,60)
 same => n,Hangup()

; The callee's phone, which is no part of the PBX: no call record.
; Its script comes with the call, or from the global variable SCRIPT_<number>.
[phones]
exten => _X.,1,Set(CDR_PROP(disable)=1)
 same => n,Set(SCRIPT=${{CALLEE_SCRIPT}})
 same => n,GotoIf($["${{SCRIPT}}" != ""]?ring)
 same => n,Set(SCRIPT=${{GLOBAL(SCRIPT_${{EXTEN}})}})
 same => n,Set(RING_S=${{GLOBAL(RING_${{EXTEN}})}})
 same => n(ring),Ringing()
 same => n,Wait(${{RING_S}})
 same => n,Answer(0)
 same => n,Goto(speak,s,1)

; The caller's phone, from the moment it is answered.
[caller-phone]
exten => s,1,Set(SCRIPT=${{CALLER_SCRIPT}})
 same => n,Goto(speak,s,1)

; SCRIPT is pause:prompt steps joined by ^; the prompt HANGUP ends the call, none is only a pause.
[speak]
exten => s,1,Set(N=1)
 same => n(next),Set(STEP=${{CUT(SCRIPT,^,${{N}})}})
 same => n,GotoIf($["${{STEP}}" = ""]?stay)
 same => n,Wait(${{CUT(STEP,:,1)}})
 same => n,Set(PROMPT=${{CUT(STEP,:,2)}})
 same => n,GotoIf($["${{PROMPT}}" = "HANGUP"]?bye)
 same => n,GotoIf($["${{PROMPT}}" = ""]?skip)
 same => n,Playback(${{PROMPTS}}/${{PROMPT}})
 same => n(skip),Set(N=$[${{N}} + 1])
 same => n,Goto(next)
 same => n(stay),Wait(3600)
 same => n(bye),Hangup()

; A call whose own channel runs the AudioSocket application, and which goes on afterwards.
[audiosocket]
exten => s,1,Answer()
 same => n,AudioSocket(${{AUDIOSOCKET_KEY}},${{AUDIOSOCKET_AT}})
 same => n,Set(WENT_ON=yes)
 same => n,Wait(3600)

; Calls that stay with the bridge, and what they do afterwards: announced, and not.
[stay]
exten => _X.,1,Answer()
 {line("Stasis")}
 same => n,Goto(gone-on,${{EXTEN}},1)

[stay-announced]
exten => _X.,1,NoOp()
 {announcement()}
 same => n,Goto(stay,${{EXTEN}},1)

; Calls that go to the bridge by themselves, and what they do afterwards: with a UUID each; announced too;
; with one that all of them bring.
[visit]
exten => _X.,1,Answer()
 {_replaced(line("TryExec"), "127.0.0.1:9092", "${GLOBAL(AUDIOSOCKET_AT)}")}
 same => n,Goto(gone-on,${{EXTEN}},1)

[visit-announced]
exten => _X.,1,NoOp()
 {announcement()}
 same => n,Goto(visit,${{EXTEN}},1)

[visit-alike]
exten => _X.,1,Answer()
 same => n,AudioSocket(f6a5e1d0-0000-4000-8000-000000000001,${{GLOBAL(AUDIOSOCKET_AT)}})
 same => n,Goto(gone-on,${{EXTEN}},1)

[gone-on]
exten => _X.,1,Set(WENT_ON=${{STASISSTATUS}}.)
 same => n,Wait(3600)

; What hears a prompt and a key, as a tap hears its party.
[hear-prompt]
exten => s,1,Answer()
 same => n,Playback(${{PROMPTS}}/${{PROMPT}})
 same => n,SendDTMF(5)
 same => n,Hangup()
"""


def _pjsip(places: Places) -> str:
    return f"""
{snippet("pjsip.conf")}
[transport-udp]
type = transport
protocol = udp
bind = 127.0.0.1:{places.sip_port}

[sipp](rtzr-tapped)
type = endpoint
context = from-phones
disallow = all
allow = ulaw,alaw

[sipp]
type = identify
endpoint = sipp
match = 127.0.0.1
{company.pjsip(places.phones_port)}"""


_OTHER_MANAGERS = f"""
[{ALMIGHTY}]
secret = {PASSWORD}
read = all
write = all

[{READER}]
secret = {PASSWORD}
read = call
write = call

[{SILENT}]
secret = {PASSWORD}
read = call,agent,user
write = call,originate,reporting
"""


CDR = """
[mappings]
Calls.csv => ${CSV_QUOTE(${CDR(src)})},${CSV_QUOTE(${CDR(dst)})},${CSV_QUOTE(${CDR(channel)})},\
${CSV_QUOTE(${CDR(dstchannel)})},${CSV_QUOTE(${CDR(lastapp)})},${CSV_QUOTE(${CDR(disposition)})},\
${CSV_QUOTE(${CDR(uniqueid)})}
"""
CDR_FIELDS = ("src", "dst", "channel", "dstchannel", "lastapp", "disposition", "uniqueid")


QUEUES = f"""
[general]
[sales]
strategy = ringall
member => Local/7001@phones/n
{company.QUEUES}"""
MUSIC = """
[default]
mode = files
directory = {prompts}/music
"""


def files(places: Places, modules: list[str]) -> dict[str, str]:
    """Every file of the configuration folder, by name."""
    ari = _replaced(snippet("ari.conf"), "password = change-me", f"password = {PASSWORD}")
    ari += f"\n[{READER}]\ntype = user\nread_only = yes\npassword = {PASSWORD}\n"
    manager = _replaced(snippet("manager.conf"), "port = 5038", f"port = {places.ami_port}")
    manager = _replaced(manager, "secret = change-me", f"secret = {PASSWORD}")
    client = _replaced(snippet("websocket_client.conf"), "1:8787/", f"1:{places.media_port}/")
    http = _replaced(snippet("http.conf"), "bindport = 8088", f"bindport = {places.http_port}")
    return {
        "asterisk.conf": _asterisk(places),
        "modules.conf": _modules(modules),
        "extensions.conf": _extensions(places),
        "extensions-rtzr.conf": snippet("extensions.conf"),
        "ari.conf": ari,
        "http.conf": http,
        "manager.conf": manager + _OTHER_MANAGERS,
        "pjsip.conf": _pjsip(places),
        "rtp.conf": f"[general]\nrtpstart={places.rtp_first}\nrtpend={places.rtp_last}\nicesupport=no\n",
        "cdr.conf": "[general]\nenable=yes\nunanswered=yes\nbatch=no\n",
        "cdr_custom.conf": CDR,
        "logger.conf": "[general]\n[logfiles]\nmessages => notice,warning,error,verbose(3)\n",
        "confbridge.conf": "[general]\n[default_user]\ntype=user\n[default_bridge]\ntype=bridge\n",
        "queues.conf": QUEUES,
        "features.conf": company.FEATURES,
        "res_parking.conf": company.PARKING,
        "musiconhold.conf": MUSIC.format(prompts=places.sub("prompts")),
        "cli_aliases.conf": "[general]\n",
        "pjproject.conf": "",
        "chan_websocket.conf": "",
        "websocket_client.conf": client,
    }


def write(root: Path, places: Places, changes: dict[str, str]) -> None:
    """Write the configuration and make the folders of an instance below the chroot `root`.

    Files that are in `changes` are those, instead of the usual ones.
    """
    modules = sorted(path.stem for path in root.glob("usr/lib/*/asterisk/modules/*.so"))
    for name in ("etc", "lib", "spool", "run", "log", "log/cdr-custom", "cache", "prompts", "prompts/music"):
        (root / places.sub(name).relative_to("/")).mkdir(parents=True, exist_ok=True)
    for name, text in (files(places, modules) | changes).items():
        (root / places.sub("etc").relative_to("/") / name).write_text(text, encoding="utf-8")
