"""Calls that nobody makes: what the page's tests show, told as `bridge.page.watched` has it."""

import itertools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.types import Event
from bridge.wire.eventjson import encoded

_SAID = [
    ("caller", "안녕하세요, 어제 주문한 상품 배송이 어디까지 왔는지 궁금합니다."),
    ("callee", "네 고객님, 주문 번호를 알려 주시겠어요?"),
    ("caller", "주문 번호는 칠이삼공팔입니다."),
    ("callee", "확인했습니다. 오늘 오후 네 시쯤 도착할 예정입니다."),
    ("caller", "혹시 배송지를 회사로 바꿀 수 있을까요?"),
    ("callee", "지금은 배송 중이라 기사님께 직접 전달해 드리겠습니다."),
    ("caller", "네, 감사합니다. 그렇게 부탁드려요."),
    ("callee", "더 필요하신 것이 있으신가요?"),
]
_OTHERS = [
    (
        "상담 대기열",
        "네, 무엇을 도와 드릴까요?",
        "카드를 잃어버려서 분실 신고를 하려고 하는데요.",
        "본인 확인을 위해 성함과 생년월일을 말씀해 주세요.",
        "이서준이고요, 구십일년 삼월 이일입니다.",
        "확인되었습니다. 바로 정지해 드리겠습니다.",
    ),
    (
        "예약",
        "안녕하세요, 한빛의원입니다.",
        "다음 주 화요일 오전에 진료 예약이 가능할까요?",
        "오전 열 시와 열한 시가 비어 있습니다.",
        "그럼 열 시로 해 주세요.",
    ),
    (
        "outbound",
        "Accounts, how can I help?",
        "Hello, I am calling about the invoice of last month.",
        "One moment, I will look it up.",
    ),
    (
        "기술 지원",
        "네, 기술 지원팀입니다.",
        "인터넷이 자꾸 끊겨서 전화드렸습니다.",
        "공유기의 전원을 껐다가 켜 보시겠어요?",
    ),
    (
        "상담 대기열",
        "환불은 언제쯤 처리되나요?",
        "영업일 기준 사흘 안에 처리됩니다.",
        "카드로 결제했는데 같은 카드로 들어오나요?",
        "네, 결제하신 카드로 자동 취소됩니다.",
    ),
]
"""Rules, and what is said in turn; the last words are the callee's or the caller's as it comes."""


def leg(call: str, role: str, number: str, name: str = "", **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "leg": f"{call}/{role}",
        "role": role,
        "number": number,
        "name": name,
        "mode": "hybrid",
        "state": "streaming",
        "level_db": -24.0 if role == "caller" else None,
        "latency_ms": 320 if role == "caller" else 280,
        "arrived_ms": 84_000,
        "sent_ms": 83_400,
        "lost_ms": 0,
        "paused_ms": 0,
        "sessions": 1,
        "packets": {"received": 4200, "late": 3},
        "last": "",
        "partial": "",
    }
    return told | more


