"""What happens in a company's telephony, played with real telephones: calls, transfers, pickup, and so on.

Every scene has numbers of its own, so that scenes may run side by side; each person says sentences that
nobody else in the scene says, before and after what happens. Who hears them is no concern here.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.asterisk.pbx import wait_for
from tests.asterisk.telephones import Telephone, Telephones

PAUSE_S = 0.7
"""Between one sentence and the next, so that each is an utterance of its own; and for a tap to begin."""


@dataclass(slots=True)
class Stage:
    """Where one scene is played, and what was said on it."""

    phones: Telephones
    said: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of persons -> sentences of the code book, in order."""

    def speak(self, *lines: tuple[Telephone, int]) -> None:
        """One after the other, each after a pause."""
        for telephone, sentence in lines:
            time.sleep(PAUSE_S)
            telephone.says(sentence)
            self.said.setdefault(telephone.number, []).append(sentence)

    def call(
        self, number: str, dialled: str, answerer: str = "", line: str = "pbx"
    ) -> tuple[Telephone, Telephone]:
        """A call that rings for a moment and is answered by `answerer` (who was dialled, if not told)."""
        caller = self.phones.calls(number, dialled, line=line)
        callee = self.phones.rung(answerer or dialled)
        time.sleep(0.4)
        callee.answers()
        return caller.connected(), callee

    def answered(self, number: str) -> Telephone:
        """Somebody whose telephone is made to ring by another's doing; it rings for a moment."""
        telephone = self.phones.rung(number)
        time.sleep(0.4)
        return telephone.answers()

    def dials_feature(self, telephone: Telephone, code: str, number: str) -> None:
        """A feature code, then the number that is asked for by an announcement."""
        time.sleep(PAUSE_S)
        telephone.presses(code)
        time.sleep(PAUSE_S)
        telephone.presses(number)

    def end(self, *telephones: Telephone) -> None:
        """The first hangs up, after a pause; the call ends for all of them."""
        time.sleep(PAUSE_S)
        telephones[0].hangs_up()
        for telephone in telephones:
            telephone.ended()


def internal(stage: Stage) -> None:
    anna, ben = stage.call("1001", "1002")
    stage.speak((anna, 0), (ben, 1), (anna, 2))
    stage.end(anna, ben)


def internal_bare(stage: Stage) -> None:
    """Between telephones whose endpoints have no caller id."""
    anna, ben = stage.call("1041", "1042")
    stage.speak((anna, 0), (ben, 1), (anna, 2))
    stage.end(ben, anna)


def through_local(stage: Stage) -> None:
    """The one dialled is behind a Local channel, which makes room."""
    anna, ben = stage.call("1036", "1937", "1037")
    stage.speak((anna, 3), (ben, 4), (anna, 5))
    stage.end(anna, ben)


def incoming(stage: Stage) -> None:
    outside, ben = stage.call("01011110000", "07010001003", "1003", "trunk")
    stage.speak((outside, 1), (ben, 0), (outside, 6))
    stage.end(outside, ben)


def outgoing(stage: Stage) -> None:
    anna, outside = stage.call("1004", "01022220000")
    stage.speak((anna, 7), (outside, 8), (anna, 9))
    stage.end(outside, anna)


def outgoing_masked(stage: Stage) -> None:
    """The company's own number is set on the caller's channel before the trunk is dialled."""
    anna, outside = stage.call("1005", "0233330000")
    stage.speak((anna, 10), (outside, 11), (anna, 13))
    stage.end(anna, outside)


def queue(stage: Stage) -> None:
    """Both agents ring; one answers the first caller, the other (behind a Local channel) the second."""
    outside = stage.phones.calls("01044440000", "07010009001", line="trunk")
    first, other = stage.phones.rung("1021"), stage.phones.rung("1022")
    time.sleep(0.4)
    first.answers()
    other.ended()
    stage.speak((outside, 0), (first, 1))
    anna = stage.phones.calls("1006", "9001")
    second = stage.answered("1022")
    anna.connected()
    stage.speak((anna, 2), (second, 3), (outside, 4), (first, 5), (second, 6), (anna, 7))
    stage.end(outside, first)
    stage.end(second, anna)


def hold(stage: Stage) -> None:
    """The callee holds the caller, who hears music and says something meanwhile."""
    anna, ben = stage.call("1007", "1008")
    stage.speak((anna, 0), (ben, 1))
    ben.holds()
    stage.speak((anna, 8))
    time.sleep(2)
    ben.resumes()
    stage.speak((ben, 3), (anna, 4))
    stage.end(anna, ben)


