"""Curated trust bundles: built from anything, judged by stack, compared in terms of a fleet."""
