"""Commands of the lab: `rollover lab` and `rollover demo`, with how their results look."""
