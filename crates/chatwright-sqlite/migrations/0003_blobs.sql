-- What chats keep beside their logs. The bytes are in pages of their own, so that finding a blob touches none of them.
CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    chat BLOB NOT NULL CHECK (length(chat) = 16),
    -- A digest of chat and bytes: equal bytes of one chat are one row.
    ref TEXT NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (chat, ref)
) STRICT;
