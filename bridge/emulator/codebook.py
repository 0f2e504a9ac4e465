"""The code book: Korean words, each a pair of tones inside the telephone band, and how they are spoken.

Values and arithmetic only. What finds the words again is `ear`; nothing here may open a socket, read a
clock or write a log.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WORD_MS = 200
"""How long one word sounds."""
GAP_MS = 60
"""Silence between two words of a sentence; it is what tells a repeated word from a long one."""
RAMP_MS = 5
"""Raised-cosine rise and fall, so that a word begins and ends without a click."""
TONE_PEAK = 5000
"""Peak of each of the two tones, of 32767: loud enough for any VAD, far from clipping in G.711."""

LOW_HZ = (697, 770, 852, 941, 385, 455, 530, 610)
"""The low group: the four rows of a DTMF keypad first."""
HIGH_HZ = (1209, 1336, 1477, 1633, 1075, 1720, 1810, 1900)
"""The high group: the four columns of a DTMF keypad first. WebRTC VAD's mode 3 is deaf from 2 kHz up."""

_BOOK = (
    ("일", "이", "삼", "상담원", "안녕하세요", "감사합니다", "고객님", "잠시만"),
    ("사", "오", "육", "연결해", "기다려", "주세요", "죄송합니다", "무엇을"),
    ("칠", "팔", "구", "취소", "도와드릴까요", "언제", "다시", "괜찮으세요"),
    ("별표", "공", "우물정", "확인", "예약", "예약을", "주문", "주문을"),
    ("배송", "배송이", "환불", "환불을", "결제", "번호", "번호는", "전화"),
    ("주소", "카드", "상품", "성함", "오늘", "내일", "오전", "오후"),
    ("월요일", "금요일", "지금", "바로", "확인해", "변경", "변경하고", "드리겠습니다"),
    ("싶어요", "됩니다", "말씀해", "부탁드립니다", "도착합니다", "맞습니다", "알겠습니다", "가능합니다"),
)
# Row by LOW_HZ, column by HIGH_HZ. The first four of the first four rows are the keypad: 1 2 3 A / 4 5 6 B /
# 7 8 9 C / * 0 # D, so a telephone's keys are heard as their digits' words.

WORDS: tuple[str, ...] = tuple(word for row in _BOOK for word in row)
"""Every word; the word at `8 * low + high` is the pair `LOW_HZ[low]`, `HIGH_HZ[high]`."""

SENTENCES: tuple[str, ...] = (
    "안녕하세요 고객님 무엇을 도와드릴까요",
    "안녕하세요 예약 확인 부탁드립니다",
    "예약을 내일 오후 변경하고 싶어요",
    "잠시만 기다려 주세요 바로 확인해 드리겠습니다",
    "고객님 성함 다시 말씀해 주세요",
    "주문 번호는 일 이 삼 사 맞습니다",
    "배송이 언제 도착합니다 확인 부탁드립니다",
    "주문 상품 오늘 오후 도착합니다",
    "카드 결제 취소 부탁드립니다",
    "환불을 다시 확인해 주세요",
    "지금 상담원 바로 연결해 드리겠습니다",
    "배송 주소 변경 지금 가능합니다",
    "전화 번호는 공 일 공 오 육 칠 팔 맞습니다",
    "죄송합니다 고객님 오늘 예약 취소 됩니다",
    "월요일 오전 예약 가능합니다 괜찮으세요",
    "알겠습니다 금요일 오전 변경 부탁드립니다",
    "주문을 지금 변경하고 싶어요",
    "번호 확인 우물정 다시 말씀해 주세요",
    "카드 번호 구 구 팔 팔 별표 맞습니다",
    "환불 결제 확인 오늘 바로 됩니다",
    "예약 번호는 일 일 이 이 삼 맞습니다",
    "고객님 배송 주소 다시 확인해 주세요",
    "알겠습니다 고객님 예약을 바로 확인해 드리겠습니다",
    "감사합니다 고객님 내일 다시 전화 부탁드립니다",
)
"""Sentences of a call centre, made of the book's words, for the demo and the tests."""

_INDEX = {word: index for index, word in enumerate(WORDS)}


class CodebookError(ValueError):
    """A text holds a word that is not in the book."""


def say(text: str, rate: int = 8000) -> bytes:
    """The words of `text`, as 16-bit little-endian mono PCM of `rate` Hz, with GAP_MS between words.

    Raises CodebookError naming the unknown word.
    """
    words = _known(text)
    return _silence(GAP_MS, rate).join(_word(word, rate) for word in words)


def spoken_ms(text: str) -> int:
    """How long `say(text)` plays, in milliseconds. Raises CodebookError naming the unknown word."""
    count = len(_known(text))
    return count * WORD_MS + max(0, count - 1) * GAP_MS


def _known(text: str) -> list[str]:
    words = text.split()
    for word in words:
        if word not in _INDEX:
            raise CodebookError(f"not in the code book: {word}")
    return words


def _silence(ms: int, rate: int) -> bytes:
    return bytes(2 * (ms * rate // 1000))


@lru_cache(maxsize=256)
def _word(word: str, rate: int) -> bytes:
    low, high = divmod(_INDEX[word], len(HIGH_HZ))
    at = np.arange(WORD_MS * rate // 1000) / rate
    tones = np.sin(2 * np.pi * LOW_HZ[low] * at) + np.sin(2 * np.pi * HIGH_HZ[high] * at)
    return np.rint(TONE_PEAK * tones * _envelope(len(at), rate)).astype("<i2").tobytes()


def _envelope(size: int, rate: int) -> NDArray[np.float64]:
    ramp = RAMP_MS * rate // 1000
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    envelope = np.ones(size)
    envelope[:ramp] = rise
    envelope[size - ramp :] = rise[::-1]
    return envelope
