"""The reference platform: a group of instances in memory, which fail on request."""
