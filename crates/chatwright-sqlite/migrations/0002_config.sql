-- What an operator and users configure. Kinds and ids are compared byte for byte.
CREATE TABLE config (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- The last version that any row was given: one that is deleted and comes back has another.
CREATE TABLE config_version (
    last INTEGER NOT NULL
) STRICT;

INSERT INTO config_version (last) VALUES (0);
