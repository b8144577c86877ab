"""Bytes to nouns and back: strict YAML with positions, JSON, digests. Pure."""
