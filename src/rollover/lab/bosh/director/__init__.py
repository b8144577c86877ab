"""The director to rehearse on: its HTTP API, its tasks, its deployments."""
