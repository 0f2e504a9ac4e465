"""Who is let in to the page: by token, by the cookie that a token gave, or by what a proxy says; from no
foreign web page, and not by guessing.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.wire.bucket import Bucket

COOKIE = "rtzr_bridge_page"
_LASTS_S = 12 * 3600
"""How long a login is good for: a shift."""
_LONGEST = 4096
_LONGEST_NAME = 100
_GUESSES_A_S, _GUESSES_AT_ONCE = 0.2, 5
_MOST_GUESSERS = 1000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Door:
    """What a request shows is looked at here, and nothing is kept of it but how often an address guessed."""

    def __init__(
        self,
        token: str,
        *,
        header: str | None = None,
        proxies: Sequence[Network] = (),
        origins: frozenset[str] = frozenset(),
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`token`: "" for none; then nobody logs in here. `header`: what a proxy among `proxies` sets for
        whoever it knows. `origins`: the page's own beyond such a proxy, where that changes `Host`."""
        self._token = token.encode()
        self._header = header
        self._proxies = tuple(proxies)
        self._origins = origins
        self._wall = wall
        self._clock = clock
        self._guesses: dict[str, Bucket] = {}
        self.shut = asyncio.Event()
        """Set once whoever was let in until then has to ask again; there is another then."""

    def adopt(self, token: str) -> None:
        """Another one: whoever logged in by the one before does so again."""
        if token.encode() != self._token:
            self._token = token.encode()
            self.shut.set()
            self.shut = asyncio.Event()

    def refusal(self, request: Request) -> Response | None:
        """Why this request is not answered, if it is not. One that changes something has to come from the
        page itself, or show the token: no other page could make a browser send that."""
        if _foreign(request, self._origins):
            return _error("this page's origin may not ask here; see page.origins", 403)
        authorization = request.headers.get("authorization")
        if authorization is not None and self._token:
            scheme, _, shown = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return self._guess(request, shown.strip())
        if request.method == "POST" and "origin" not in request.headers:
            return _error("a browser says its page's Origin; others send Authorization: Bearer TOKEN", 403)
        if self._by_cookie(request) or self._by_proxy(request):
            return None
        if self._header is not None and request.headers.get(self._header) and not self._is_ours(request):
            return _error("this page's name is not known as its own; name it in page.origins", 403)
        return _error("log in, or send Authorization: Bearer TOKEN", 401)

    def who(self, request: Request) -> str:
        """Who it is that was let in: the name that the proxy gave, or that somebody has the token, and where.
        A browser's name is in Latin-1 here, whatever it was in; what no log can show is left out."""
        if self._by_proxy(request):
            named = (
                request.headers[self._header or ""].encode("latin-1", "replace").decode("utf-8", "replace")
            )
            return "".join(filter(str.isprintable, named))[:_LONGEST_NAME]
        return f"token from {request.client.host}" if request.client else "token"

    async def login(self, request: Request) -> Response:
        """A form with the `token`; the answer brings the cookie."""
        if _foreign(request, self._origins) or "origin" not in request.headers:
            return _error("this page's origin may not ask here; see page.origins", 403)
        shown = await _token_of(request)
        if shown is None:
            return _error("the body is no form with a token", 400)
        if (refusal := self._guess(request, shown)) is not None:
            return refusal
        answer = Response(status_code=204)
        expires = int(self._wall()) + _LASTS_S
        secure = request.headers["origin"].startswith("https:")  # TLS may end at a proxy; a browser knows
        answer.set_cookie(
            COOKIE, self._signed(expires), max_age=_LASTS_S, httponly=True, secure=secure, samesite="strict"
        )
        return answer

    async def logout(self, request: Request) -> Response:
        """The browser forgets its cookie."""
        if _foreign(request, self._origins):
            return _error("this page's origin may not ask here; see page.origins", 403)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _guess(self, request: Request, shown: str) -> Response | None:
        """The refusal of a token that is not ours; who guesses often waits."""
        who = request.client.host if request.client else ""
        bucket, now = self._guesses.get(who), self._clock()
        if bucket is not None and (due := bucket.due_s(now)) > now:
            return _error("too many wrong tokens; wait", 429, {"retry-after": str(int(due - now) + 1)})
        if self._token and hmac.compare_digest(shown.encode("utf-8", "replace"), self._token):
            self._guesses.pop(who, None)
            return None
        if bucket is None:
            if len(self._guesses) >= _MOST_GUESSERS:
                del self._guesses[next(iter(self._guesses))]
            bucket = self._guesses[who] = Bucket(_GUESSES_A_S, _GUESSES_AT_ONCE)
        bucket.take(now)
        return _error("the token is wrong", 401, {"www-authenticate": "Bearer"})

    def _signed(self, expires: int) -> str:
        """What only who holds the token can make: nothing is kept, and a restart logs nobody out."""
        seal = hmac.new(self._token, f"rtzr-bridge page {expires}".encode(), hashlib.sha256).hexdigest()
        return f"{expires}.{seal}"

    def _by_cookie(self, request: Request) -> bool:
        shown = request.cookies.get(COOKIE, "")
        with suppress(ValueError):
            expires = int(shown.partition(".")[0][:12])
            known = hmac.compare_digest(shown.encode("utf-8", "replace"), self._signed(expires).encode())
            return bool(self._token) and known and self._wall() < expires
        return False

    def _by_proxy(self, request: Request) -> bool:
        if self._header is None or request.client is None or not request.headers.get(self._header, ""):
            return False
        with suppress(ValueError):
            client = ipaddress.ip_address(request.client.host)
            return any(client in network for network in self._proxies) and self._is_ours(request)
        return False

    def _is_ours(self, request: Request) -> bool:
        """Whether the page is asked for by an address, or by a name that is known to be its own: any other
        page's name may be made to lead here (DNS rebinding), and its script can send the header itself."""
        host = ""
        with suppress(ValueError):
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
            ipaddress.ip_address(host)
            return True
        return host == "localhost" or host in {urlsplit(origin).hostname for origin in self._origins}


def _foreign(request: Request, origins: frozenset[str]) -> bool:
    """Whether another web page asks: a browser says so, in one or both of these ways."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    if origin is None or origin in origins:
        return False
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return True
    return not netloc or netloc != request.headers.get("host")


async def _token_of(request: Request) -> str | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            return None
    with suppress(ValueError):
        return parse_qs(body.decode(), strict_parsing=True, max_num_fields=4).get("token", [None])[0]
    return None


def _error(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)
