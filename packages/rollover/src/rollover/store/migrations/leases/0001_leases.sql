-- One row for each name for ever, so that its fencing token never goes back.
-- The holder is JSON; null when nobody holds the lease.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    token INTEGER NOT NULL CHECK (token > 0),
    holder TEXT,
    acquired_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
