CREATE TABLE players (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    balance BIGINT NOT NULL CHECK (balance >= 0),
    joined_at BIGINT NOT NULL
);

CREATE TABLE duels (
    id BIGINT PRIMARY KEY,
    seed BIGINT NOT NULL,
    agent_a TEXT NOT NULL,
    agent_b TEXT NOT NULL,
    phase TEXT NOT NULL,
    market TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    phase_started_at BIGINT NOT NULL,
    phase_ends_at BIGINT NOT NULL,
    fight_started_at BIGINT,
    fight_ended_at BIGINT,
    winner TEXT,
    settled_at BIGINT,
    ended_at BIGINT
);

CREATE TABLE bets (
    id BIGINT PRIMARY KEY,
    duel_id BIGINT NOT NULL REFERENCES duels (id),
    player_id TEXT NOT NULL REFERENCES players (id),
    idempotency_key TEXT NOT NULL,
    side TEXT NOT NULL,
    cents BIGINT NOT NULL CHECK (cents > 0),
    placed_at BIGINT NOT NULL,
    payout BIGINT CHECK (payout >= 0),
    UNIQUE (duel_id, player_id, idempotency_key)
);

CREATE TABLE ledger (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    player_id TEXT NOT NULL REFERENCES players (id),
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    cents BIGINT NOT NULL,
    bet_id BIGINT
);

CREATE INDEX ledger_of_player ON ledger (player_id, id);

CREATE TABLE maintenance (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    entered_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    stage TEXT NOT NULL,
    deadline BIGINT NOT NULL
);

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
);
