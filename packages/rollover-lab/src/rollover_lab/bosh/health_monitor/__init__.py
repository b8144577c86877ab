"""The health monitor to rehearse on: hears agents, and recreates VMs that fall silent."""
