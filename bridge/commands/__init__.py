"""The commands that are no question to a running daemon: each reads its arguments, and runs one coroutine."""
