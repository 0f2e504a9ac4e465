"""The outbox: an SQLite file in which events wait, and the thread that writes it. Nothing here sends."""
