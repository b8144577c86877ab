"""Secrets and ConfigMaps: as manifests, and through the API server of a cluster."""
