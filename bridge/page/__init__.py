"""The live page: calls in progress with their text, what became of recent ones, and pause, in a browser."""
