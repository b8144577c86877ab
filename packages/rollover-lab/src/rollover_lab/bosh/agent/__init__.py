"""The agent to rehearse on: the protocol of the real one, its state on disk, its restarts."""
