"""Rules over clients: does a port let those in whose certificates are given, and as whom?"""

from __future__ import annotations

from collections.abc import Iterator

from rollover.checks.configs.judging import verdict
from rollover.checks.configs.meetings import MOST_NAMED
from rollover.checks.configs.scene import ConfigScene, Server, Used
from rollover.checks.rule import Finding, Rule, Severity, found
from rollover.fleet.certificate import Certificate, Stack, Usage
from rollover.fleet.names import RuleId
from rollover.nats_config.tls import TlsContext

REFUSED = Rule(
    id=RuleId("client-refused"),
    severity=Severity.ERROR,
    title="Ports let the clients in whose certificates are given",
    meaning="The chain of a client (`--client`) does not validate against the `ca_file` of a port "
    "that demands certificates.",
    why="The client's next handshake with it fails, however long its connection has been open.",
    example="The client's certificate comes from the new CA, and one server trusts the old one "
    "only.",
    remedy="Add the CA of the client to that `ca_file`, or give the client a certificate of a CA "
    "that stands in it.",
    source="RFC 5280 §6; measured",
)
MAPPED_NOBODY = Rule(
    id=RuleId("mapped-user-without-certificate"),
    severity=Severity.WARNING,
    title="Every user of `verify_and_map` can be what a certificate says",
    meaning="With `verify_and_map` a user's name has to be an e-mail address, DNS name, URI or "
    "subject of a certificate; this one is none of them, or none of the clients that were given, "
    "and has no password.",
    why="Nobody can be that user.",
    example="`users: [ { user: '/CN=app/O=Acme' } ]`: the server compares `CN=app,O=Acme`.",
    remedy="Name the user as the certificate does: `CN=app,O=Acme` or `app@acme.example`.",
    source="nats-server: e-mail, then DNS name, then URI, then subject (checkClientTLSCertSubject)",
)
NOBODY = Rule(
    id=RuleId("mapped-certificate-without-user"),
    severity=Severity.ERROR,
    title="Every client of `verify_and_map` is a user",
    meaning="No name in the certificate of a client (`--client`) is that of a user: none of its "
    "e-mail addresses, DNS names, URIs, nor its subject.",
    why="The handshake succeeds and the server then refuses the client: `Authorization Violation`.",
    example="The new CA's profile writes another organization into the subject.",
    remedy="Issue it with the name that the user has, or add a user of the new name first.",
    source="nats-server, checkClientTLSCertSubject; measured on 2.15.1",
)
_MAPPING = frozenset((TlsContext.TOP, TlsContext.LEAFNODES, TlsContext.WEBSOCKET, TlsContext.MQTT))
_FOR_CLIENTS = frozenset((TlsContext.TOP, TlsContext.WEBSOCKET, TlsContext.MQTT))
_NKEY_LENGTH = 56


def refused(configs: ConfigScene) -> Iterator[Finding]:
    """Yield clients whom a port refuses; an error when every port does."""
    ports = [
        used
        for used in configs.used
        if used.block.context in _FOR_CLIENTS
        and used.block.demands_certificate
        and configs.bundle(used.block)
    ]
    for chain in configs.clients:
        refusing: dict[str, list[Used]] = {}
        for used in ports:
            why = _why_refused(configs, chain, used)
            if why:
                refusing.setdefault(why, []).append(used)
        everywhere = sum(map(len, refusing.values())) == len(ports)
        severity = None if everywhere else Severity.WARNING
        for why, blocks in refusing.items():
            place = blocks[0].place("ca_file")
            message = f"refused by {_some(blocks)}: {why}"
            yield found(REFUSED, chain[0].subject, message, place=place, severity=severity)


def _why_refused(configs: ConfigScene, chain: tuple[Certificate, ...], used: Used) -> str:
    # Clients of other languages than Go send what they have, whatever the server advertises.
    faults = verdict(
        configs, chain, configs.bundle(used.block), usage=Usage.CLIENT, presenter=Stack.OPENSSL
    )
    return "; ".join(each.detail for each in faults)


def _some(blocks: list[Used]) -> str:
    more = len(blocks) - MOST_NAMED
    names = ", ".join(each.subject for each in blocks[:MOST_NAMED])
    return names + (f" and {more} more" if more > 0 else "")


def _maps(server: Server) -> bool:
    return any(each.verify_and_map and each.context in _MAPPING for each in server.config.tls)


def mapped_nobody(configs: ConfigScene) -> Iterator[Finding]:
    """Yield users whom no certificate can name, or none of the clients that were given."""
    for server in filter(_maps, configs.servers):
        for user in server.config.accounts.users:
            if user.has_password or _nkey(user.name):
                continue
            if not _nameable(user.name):
                message = f"user `{user.name}` is no address, name, URI or subject"
            elif configs.clients and not any(_is(chain[0], user.name) for chain in configs.clients):
                message = f"no client that was given is user `{user.name}`"
            else:
                continue
            yield found(MAPPED_NOBODY, server.name, message, place=str(user.place))


def nobody(configs: ConfigScene) -> Iterator[Finding]:
    """Yield clients who are no user of any server that maps certificates to users."""
    mapping = [each for each in configs.servers if _maps(each) and each.config.accounts.users]
    names = {user.name for server in mapping for user in server.config.accounts.users}
    for chain in configs.clients if mapping else ():
        if not any(_is(chain[0], name) for name in names):
            used = next(
                Used(mapping[0], each) for each in mapping[0].config.tls if each.verify_and_map
            )
            message = f"no user is named as this certificate is: {_named(chain[0])}"
            place = used.place("verify_and_map")
            yield found(NOBODY, chain[0].subject, message, place=place)


def _named(certificate: Certificate) -> str:
    names = (*certificate.emails, *certificate.dns_names, *certificate.uris, certificate.subject)
    return ", ".join(f"`{each}`" for each in names[: MOST_NAMED + 1])


def _nkey(name: str) -> bool:
    return len(name) == _NKEY_LENGTH and name.startswith("U") and name.isupper()


def _nameable(name: str) -> bool:
    """Say whether a certificate can hold the text: nats-server wants subjects with commas."""
    if name.startswith("/") or name != name.strip():
        return False
    return "=" in name or not any(each.isspace() for each in name)


def _is(certificate: Certificate, name: str) -> bool:
    names = (*certificate.emails, *certificate.dns_names, *certificate.uris)
    parts = sorted(each.strip() for each in name.split(","))
    return name in names or parts == sorted(certificate.subject.split(","))


CHECKS = ((REFUSED, refused), (MAPPED_NOBODY, mapped_nobody), (NOBODY, nobody))
