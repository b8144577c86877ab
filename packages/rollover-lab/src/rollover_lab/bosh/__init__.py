"""A BOSH to rehearse on: a director VM, a cloud of agents, and the faults of both."""
