"""A company on the test's Asterisk: real SIP telephones, a trunk, a queue, parking, pickup, a conference.

Configuration as text only; pbx_config.py puts it into the files. The telephones themselves are in
telephones.py. Who is who:

- 1001 to 1040: telephones whose endpoint has a caller id, as most administrators give it;
- 1041 to 1060: telephones without one, so a call's own headers tell who calls;
- 1901 to 1920: a telephone's number behind a Local channel that makes room for it;
- 0...: over the trunk; with 02 the company shows its own number, as most trunks demand;
- 070 1000 XXXX from the trunk: number XXXX in the house.
"""

PHONES = range(1001, 1041)
BARE_PHONES = range(1041, 1061)
OWN_NUMBER = "0215880000"
"""What the company shows outside."""

DIALPLAN = f"""
; A company: its people are called by their numbers, transfer, park, pick up and meet in a room.
[company]
include => parked
exten => _10XX,1,Set(__TRANSFER_CONTEXT=company)
 same => n,Set(__PICKUPMARK=${{EXTEN}})
 same => n,Dial(PJSIP/${{EXTEN}},60,tTkK)
 same => n,Hangup()
; The same through a Local channel, which makes room once it is answered.
exten => _19XX,1,Dial(Local/10${{EXTEN:2}}@company,60,tTkK)
 same => n,Hangup()
exten => _8XXX,1,Answer()
 same => n,ConfBridge(${{EXTEN}})
 same => n,Hangup()
exten => _*81XXX,1,Pickup(${{EXTEN:2}}@PICKUPMARK)
 same => n,Hangup()
exten => _9XXX,1,Answer()
 same => n,Set(__TRANSFER_CONTEXT=company)
 same => n,Queue(company${{EXTEN:1}},tTkK,,,30)
 same => n,Hangup()
exten => _0X.,1,Set(__TRANSFER_CONTEXT=company)
 same => n,ExecIf($["${{EXTEN:0:2}}" = "02"]?Set(CALLERID(num)={OWN_NUMBER}))
 same => n,Dial(PJSIP/${{EXTEN}}@trunk,60,tTkK)
 same => n,Hangup()

[from-trunk]
exten => _0701000XXXX,1,Goto(company,${{EXTEN:-4}},1)

; A queue's member whose Local channel makes room for the telephone behind it.
[agents]
exten => _X.,1,Dial(PJSIP/${{EXTEN}},60,tTkK)
 same => n,Hangup()
"""

QUEUES = """
[company001]
strategy = ringall
ringinuse = no
musicclass = default
member => PJSIP/1021
member => Local/1022@agents,0,Agent,PJSIP/1022
"""
"""Extension 9001: two agents who ring together."""

ANNOUNCEMENTS = (
    "pbx-transfer", "pbx-invalid", "pbx-parkingfailed", "pbx-parked", "beep", "beeperr", "silence/1",
    "conf-onlyperson", "confbridge-join", "confbridge-leave", "confbridge-only-participant",
    *(f"digits/{digit}" for digit in range(10)),
)  # fmt: skip
"""What Asterisk plays when its features are used; without, it transfers nobody. Its package has them as GSM,
which is not loaded here."""

FEATURES = """
[general]
transferdigittimeout = 1
featuredigittimeout = 2000
xfersound = beep
atxfernoanswertimeout = 15
[featuremap]
blindxfer => #1
atxfer => *2
parkcall => #72
"""

PARKING = """
[general]
[default]
parkext => 700
parkpos => 701-720
context => parked
parkinghints = no
"""


def _phone(number: int) -> str:
    caller_id = f'callerid = "Phone {number}" <{number}>\n' if number in PHONES else ""
    return f"""
[{number}](telephone)
aors = {number}
{caller_id}
[{number}](telephone-aor)
contact = sip:{number}@127.0.0.1:PHONES_PORT
"""


def pjsip(phones_port: int) -> str:
    """Endpoints of the telephones and of the trunk; all of them are at `phones_port`, the trunk on 127.0.0.2.

    A telephone is known by its user, the trunk by its address.
    """
    phones = "".join(_phone(number) for number in (*PHONES, *BARE_PHONES))
    text = f"""
[global]
type = global
endpoint_identifier_order = username,ip

; Without an address for the audio Asterisk asks the DNS for its own name at every call: it can take seconds.
[loopback](!)
media_address = 127.0.0.1
bind_rtp_to_media_address = yes

[telephone](!,rtzr-tapped,loopback)
type = endpoint
context = company
disallow = all
allow = ulaw,alaw

[telephone-aor](!)
type = aor

[trunk](rtzr-tapped,loopback)
type = endpoint
context = from-trunk
disallow = all
allow = alaw,ulaw
aors = trunk

[trunk]
type = aor
contact = sip:127.0.0.2:PHONES_PORT

[trunk]
type = identify
endpoint = trunk
match = 127.0.0.2
{phones}"""
    return text.replace("PHONES_PORT", str(phones_port))
