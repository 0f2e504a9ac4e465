"""Whether the daemon answers on its control socket, for supervisors that run a command to know:

    python -m bridge.admin.alive /run/rtzr-bridge/admin.sock

Exits with 0 if it does, else with 1 and a line that says why. It is run twice a minute for ever, so nothing
but the standard library is imported.
"""

import http.client
import socket
import sys
from pathlib import Path

_TIMEOUT_S = 5.0


def why_not(path: Path) -> str:
    """Why the daemon at `path` does not answer `/health`; "" if it does."""
    connection = http.client.HTTPConnection("bridge", timeout=_TIMEOUT_S)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection.sock:
        connection.sock.settimeout(_TIMEOUT_S)
        try:
            connection.sock.connect(str(path))
            connection.request("GET", "/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{path}: {error or type(error).__name__}"
    return "" if status == http.client.OK else f"{path}: answered {status}"


def main() -> int:
    (path,) = sys.argv[1:]
    why = why_not(Path(path))
    if why:
        sys.stderr.write(f"{why}\n")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
