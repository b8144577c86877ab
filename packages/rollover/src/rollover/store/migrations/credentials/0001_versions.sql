-- Certificate versions by name. The last number stays when versions are forgotten: a number is
-- bound into the sealing of its key and is never given twice.
CREATE TABLE certificate_names (
    name TEXT PRIMARY KEY,
    last_number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    name TEXT NOT NULL REFERENCES certificate_names (name),
    number INTEGER NOT NULL CHECK (number > 0),
    chain BLOB NOT NULL,
    fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
    certificate_authority INTEGER NOT NULL CHECK (certificate_authority IN (0, 1)),
    transitional INTEGER NOT NULL CHECK (transitional IN (0, 1)),
    signing INTEGER NOT NULL CHECK (signing IN (0, 1)),
    generated INTEGER NOT NULL CHECK (generated IN (0, 1)),
    self_signed INTEGER NOT NULL CHECK (self_signed IN (0, 1)),
    created_at TEXT NOT NULL,
    PRIMARY KEY (name, number),
    CHECK (certificate_authority OR NOT signing)
) STRICT;

CREATE INDEX versions_by_fingerprint ON versions (fingerprint);
CREATE UNIQUE INDEX one_transitional_version ON versions (name) WHERE transitional;
CREATE UNIQUE INDEX one_signing_version ON versions (name) WHERE signing;

-- AES-256-GCM; key id, name and number are bound as additional data.
CREATE TABLE private_keys (
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    nonce BLOB NOT NULL CHECK (length(nonce) = 12),
    sealed BLOB NOT NULL CHECK (length(sealed) > 16),
    PRIMARY KEY (name, number),
    FOREIGN KEY (name, number) REFERENCES versions (name, number) ON DELETE CASCADE
) STRICT;

CREATE INDEX private_keys_by_key_id ON private_keys (key_id);
