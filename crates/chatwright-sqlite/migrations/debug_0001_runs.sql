-- What was asked of models for one purpose. It has ended iff `finished_at` is set.
CREATE TABLE run (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    chat BLOB NOT NULL CHECK (length(chat) = 16),
    root BLOB CHECK (length(root) = 16),
    parent BLOB CHECK (length(parent) = 16),
    owner TEXT,
    kind TEXT NOT NULL,
    turn INTEGER,
    tip INTEGER,
    provider TEXT,
    model TEXT,
    status TEXT NOT NULL CHECK ((status = 'in_progress') = (finished_at IS NULL)),
    summary TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE INDEX run_chat ON run (chat, started_at, id);
-- Partial, so that few rows are in it: those of runs that go on, and those that nobody ended.
CREATE INDEX run_open ON run (updated_at) WHERE finished_at IS NULL;
CREATE INDEX run_started ON run (started_at);
CREATE INDEX run_updated ON run (updated_at);

-- One answer of a run, without what is large in it: it changes often, and is written whole.
CREATE TABLE step (
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    run INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    status TEXT NOT NULL CHECK ((status = 'in_progress') = (finished_at IS NULL)),
    provider TEXT,
    model TEXT,
    tip INTEGER,
    answer INTEGER,
    usage TEXT,
    error TEXT,
    metadata TEXT,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (run, number)
) STRICT;

CREATE INDEX step_open ON step (updated_at) WHERE finished_at IS NULL;

-- What is large in a step. No row: nothing.
CREATE TABLE payload (
    step INTEGER PRIMARY KEY,
    request TEXT,
    response TEXT,
    attempts TEXT
) STRICT;

-- Pieces of contents, each once for a chat.
CREATE TABLE content (
    no INTEGER PRIMARY KEY,
    chat BLOB NOT NULL CHECK (length(chat) = 16),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    bytes BLOB NOT NULL,
    UNIQUE (chat, hash)
) STRICT;

-- Which runs have them.
CREATE TABLE run_content (
    run INTEGER NOT NULL,
    content INTEGER NOT NULL,
    PRIMARY KEY (run, content)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_content_content ON run_content (content);
