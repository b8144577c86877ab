"""Certificates for the roles of NATS, from a local CA, and that CA in the system's trust."""
