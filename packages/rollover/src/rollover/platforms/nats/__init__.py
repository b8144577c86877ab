"""NATS: reads the configuration of servers, watches them, and makes them take new certificates."""
