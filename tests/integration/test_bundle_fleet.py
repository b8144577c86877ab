"""`rollover bundle` in terms of a fleet: two real nats-servers, observed when it is asked."""

from __future__ import annotations

import signal
from pathlib import Path

from rigs import commands
from rigs.nats_fleet_rig import rig, wait_until
from rollover.codec.fleet_file import write_fleet
from rollover.errors import ExitCode
from rollover.fleet.description import (
    AuthorityDescription,
    FleetDescription,
    LinkDescription,
)
from rollover.fleet.names import AuthorityName
from rollover.pki.pem import read_certificates, write_certificates


def test_a_removal_that_breaks_a_route_is_refused_by_what_the_fleet_shows(tmp_path: Path) -> None:
    """Taking away the CA that both servers present a leaf of names their route; adding is fine."""
    with rig(tmp_path, 2) as running:
        fleet = tmp_path / "fleet.yml"
        old, new = running.both()
        described = FleetDescription(
            version=1,
            name="prod",
            groups=(running.group(),),
            links=(LinkDescription(dialer="servers/route", acceptor="servers/route"),),
            authorities=(
                AuthorityDescription(
                    name=AuthorityName("nats-ca"), certificates=(old.fingerprint,)
                ),
            ),
        )
        fleet.write_bytes(write_fleet(described))
        bundle, wider, other = (tmp_path / name for name in ("ca.pem", "wider.pem", "new.pem"))
        bundle.write_bytes(write_certificates((old,)))
        wider.write_bytes(write_certificates((old, new)))
        other.write_bytes(write_certificates((new,)))
        fine = commands.run("bundle", "diff", bundle, wider, "--fleet", fleet)
        assert fine.code == ExitCode.DONE, fine.out + fine.talk
        assert "nothing breaks" in fine.out
        breaks = commands.run("bundle", "diff", bundle, other, "--fleet", fleet)
        assert breaks.code == ExitCode.REFUSED
        names = sorted(running.names)
        assert f"{names[0]}/route → {names[1]}/route" in breaks.out
        for server in running.servers:
            (server.folder / "ca.crt").write_bytes(wider.read_bytes())
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
        bundle.write_bytes(wider.read_bytes())

        def loaded() -> bool:
            return commands.run("bundle", "diff", bundle, bundle, "--fleet", fleet).code == 0

        wait_until(loaded, "both servers have loaded the wider bundle")
        refused = commands.run("bundle", "remove", bundle, old.fingerprint, "--fleet", fleet)
        assert refused.code == ExitCode.REFUSED, refused.talk
        assert "route" in refused.talk
        assert len(read_certificates(bundle.read_bytes()).certificates) == 2
        done = commands.run("bundle", "remove", bundle, new.fingerprint, "--fleet", fleet)
        assert done.code == ExitCode.DONE, done.talk
        assert read_certificates(bundle.read_bytes()).certificates == (old,)
