"""Where credentials, the journal and leases are kept: SQLite on this machine."""
