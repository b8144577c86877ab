"""What `bosh env --details` shows: when certificates of the director end.

As in the real director (`certificate_expiry.json.erb`): computed when the job is rendered, of a
bundle only the first certificate, and neither NATS's own nor the agents'.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rollover.pki.pem import read_certificates
from rollover_lab.bosh.rendered import DirectorConfig


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """When one certificate ends."""

    certificate_path: str
    expiry: str
    days_left: int


class Expiries:
    """Read once, when the director starts; only the days that are left are counted anew."""

    def __init__(self, config: DirectorConfig) -> None:
        files = {
            "director.ssl.cert": config.certificate,
            "nats.tls.ca": config.agents.bundle,
            "nats.tls.client_ca.certificate": config.agents.client_ca_certificate,
            "nats.tls.director.certificate": config.nats.certificate,
        }
        self._ends = {
            name: read_certificates(Path(path).read_bytes(), place=path).certificates[0].not_after
            for name, path in files.items()
        }

    def at(self, now: datetime) -> tuple[Expiry, ...]:
        """Return what is listed at this instant."""
        return tuple(
            Expiry(
                certificate_path=name,
                expiry=f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                days_left=(end - now).days,
            )
            for name, end in self._ends.items()
        )
