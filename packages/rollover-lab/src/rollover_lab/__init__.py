"""Rehearsals: real fleets on this machine, BOSH among them, and a demo that rotates a CA."""
