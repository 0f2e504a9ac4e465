"""The server's part of a WebSocket's opening handshake, by hand: for servers that misbehave after it."""

import asyncio
from base64 import b64encode
from hashlib import sha1

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the handshake (RFC 6455, section 4.2.2)."""
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    key = next(line.partition(b": ")[2] for line in head if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + _MAGIC).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    await writer.drain()
