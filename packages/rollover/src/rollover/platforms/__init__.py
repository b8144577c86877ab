"""One package per outside system: it discovers, changes, observes, and knows nothing of plans."""
