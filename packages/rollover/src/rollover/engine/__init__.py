"""Runs plans against the world through small protocols; knows no platform and no file format."""
