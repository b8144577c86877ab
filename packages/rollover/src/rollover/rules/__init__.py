"""The rules of `rollover check`: can this fleet be rotated, and what stands in the way? Pure."""
