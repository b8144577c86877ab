"""Real handshakes: what a TLS or NATS port presents, trusts and answers, seen from outside."""
