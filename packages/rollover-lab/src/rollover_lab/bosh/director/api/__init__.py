"""The director's HTTP API, as the bosh CLI and the health monitor use it."""
