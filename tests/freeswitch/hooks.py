"""A receiver of webhooks in threads, beside a daemon that is a process: it verifies, keeps, and may fail."""

import json
import random
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A sender that was killed ends its connections as it comes."""


class Hooks:
    """What came, repeats too, in the order in which it came."""

    def __init__(self, seed: int, *, failing: float = 0.1) -> None:
        """`failing`: the share of requests that fail, half of them after it has the events."""
        self.events: list[dict[str, Any]] = []
        self.refused = 0
        """Requests whose signature was wrong."""
        self._dice = random.Random(seed)
        self._failing = failing
        self._lock = threading.Lock()
        hooks = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                # A sender that is killed between the head and the body has signed nothing wrong.
                status = hooks.take(body, dict(self.headers)) if len(body) == length else 0
                if not status:  # it has them, or has not, and nobody is told
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Request)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hooks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def take(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The status to answer with; 0 for no answer."""
        try:
            Webhook(SECRET).verify(body, {name.lower(): value for name, value in headers.items()})
        except Exception:  # whatever it is, the test is to know
            with self._lock:
                self.refused += 1
            return 401
        with self._lock:
            mood = self._dice.random()
            if mood < self._failing / 2:
                return 503
            given = json.loads(body)
            self.events += given if isinstance(given, list) else [given]
            return 0 if mood < self._failing else 204
