"""Rules on a BOSH director and its agents: what stands in the way, text and function together."""
