"""The query string of `/v1/transcribe:streaming`, checked as RTZR documents it (reference/rtzr.md, 2.1).

Pure: names and values in, a `StreamQuery` or a QueryError out. Unknown parameters are ignored.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MODELS = ("sommers_ko", "sommers_ja", "sommers_en", "whisper")
DOMAINS = ("CALL", "MEETING")
MAX_KEYWORDS = 100
MAX_KEYWORD_CHARS = 20
MAX_KEYWORD_SCORE = 5.0
DEFAULT_KEYWORD_SCORE = 2.0

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9})")
_HANGUL = re.compile(r"[가-힣ㄱ-ㅎㅏ-ㅣ ]*[가-힣ㄱ-ㅎㅏ-ㅣ][가-힣ㄱ-ㅎㅏ-ㅣ ]*")
_LANGUAGE = re.compile(r"[a-z]{2}|detect|multi")


class QueryError(ValueError):
    """The dial is to be refused with 400 H0001; the text is the `msg`."""


class Encoding(StrEnum):
    """What RTZR's WebSocket takes; raw OPUS is for gRPC only, and WAV is in the proto but not documented."""

    LINEAR16 = "LINEAR16"
    FLAC = "FLAC"
    MULAW = "MULAW"
    ALAW = "ALAW"
    AMR = "AMR"
    AMR_WB = "AMR_WB"
    OGG_OPUS = "OGG_OPUS"


DECODED = (Encoding.LINEAR16, Encoding.MULAW, Encoding.ALAW)
"""What the emulator can hear; the others are valid at RTZR and refused here."""

_RATES = {
    Encoding.AMR: (8000,),
    Encoding.AMR_WB: (16000,),
    Encoding.OGG_OPUS: (8000, 12000, 16000, 24000, 48000),
}


@dataclass(frozen=True, slots=True)
class Keyword:
    word: str
    score: float


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """One stream's parameters, at RTZR's defaults."""

    sample_rate: int
    """Hz."""
    encoding: Encoding
    model_name: str = "sommers_ko"
    domain: str = "CALL"
    use_itn: bool = True
    use_disfluency_filter: bool = False
    use_profanity_filter: bool = False
    use_punctuation: bool = False
    keywords: tuple[Keyword, ...] = ()
    language: str = "ko"
    epd_time: float = 0.5
    """Seconds of silence that end an utterance."""
    max_utter_duration: int = 12
    """Seconds of speech after which an utterance is split."""
    noise_threshold: float = 0.7
    active_threshold: float = 0.88
    acoustic_scale: float | None = None

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return 2 if self.encoding is Encoding.LINEAR16 else 1


def parse(items: Iterable[tuple[str, str]]) -> StreamQuery:
    """The parameters of one dial, from decoded name and value pairs; of a repeated name the last counts.

    Raises QueryError.
    """
    given = dict(items)
    defaults = StreamQuery(_sample_rate(given), _encoding(given))
    model, language = _model(given, defaults), _language(given)
    query = StreamQuery(
        defaults.sample_rate,
        defaults.encoding,
        model_name=model,
        domain=_one_of(given, "domain", DOMAINS, defaults.domain),
        use_itn=_boolean(given, "use_itn", defaults.use_itn),
        use_disfluency_filter=_boolean(given, "use_disfluency_filter", defaults.use_disfluency_filter),
        use_profanity_filter=_boolean(given, "use_profanity_filter", defaults.use_profanity_filter),
        use_punctuation=_boolean(given, "use_punctuation", defaults.use_punctuation),
        keywords=_keywords(given.get("keywords", ""), model, language),
        language=language,
        epd_time=_number(given, "epd_time", defaults.epd_time, over=0.0),
        max_utter_duration=_seconds(given, "max_utter_duration", defaults.max_utter_duration),
        noise_threshold=_number(given, "noise_threshold", defaults.noise_threshold, least=0.0, most=1.0),
        active_threshold=_number(given, "active_threshold", defaults.active_threshold, least=0.0, most=1.0),
        acoustic_scale=_number(given, "acoustic_scale", 1.0, over=0.0) if "acoustic_scale" in given else None,
    )
    _check_rate(query)
    return query


