"""What a hang-up cause means, for a person (ITU-T Q.850, as Asterisk and FreeSWITCH give it)."""

_MEANINGS = {
    1: "no such number",
    3: "no route there",
    16: "hung up in the normal way",
    17: "busy",
    18: "the telephone did not answer the network",
    19: "nobody answered",
    20: "the telephone is not registered",
    21: "rejected",
    26: "answered elsewhere",
    27: "the destination is out of order",
    28: "not a valid number",
    31: "ended, nobody said why",
    34: "no circuit was free",
    38: "the network is out of order",
    41: "a temporary failure of the network",
    42: "the switch is congested",
    58: "the codec or the media is not to be had",
    102: "a timer ran out: the other side was gone",
    127: "an interworking failure",
}
_PREFIX = "cause "


def meaning(cause: str) -> str:
    """Of `cause 16`; "" for what needs no translation, or has none."""
    number = cause.removeprefix(_PREFIX)
    if number == cause or not (number.isascii() and number.isdigit()):
        return ""
    return _MEANINGS.get(int(number), "")
