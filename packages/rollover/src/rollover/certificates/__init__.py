"""Certificates in hand: inspects whatever holds some, issues them, makes bundles of them."""

from __future__ import annotations


# Reads whatever holds certificates, live ports too, and judges the chains found there.


# Certificates for the roles of NATS, from a local CA, and that CA in the system's trust.


# Curated trust bundles: built from anything, judged by stack, compared in terms of a fleet.
