"""Rules over how a server is started: what its unit says beside its configuration."""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.scene import ConfigScene
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.names import RuleId

TLS_FLAGS = Rule(
    id=RuleId("started-with-tls-flags"),
    severity=Severity.ERROR,
    title="TLS is set in the configuration, not by flags",
    meaning="The unit starts nats-server with flags of TLS (`--tls`, `--tlscert`, `--tlsverify`…).",
    why="Every reload is refused (`config reload not supported for TLS`): new certificates need a "
    "restart, which drops each connection.",
    example="`ExecStart=/usr/bin/nats-server -c /etc/nats/nats.conf --tls --tlscert server.pem`.",
    remedy="Write a `tls` block into the configuration, take the flags out, and restart once.",
    source="server/reload.go; measured on 2.15.1",
)
NO_CONFIG = Rule(
    id=RuleId("started-without-configuration"),
    severity=Severity.ERROR,
    title="Servers are started with a configuration file",
    meaning="The unit starts nats-server without `-c`.",
    why="Without a file there is nothing to load anew: a reload is refused, and each new "
    "certificate needs a restart.",
    example="`ExecStart=/usr/bin/nats-server -p 4222 -m 8222`.",
    remedy="Write a configuration, start with `-c FILE`, and restart once.",
    source="server/reload.go; measured on 2.15.1",
)


def tls_flags(configs: ConfigScene) -> Iterator[Finding]:
    """Yield units that set TLS by flags."""
    for each in configs.started:
        if each.tls_flags:
            message = f"it starts nats-server with `{' '.join(each.tls_flags)}`"
            yield found(TLS_FLAGS, each.unit, message, place=str(each.place))


def no_config(configs: ConfigScene) -> Iterator[Finding]:
    """Yield units that name no configuration."""
    for each in configs.started:
        if not each.config:
            message = "it starts nats-server without a configuration file"
            yield found(NO_CONFIG, each.unit, message, place=str(each.place))


CHECKS = ((TLS_FLAGS, tls_flags), (NO_CONFIG, no_config))
