CREATE TABLE players (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    balance INTEGER NOT NULL CHECK (balance >= 0),
    joined_at INTEGER NOT NULL
) STRICT;

CREATE TABLE duels (
    id INTEGER PRIMARY KEY,
    seed INTEGER NOT NULL,
    agent_a TEXT NOT NULL,
    agent_b TEXT NOT NULL,
    phase TEXT NOT NULL,
    market TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    phase_started_at INTEGER NOT NULL,
    phase_ends_at INTEGER NOT NULL,
    fight_started_at INTEGER,
    fight_ended_at INTEGER,
    winner TEXT,
    settled_at INTEGER,
    ended_at INTEGER
) STRICT;

CREATE TABLE bets (
    id INTEGER PRIMARY KEY,
    duel_id INTEGER NOT NULL REFERENCES duels (id),
    player_id TEXT NOT NULL REFERENCES players (id),
    idempotency_key TEXT NOT NULL,
    side TEXT NOT NULL,
    cents INTEGER NOT NULL CHECK (cents > 0),
    placed_at INTEGER NOT NULL,
    payout INTEGER CHECK (payout >= 0),
    UNIQUE (duel_id, player_id, idempotency_key)
) STRICT;

CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    player_id TEXT NOT NULL REFERENCES players (id),
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    cents INTEGER NOT NULL,
    bet_id INTEGER
) STRICT;

CREATE INDEX ledger_of_player ON ledger (player_id, id);

CREATE TABLE maintenance (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    entered_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    stage TEXT NOT NULL,
    deadline INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
