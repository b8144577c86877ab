"""Rules over NATS configurations and the files that they name, before any server runs."""