def blind_by_callee(stage: Stage) -> None:
    anna, ben = stage.call("1009", "1010")
    stage.speak((anna, 0), (ben, 1))
    stage.dials_feature(ben, "#1", "1011")
    clara = stage.answered("1011")
    ben.ended()
    stage.speak((clara, 2), (anna, 3), (clara, 4))
    stage.end(anna, clara)


def blind_by_caller(stage: Stage) -> None:
    anna, ben = stage.call("1012", "1013")
    stage.speak((anna, 5), (ben, 6))
    stage.dials_feature(anna, "#1", "1014")
    clara = stage.answered("1014")
    anna.ended()
    stage.speak((clara, 7), (ben, 8), (clara, 9))
    stage.end(clara, ben)


def blind_by_refer(stage: Stage) -> None:
    """The transfer key of a telephone: SIP's own way."""
    anna, ben = stage.call("1030", "1031")
    stage.speak((anna, 10), (ben, 11))
    time.sleep(PAUSE_S)
    ben.refers("1032")
    clara = stage.answered("1032")
    stage.speak((clara, 13), (anna, 14), (clara, 15))
    stage.end(anna, clara)


def attended(stage: Stage) -> None:
    """The callee asks a colleague first, with a feature code, and joins both by hanging up."""
    outside, ben = stage.call("01055550000", "07010001015", "1015", "trunk")
    stage.speak((outside, 0), (ben, 1))
    stage.dials_feature(ben, "*2", "1016")
    clara = stage.answered("1016")
    stage.speak((ben, 2), (clara, 3))
    time.sleep(PAUSE_S)
    ben.hangs_up()
    stage.speak((clara, 4), (outside, 5), (clara, 6))
    stage.end(outside, clara)


def attended_by_refer(stage: Stage) -> None:
    """The caller holds, calls a colleague on a second line, and joins both with the transfer key."""
    anna, ben = stage.call("1017", "1018")
    stage.speak((anna, 7), (ben, 8))
    anna.holds()
    line2, clara = stage.call("1017", "1019")
    stage.speak((line2, 9), (clara, 10))
    time.sleep(PAUSE_S)
    anna.joins(line2, "1019")
    line2.ended()
    stage.speak((clara, 11), (ben, 13), (clara, 14))
    stage.end(ben, clara)


def park(stage: Stage) -> None:
    """The callee parks the caller; a colleague takes the call up at another telephone."""
    anna, ben = stage.call("1023", "1024")
    stage.speak((anna, 0), (ben, 1))
    time.sleep(PAUSE_S)
    ben.presses("#72")
    space = _space(stage.phones, "1023")
    stage.speak((anna, 14))
    time.sleep(1)
    clara = stage.phones.calls("1025", space).connected()
    stage.speak((clara, 2), (anna, 3), (clara, 4))
    stage.end(anna, clara)


def _space(phones: Telephones, parked: str) -> str:
    """Where a call is parked, once it is."""
    found: list[str] = []

    def listed() -> bool:
        text = phones.pbx.cli("parking show default")
        found.extend(re.findall(rf"Space\s*:\s*(\d+)\s+Channel\s*:\s*PJSIP/{parked}-", text))
        return bool(found)

    wait_for(listed, 10, lambda: phones.pbx.cli("parking show default"))
    return found[-1]


def _met(phones: Telephones, room: str, people: int) -> None:
    """Wait until they are in the room: before that they hear an announcement."""

    def listed() -> str:
        return phones.pbx.cli(f"confbridge list {room}")

    wait_for(lambda: listed().count("PJSIP/") == people, 10, listed)


def pickup(stage: Stage) -> None:
    """A colleague takes a call that rings at another's telephone."""
    anna = stage.phones.calls("1026", "1027")
    ben = stage.phones.rung("1027")
    time.sleep(0.6)
    clara = stage.phones.calls("1028", "*81027").connected()
    anna.connected()
    ben.ended()
    stage.speak((clara, 5), (anna, 6), (clara, 7))
    stage.end(anna, clara)


def conference(stage: Stage) -> None:
    """Three meet; the first leaves, and the others go on."""
    anna, ben, clara = (stage.phones.calls(number, "8001").connected() for number in ("1033", "1034", "1035"))
    _met(stage.phones, "8001", 3)
    stage.speak((anna, 0), (ben, 1), (clara, 2), (anna, 3))
    stage.end(anna)
    stage.speak((ben, 4), (clara, 5))
    stage.end(ben)
    stage.end(clara)


# The longest first.
SCENES: dict[str, Callable[[Stage], None]] = {
    scene.__name__: scene
    for scene in (
        queue, attended, attended_by_refer, park, conference, blind_by_caller, blind_by_callee, hold,
        blind_by_refer, pickup, through_local, outgoing_masked, incoming, outgoing, internal_bare, internal,
    )
}  # fmt: skip
