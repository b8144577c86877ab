"""Reads whatever holds certificates, live ports too, and judges the chains found there."""
