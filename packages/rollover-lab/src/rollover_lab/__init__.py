"""Real fleets of real processes on loopback, to rehearse a rotation on."""
