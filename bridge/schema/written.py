"""`make docs`: the files of the tree that are made from the models, so that no text is kept twice.

The YAML is by hand but for what is said of each key on its line. A test finds what is stale.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from bridge.config import Config, yamltree
from bridge.config.section import Section
from bridge.schema import configuration, reference, told

YAML = Path("config/bridge.yaml")
SCHEMA = Path("config/bridge.schema.json")
PAGE = Path("docs/configuration.md")


def written(root: Path) -> Mapping[Path, str]:
    """What each of these files, by its path from the root of the tree, has to say."""
    return {
        YAML: commented((root / YAML).read_text(encoding="utf-8")),
        SCHEMA: json.dumps(configuration.document(), ensure_ascii=False, indent=2) + "\n",
        PAGE: reference.page(),
    }


def commented(text: str) -> str:
    """The YAML with what its keys are for on their lines, as the models say it."""
    lines, texts = text.splitlines(), _texts()
    for place, number in yamltree.parse(text).lines.items():
        known = texts.get(".".join(map(str, place)))
        if known is not None and not lines[number - 1].endswith(":"):
            value = lines[number - 1].partition("  # ")[0].rstrip()
            lines[number - 1] = f"{value}  # {known}"
    return "\n".join(lines) + "\n"


def _texts() -> dict[str, str]:
    """What each key is for, by its dotted name, and what it may be where that does not tell it."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, type[Section]]] = [("", Config)]
    for at, model in waiting:
        for name, text in told.texts(model).items():
            values = get_args(model.model_fields[name].annotation) if _is_choice(model, name) else ()
            hidden = any(not re.search(rf"(?<!\w){value}(?!\w)", text) for value in values)
            choices = f" ({', '.join(map(str, values))})" if hidden else ""
            found[at + name] = text.removesuffix(".") + choices
            waiting += [
                (f"{at}{name}.", inner) for inner in told.sections(model.model_fields[name].annotation)
            ]
    return found


def _is_choice(model: type[Section], name: str) -> bool:
    return get_origin(model.model_fields[name].annotation) is Literal


def main() -> None:
    root = Path(__file__).parents[2]
    for path, text in written(root).items():
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
            (root / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path} is written\n")


if __name__ == "__main__":
    main()
