"""Certificates in hand: inspects whatever holds some, issues them, makes bundles of them."""
