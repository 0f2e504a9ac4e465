"""How what is told reads. Text only."""


def counted(number: int, one: str, several: str = "") -> str:
    """`1 leg`, `2 legs`; `several` where that is not the same with an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"
