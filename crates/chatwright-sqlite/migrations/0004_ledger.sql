-- What was asked of models and what it cost, one row for each request. Rows stay when their chat is purged.
CREATE TABLE ledger (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    purpose TEXT NOT NULL,
    chat BLOB NOT NULL CHECK (length(chat) = 16),
    gen INTEGER,
    owner TEXT NOT NULL,
    organization TEXT,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    prices INTEGER,
    opened INTEGER NOT NULL,
    -- NULL while the request is open.
    closed INTEGER,
    ended TEXT,
    -- Closed with an estimate.
    estimated INTEGER NOT NULL DEFAULT 0,
    -- What counts now: the estimate of a request that is open, then what it took. NULL is not known, which is not zero.
    input INTEGER,
    output INTEGER,
    reasoning INTEGER,
    cache_read INTEGER,
    cache_write INTEGER,
    -- The cost: whole 10⁻⁶ of the currency, and the 10⁻¹² beyond them.
    micros INTEGER,
    picos INTEGER CHECK (picos < 1000000 AND (picos IS NULL) = (micros IS NULL))
) STRICT;

-- Partial, so that few rows are in it: those of requests that run, and those that nobody closed.
CREATE INDEX ledger_open ON ledger (opened, id) WHERE closed IS NULL;
CREATE INDEX ledger_opened ON ledger (opened);
CREATE INDEX ledger_owner ON ledger (owner, opened);
CREATE INDEX ledger_organization ON ledger (organization, opened) WHERE organization IS NOT NULL;
CREATE INDEX ledger_chat ON ledger (chat, opened);
