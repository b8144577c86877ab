"""How results look: one module for each kind, text for people, JSON for machines."""
