"""BOSH: a director with its health monitor and NATS, and the agents of its deployments."""
