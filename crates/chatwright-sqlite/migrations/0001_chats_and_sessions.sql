-- Times are integer milliseconds since 1970, in the store's clock. Ids are UUIDs as 16-byte blobs: blobs compare like
-- the ids themselves, and a blob is less than half of the text.

CREATE TABLE chat (
    -- Short for `id`, and only inside this file. The log is keyed by it.
    no INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    revision INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    wake_at INTEGER,
    holder BLOB,
    -- What the directory sorts and filters by, copied out of index_json by the same statement that writes it.
    owner TEXT NOT NULL,
    organization TEXT,
    parent BLOB,
    root BLOB,
    status TEXT NOT NULL,
    archived INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    -- The whole index as it was given: what is read back comes from here, so that fields which later versions add
    -- survive without a migration.
    index_json TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;

-- Partial, so that a chat at rest is in neither of the first two, and only a child is in the last.
CREATE INDEX chat_due ON chat (wake_at, id) WHERE wake_at IS NOT NULL;
CREATE INDEX chat_held ON chat (holder, id) WHERE holder IS NOT NULL;
CREATE INDEX chat_owner ON chat (owner, updated, id);
CREATE INDEX chat_parent ON chat (parent, updated, id) WHERE parent IS NOT NULL;

-- The log. The key is chat.no << 32 | seq: one b-tree, ordered by chat and then by position, so that a chat's records
-- lie side by side, a page of them is one range of row ids, and no second index has to be kept. It takes positions
-- below 2^32 and chat numbers below 2^31 (row ids are signed).
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- For people with a shell: SELECT * FROM records WHERE chat = lower(hex(x'…')).
CREATE VIEW records AS
    SELECT lower(hex(chat.id)) AS chat, record.id & 4294967295 AS seq, record.kind AS kind, record.body AS body
    FROM record JOIN chat ON chat.no = record.id >> 32;

-- All that is left of a purged chat.
CREATE TABLE purged (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16)
) STRICT, WITHOUT ROWID;

-- Every session that ever began, for ids are never used again. A forgotten one is its bare id: no expires_at.
CREATE TABLE session (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    address TEXT,
    expires_at INTEGER,
    ended INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
