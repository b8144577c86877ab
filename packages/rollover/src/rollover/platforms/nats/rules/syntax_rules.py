"""Rules over what a configuration says: twice, without effect, misspelt, not reloadable."""

from __future__ import annotations

from collections.abc import Iterator

from nats_config.reload import ReloadEffect, find_changes
from rollover.fleet.names import RuleId
from rollover.platforms.nats.rules.context import ConfigContext
from rollover.rules.rule import Finding, Rule, Severity, found

WITHOUT_EFFECT = Rule(
    id=RuleId("option-without-effect"),
    severity=Severity.WARNING,
    title="Every option does what it says",
    meaning="nats-server reads the option and makes no use of it in this place.",
    why="Somebody relies on it: a pin, a rate limit, a verification that is not there.",
    example="`pinned_certs` inside a gateway remote.",
    remedy="Take it out, or put it where it counts.",
    source="server/opts.go, server/reload.go; measured",
)
TWICE = Rule(
    id=RuleId("option-twice"),
    severity=Severity.WARNING,
    title="Nothing is said twice",
    meaning="A key or a block stands in a map twice: the last one wins, without a word.",
    why="A second `tls` block replaces the first one wholly.",
    example="`tls { verify: true … }` on top and `tls { … }` from an include below.",
    remedy="Merge them.",
    source="Measured: no warning with `-t` either",
)
UNKNOWN = Rule(
    id=RuleId("option-unknown"),
    severity=Severity.ERROR,
    title="nats-server knows every option",
    meaning="An option is misspelt, or of another version.",
    why="The server refuses to start, and refuses the whole reload.",
    example="`verfy: true`.",
    remedy="Correct it; `nats-server -t -c FILE` names the first one only.",
    source="nats-server 2.15",
)
ODD = Rule(
    id=RuleId("value-not-as-meant"),
    severity=Severity.WARNING,
    title="Values mean what they seem to mean",
    meaning="The parser reads the text otherwise than a person would: a key without a value, an "
    "unknown unit, a file that is cut off.",
    why="A setting is silently not there.",
    example="`max_payload: 1kbb`: no error, and no limit.",
    remedy="Write the value out: with a unit that is known, or in quotes, and to its end.",
    source="conf/lex.go, conf/parse.go; measured against the parser, digest for digest",
)
RELOAD = Rule(
    id=RuleId("reload-refused"),
    severity=Severity.ERROR,
    title="A reload would take the changes",
    meaning="The file differs from what the server has loaded in something that a reload refuses.",
    why="The whole reload is refused: new certificates in the same file are held back too.",
    example="A new `gateway.tls.timeout` in the same commit as a new `cert_file`.",
    remedy="Keep material and settings apart: deliver the certificates now, the rest with a "
    "restart.",
    source="Measured: 109 cases on nats-server 2.15",
)
DOWNGRADE = Rule(
    id=RuleId("reload-to-plaintext"),
    severity=Severity.ERROR,
    title="A reload would not end TLS",
    meaning="The `tls` block of the client or cluster port is gone from the file and loaded in the "
    "server.",
    why="A reload takes that without a word: clients or routes go on in clear.",
    example="An include that is missing after a deploy.",
    remedy="Put the block back before anybody reloads.",
    source="Measured on nats-server 2.15",
)
RELATIVE = Rule(
    id=RuleId("relative-path"),
    severity=Severity.WARNING,
    title="Paths of certificates are absolute",
    meaning="A certificate file is named by a relative path.",
    why="It begins in the working directory of the process, not beside the configuration: a unit "
    "file that changes that directory breaks the next start.",
    example="`cert_file: certs/server.pem`.",
    remedy="Write the whole path.",
    source="Measured on nats-server 2.15",
)
_RULE_OF_REMARK = {
    "ignored-option": WITHOUT_EFFECT,
    "duplicate-key": TWICE,
    "same-field-twice": TWICE,
    "unknown-field": UNKNOWN,
    "key-without-value": ODD,
    "unknown-unit": ODD,
    "empty": ODD,
    "cut-off": ODD,
    "not-a-url": ODD,
}


def _from_remarks(configs: ConfigContext, rule: Rule) -> Iterator[Finding]:
    for server in configs.servers:
        for remark in server.config.remarks:
            if _RULE_OF_REMARK.get(remark.code) is rule:
                yield found(rule, server.name, remark.message, place=str(remark.place))


def without_effect(configs: ConfigContext) -> Iterator[Finding]:
    """Yield options that nothing makes use of."""
    yield from _from_remarks(configs, WITHOUT_EFFECT)


def twice(configs: ConfigContext) -> Iterator[Finding]:
    """Yield what is said twice."""
    yield from _from_remarks(configs, TWICE)


def unknown(configs: ConfigContext) -> Iterator[Finding]:
    """Yield options that the server does not know."""
    yield from _from_remarks(configs, UNKNOWN)


def odd(configs: ConfigContext) -> Iterator[Finding]:
    """Yield values that are read otherwise than they look."""
    yield from _from_remarks(configs, ODD)


def reload_refused(configs: ConfigContext) -> Iterator[Finding]:
    """Yield changes since the last load that a reload refuses."""
    for server in configs.servers:
        for change in find_changes(server.running, server.tree) if server.running else ():
            if change.effect is ReloadEffect.REFUSED:
                message = f"`{change.path}` has changed, and cannot be reloaded"
                yield found(RELOAD, server.name, message, place=str(change.place))


def downgrade(configs: ConfigContext) -> Iterator[Finding]:
    """Yield `tls` blocks that a reload would take away."""
    for server in configs.servers:
        for change in find_changes(server.running, server.tree) if server.running else ():
            if change.removed and change.path in {"tls", "cluster.tls"}:
                message = f"`{change.path}` is gone: a reload goes on in clear"
                yield found(DOWNGRADE, server.name, message, place=str(change.place))


def relative(configs: ConfigContext) -> Iterator[Finding]:
    """Yield certificate files with relative paths."""
    for used in configs.used:
        for file in used.block.files:
            if file.written and not file.written.startswith("/"):
                message = f"`{file.written}` begins in the working directory of the process"
                yield found(RELATIVE, used.subject, message, place=str(file.place))


CHECKS = (
    (WITHOUT_EFFECT, without_effect),
    (TWICE, twice),
    (UNKNOWN, unknown),
    (ODD, odd),
    (RELOAD, reload_refused),
    (DOWNGRADE, downgrade),
    (RELATIVE, relative),
)
