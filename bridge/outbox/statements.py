"""The statements that are made in the outbox's file. Text only: what each is for, is said there."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, call TEXT NOT NULL, type TEXT NOT NULL,
    at REAL NOT NULL, body BLOB NOT NULL, age REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS endpoints (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS waiting (
    endpoint INTEGER NOT NULL, seq INTEGER NOT NULL, call TEXT NOT NULL,
    PRIMARY KEY (endpoint, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivered (seq INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS calls (
    call TEXT PRIMARY KEY, rule TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
"""
OLDEST_WAITING = """
SELECT e.seq, e.id, e.call, e.type, e.body FROM waiting w CROSS JOIN events e ON e.seq = w.seq
WHERE w.endpoint = ? AND w.call NOT IN (SELECT value FROM json_each(?)) ORDER BY w.seq
"""
NOW_DELIVERED = """
INSERT OR IGNORE INTO delivered SELECT seq FROM events WHERE seq = ?1 AND NOT EXISTS (
    SELECT 1 FROM endpoints n CROSS JOIN waiting w ON w.endpoint = n.number AND w.seq = ?1)
"""
NOW_GONE = """
DELETE FROM events WHERE seq = ?1 AND NOT EXISTS (
    SELECT 1 FROM endpoints n CROSS JOIN waiting w ON w.endpoint = n.number AND w.seq = ?1)
"""
BACKLOGS = """
SELECT name, number_waiting, (SELECT at FROM events WHERE seq = oldest) FROM (
    SELECT n.name AS name, COUNT(w.seq) AS number_waiting, MIN(w.seq) AS oldest
    FROM endpoints n LEFT JOIN waiting w ON w.endpoint = n.number GROUP BY n.number)
"""
BACKLOG = """
SELECT number_waiting, (SELECT at FROM events WHERE seq = oldest) FROM (
    SELECT COUNT(seq) AS number_waiting, MIN(seq) AS oldest FROM waiting
    WHERE endpoint = (SELECT number FROM endpoints WHERE name = ?)
    AND seq NOT IN (SELECT value FROM json_each(?)))
"""
WAITED = """
SELECT COUNT(DISTINCT seq) FROM waiting WHERE endpoint IN (SELECT number FROM endpoints)
AND seq IN (SELECT value FROM json_each(?))
"""
ERASED = (
    """
    DELETE FROM waiting WHERE endpoint IN (SELECT number FROM endpoints)
    AND seq IN (SELECT value FROM json_each(?))
    """,
    "DELETE FROM delivered WHERE seq IN (SELECT value FROM json_each(?))",
    "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?))",
)
OF_CALL = """
SELECT n.name, w.seq FROM waiting w JOIN endpoints n ON n.number = w.endpoint WHERE w.call = ?
"""
