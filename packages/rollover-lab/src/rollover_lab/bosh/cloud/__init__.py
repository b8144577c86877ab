"""The cloud to rehearse on: one process that runs the director VM and all agents."""