def _sample_rate(given: dict[str, str]) -> int:
    if "sample_rate" not in given:
        raise QueryError("sample_rate is required")
    rate = _integer("sample_rate", given["sample_rate"])
    if not 8000 <= rate <= 48000:
        raise QueryError("sample_rate must be between 8000 and 48000")
    return rate


def _encoding(given: dict[str, str]) -> Encoding:
    if "encoding" not in given:
        raise QueryError("encoding is required")
    if given["encoding"] == "OPUS":
        raise QueryError("encoding OPUS is for gRPC only")
    return Encoding(_one_of(given, "encoding", tuple(Encoding), ""))


def _check_rate(query: StreamQuery) -> None:
    rates = _RATES.get(query.encoding)
    if rates is not None and query.sample_rate not in rates:
        raise QueryError(f"sample_rate of {query.encoding} must be one of {_listed(rates)}")
    if query.encoding not in DECODED:
        raise QueryError(f"encoding {query.encoding} is valid at RTZR, but this emulator cannot decode it")


def _model(given: dict[str, str], defaults: StreamQuery) -> str:
    model = _one_of(given, "model_name", MODELS, defaults.model_name)
    # The document gives `language` a default and calls it "required for whisper"; the stricter reading finds
    # a client that leaves it out.
    if model == "whisper" and "language" not in given:
        raise QueryError("language is required for whisper")
    return model


def _language(given: dict[str, str]) -> str:
    language = given.get("language", "ko")
    if not _LANGUAGE.fullmatch(language):
        raise QueryError("language must be a two-letter code, detect or multi")
    return language


def _keywords(value: str, model: str, language: str) -> tuple[Keyword, ...]:
    if not value:
        return ()
    if model != "sommers_ko" and (model, language) != ("whisper", "ko"):
        raise QueryError(f"keywords are not supported by {model}")
    items = value.split(",")
    if len(items) > MAX_KEYWORDS:
        raise QueryError(f"keywords must be at most {MAX_KEYWORDS} words")
    return tuple(_keyword(item) for item in items)


def _keyword(item: str) -> Keyword:
    """One `word` or `word:score`. The word stays out of the message: keywords are a customer's names."""
    word, colon, score = item.partition(":")
    if not _HANGUL.fullmatch(word):
        raise QueryError("a keyword must be Hangul and spaces only")
    if len(word) > MAX_KEYWORD_CHARS:
        raise QueryError(f"a keyword must be at most {MAX_KEYWORD_CHARS} characters")
    if not colon:
        return Keyword(word, DEFAULT_KEYWORD_SCORE)
    return Keyword(word, _ranged("keyword score", score, -MAX_KEYWORD_SCORE, MAX_KEYWORD_SCORE))


def _one_of(given: dict[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in allowed:
        raise QueryError(f"{name} must be one of {_listed(allowed)}")
    return value


def _boolean(given: dict[str, str], name: str, default: bool) -> bool:
    if name not in given:
        return default
    return _one_of(given, name, ("true", "false"), "") == "true"


def _number(
    given: dict[str, str],
    name: str,
    default: float,
    *,
    over: float | None = None,
    least: float = -math.inf,
    most: float = math.inf,
) -> float:
    if name not in given:
        return default
    value = _ranged(name, given[name], least, most)
    if over is not None and value <= over:
        raise QueryError(f"{name} must be over {over:g}")
    return value


def _ranged(name: str, text: str, least: float, most: float) -> float:
    # float() alone would also take "nan", "inf", "1_0" and digits of other scripts.
    if not _NUMBER.fullmatch(text):
        raise QueryError(f"{name} must be a number")
    value = float(text)
    if not least <= value <= most:
        raise QueryError(f"{name} must be between {least:g} and {most:g}")
    return value


def _seconds(given: dict[str, str], name: str, default: int) -> int:
    if name not in given:
        return default
    value = _integer(name, given[name])
    if value < 1:
        raise QueryError(f"{name} must be at least 1")
    return value


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise QueryError(f"{name} must be an integer")
    return int(text)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