def a_call(name: str, rule: str, age_ms: int, legs: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    started = datetime.now(UTC) - timedelta(milliseconds=age_ms)
    told: dict[str, Any] = {
        "id": name,
        "rule": rule,
        "state": "live",
        "started": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "age_ms": age_ms,
        "verdict": "",
        "reasons": [],
        "paused": False,
        "cost": None,
        "legs": list(legs),
        "timeline": [],
    }
    return told | more


def entry(at_ms: int, kind: str, what: str, leg: str | None = None, **data: Any) -> dict[str, Any]:
    return {"at_ms": at_ms, "kind": kind, "leg": leg, "what": what, "data": data}


def busy_call() -> dict[str, Any]:
    """One that has everything: what was said, a session that broke, a gap, a pause, deliveries."""
    name = "1764075600.0012"
    caller = leg(name, "caller", "***5678", "김하늘", sessions=2, lost_ms=2300, paused_ms=6000)
    callee = leg(name, "callee", "***1002", "상담 1", level_db=-38.0)
    call = a_call(name, "상담 대기열", 84_000, [caller, callee], reasons=["ring"])
    told = [
        entry(0, "pbx", "a channel was created: PJSIP/trunk-0000002a"),
        entry(1200, "pbx", "PJSIP/1002-0000002b rings"),
        entry(5100, "pbx", "answered"),
        entry(5200, "packets", "the first packet came", caller["leg"]),
        entry(5260, "packets", "the first packet came", callee["leg"]),
        entry(5400, "session", "session opened", caller["leg"], ms=180),
        entry(5500, "session", "session opened", callee["leg"], ms=175),
        entry(38_000, "session", "session lost", caller["leg"], utterances=4),
        entry(38_000, "gap", "audio lost", caller["leg"], start_ms=38_000, end_ms=40_300, reason="ring"),
        entry(41_000, "session", "session opened", caller["leg"], ms=310),
        entry(66_000, "order", "paused", paused=True),
        entry(72_000, "order", "resumed", paused=False),
    ]
    at = 6200
    for role, text in _SAID:
        length = 190 * len(text)
        end = at + length
        told.append(entry(at, "utterance", "said", f"{name}/{role}", text=text, start_ms=at, end_ms=end))
        at = end + 900
        (caller if role == "caller" else callee)["last"] = text
    call["timeline"] = sorted(told, key=lambda one: int(one["at_ms"]))
    return call


def more_calls() -> list[dict[str, Any]]:
    calls = []
    for number, (rule, *lines) in enumerate(_OTHERS):
        name = f"1764075{610 + number * 7}.00{20 + number}"
        caller = leg(name, "caller", f"***{4100 + number * 37}", level_db=-18.0 - 7 * number)
        callee = leg(name, "callee", f"***{1003 + number}", f"상담 {number + 2}", mode="vad")
        call = a_call(name, rule, 21_000 + 37_000 * number, [caller, callee])
        for at, text in enumerate(lines):
            speaker = (callee, caller)[at % 2]
            speaker["last"] = text
            start = 2000 + 4000 * at
            said_ = {"text": text, "start_ms": start, "end_ms": start + 3000}
            call["timeline"].append(entry(start, "utterance", "said", speaker["leg"], **said_))
        calls.append(call)
    calls[2]["legs"][1] |= {"state": "reconnecting", "latency_ms": None}
    calls[3]["paused"] = True
    for one_leg in calls[3]["legs"]:
        one_leg |= {"state": "paused", "level_db": None, "paused_ms": 8000}
    return calls


def ended_calls(number: int) -> list[dict[str, Any]]:
    calls = []
    for at, (rule, *_, other, one) in zip(range(number), itertools.cycle(_OTHERS), strict=False):
        name = f"1764071{900 - at}.{at:04d}"
        legs = [
            leg(name, "caller", f"***{2000 + at * 13}", last=one, state="ended", level_db=None),
            leg(name, "callee", f"***{1003 + at % 7}", f"상담 {2 + at % 7}", last=other, state="ended"),
        ]
        lost = at % 4 == 1
        call = a_call(name, rule, 65_000 + 11_000 * (at % 9), legs, state="ended")
        call |= {
            "verdict": "partial" if lost else "complete",
            "reasons": ["drain"] if lost else [],
            "cost": {"billed_s": 60.0, "won": 16.7 + at},
        }
        began = datetime.now(UTC) - timedelta(minutes=3 + 4 * at)
        calls.append(call | {"started": began.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
    return calls


class Book:
    """A `Watched` that tells what it is given."""

    def __init__(self, *calls: dict[str, Any]) -> None:
        self.told = {str(call["id"]): call for call in calls}
        self.askers: list[str] = []
        self.orders: list[tuple[str, bool]] = []
        self.ready = True
        self.quota: int | None = 50

    def calls(self) -> list[dict[str, Any]]:
        return [_without_timeline(call) for call in self.told.values()]

    def call(self, name: str) -> dict[str, Any] | None:
        found = [call for one, call in self.told.items() if one.startswith(name)]
        return deepcopy(found[0]) if len(found) == 1 else None

    async def deliveries(self, call: str) -> list[dict[str, Any]]:
        waiting = 3 if self.told[call]["state"] == "live" else 0
        return [{"name": "crm", "waiting": waiting, "state": "retrying", "error": "HTTP 503"}]

    async def status(self) -> Mapping[str, Any]:
        live = [call for call in self.told.values() if call["state"] == "live"]
        legs = sum(len(call["legs"]) for call in live)
        return {
            "version": "0.1.0",
            "uptime_s": 86_400,
            "ready": self.ready,
            "reasons": [] if self.ready else ["the PBX is away"],
            "pbx": {},
            "calls": len(live),
            "legs": legs,
            "sessions_open": legs,
            "sessions_quota": self.quota,
            "won_today": 18_430.5,
            "lost_ms_today": 2300,
            "deliveries_waiting": 0,
            "loop_lag_ms": 3.2,
            "paused_calls": sum(1 for call in live if call["paused"]),
        }

    def pause(self, call: str, paused: bool, who: str) -> bool:
        self.orders.append((call, paused))
        self.askers.append(who)
        if call not in self.told or self.told[call]["state"] != "live":
            return False
        self.told[call]["paused"] = paused
        return True

    def end(self, name: str) -> None:
        self.told[name] |= {"state": "ended", "verdict": "complete", "cost": {"won": 23.0}}
        for one in self.told[name]["legs"]:
            one |= {"state": "ended", "level_db": None}


def _without_timeline(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: deepcopy(value) for name, value in call.items() if name != "timeline"}


_numbers = itertools.count(1)


def said(leg: Mapping[str, Any], text: str, start_ms: int, *, final: bool = True) -> Event:
    """An event as the bridge tells it, with a whole number in it, which no page is to see."""
    call = str(leg["leg"]).rpartition("/")[0]
    data = {
        "leg": leg["leg"],
        "channel": "PJSIP/1002-0000002b",
        "party": {"role": leg["role"], "number": "01012345678", "name": "", "channel": ""},
        "text": text,
        "start_ms": start_ms,
        "end_ms": start_ms + 900,
        "latency_ms": 310,
    }
    kind = "final" if final else "partial"
    event = Event(
        f"{leg['leg']}/{next(_numbers)}", f"rtzr.transcript.{kind}", call, "2026-01-01T00:00:00Z", data
    )
    assert encoded(event)
    return event
