"""How results of the lab look."""
