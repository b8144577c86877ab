"""Rules over the files that a configuration names: there, readable, whole, private."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from nats_config.tls import TlsFile
from rollover.fleet.certificate import Stack
from rollover.fleet.names import RuleId
from rollover.pki.pem import RemarkKind
from rollover.platforms.nats.rules.context import ConfigContext, UsedBlock
from rollover.rules.rule import Finding, Rule, Severity, found

UNREADABLE = Rule(
    id=RuleId("configuration-unreadable"),
    severity=Severity.ERROR,
    title="nats-server can read every configuration",
    meaning="A configuration has an error of syntax, an include or variable that is not there, "
    "or a value that its option does not take. Nothing else could be checked in it.",
    why="The server does not start; a running one refuses the whole reload and keeps what it had.",
    example="`include ./tls.conf`, which a deploy forgot.",
    remedy="Correct it; `nats-server -t -c FILE` says whether it can be read.",
    source="conf/lex.go, conf/parse.go, server/opts.go; measured against the parser",
)
MISSING = Rule(
    id=RuleId("file-missing"),
    severity=Severity.ERROR,
    title="Every file that a `tls` block names can be read",
    meaning="A certificate, key or CA file is not there, or cannot be read.",
    why="The server does not start; a running one refuses the whole reload and keeps what it had.",
    example="`cert_file: server.pem`, and the process runs in another directory.",
    remedy="Correct the path; relative ones begin in the working directory of the process.",
    source="nats-server `tls` configuration; measured: the whole reload is refused",
)
DAMAGED = Rule(
    id=RuleId("file-without-certificates"),
    severity=Severity.ERROR,
    title="Certificate files hold certificates",
    meaning="A certificate or CA file is empty, DER, truncated, a key, or otherwise not PEM.",
    why="`failed to parse root ca certificate`: the server neither starts nor reloads.",
    example="`ca_file: ca.der`.",
    remedy="Write the certificates as PEM; from DER: `openssl x509 -inform der -in ca.der -out "
    "ca.pem`.",
    source="RFC 7468; measured: missing, truncated, DER and empty files refuse the reload",
)
JOINED = Rule(
    id=RuleId("pem-joined"),
    severity=Severity.ERROR,
    title="PEM blocks are separated by line ends",
    meaning="Two certificates meet on one line: the first file had no newline at its end.",
    why="Go drops both of them and OpenSSL refuses the file: nobody is trusted.",
    example="`cat old.pem new.pem > ca.pem`, and old.pem ends without a newline.",
    remedy="Join them with a newline between; `rollover bundle build` does.",
    source="Measured on nats-server 2.15 and OpenSSL 3; hazard H9 of the BOSH procedure",
)
SKIPPED = Rule(
    id=RuleId("pem-skipped"),
    severity=Severity.ERROR,
    title="nats-server loads every certificate that stands in a file",
    meaning="A block is there for the eye, and Go skips it without a word: behind a byte order "
    "mark, with headers, `TRUSTED CERTIFICATE`, indented, or not readable.",
    why="Peers of that CA are refused although the file seems to trust it.",
    example="A bundle saved by an editor that puts a byte order mark in front.",
    remedy="Write the file anew: `rollover bundle build … -o FILE` keeps certificates only.",
    source="Measured: Go's pem.Decode and x509.ParseCertificate",
)
STACKS = Rule(
    id=RuleId("pem-refused-by-openssl"),
    severity=Severity.WARNING,
    title="OpenSSL peers can read the same files",
    meaning="Something in a file makes OpenSSL refuse all of it, though nats-server reads it.",
    why="Clients in Python, Ruby, C that are given the same file fail.",
    example="Text behind `-----END CERTIFICATE-----`.",
    remedy="Write the file anew, with nothing but certificates in it.",
    source="Measured on OpenSSL 3",
)
NO_NEWLINE = Rule(
    id=RuleId("pem-without-last-newline"),
    severity=Severity.WARNING,
    title="Certificate files end with a newline",
    meaning="The last line of a file has no end.",
    why="Whoever appends the next CA with `cat` joins two blocks, and loses both.",
    example="A value pasted from a secret store.",
    remedy="Add a newline at its end.",
    source="Hazard H9 of the BOSH procedure; measured",
)
MISMATCH = Rule(
    id=RuleId("key-mismatch"),
    severity=Severity.ERROR,
    title="Private keys belong to their certificates",
    meaning="The key is not that of the first certificate in `cert_file`.",
    why="`tls: private key does not match public key`: no start, no reload.",
    example="The certificate was renewed and the key file was not; or the CA stands first.",
    remedy="Deliver certificate and key together, the leaf first in the file.",
    source="Measured: the whole reload is refused",
)
READABLE = Rule(
    id=RuleId("key-readable-by-others"),
    severity=Severity.ERROR,
    title="Private keys are private",
    meaning="A file with a private key may be read by others than its owner and group.",
    why="Whoever reads it can be this server until the certificate ends.",
    example="`-rw-r--r-- server-key.pem`.",
    remedy="`chmod 0600` it, and think about a new key: it may have been read already.",
    source="NIST SP 800-57 part 1, §6.2.2",
)
GROUP_READABLE = Rule(
    id=RuleId("key-readable-by-group"),
    severity=Severity.WARNING,
    title="Private keys belong to one user",
    meaning="A file with a private key may be read or written by a group.",
    why="Everybody in it can be this server.",
    example="`-rw-r----- root nats server-key.pem` is usual where a group stands for one service.",
    remedy="`chmod 0600`, or silence this with the reason why the group is fine.",
    source="NIST SP 800-57 part 1, §6.2.2",
)
WRITABLE = Rule(
    id=RuleId("trust-writable-by-others"),
    severity=Severity.ERROR,
    title="Nobody else may change whom a server trusts",
    meaning="A CA or certificate file may be written by everybody.",
    why="A CA that is added to it can make certificates for every name and user.",
    example="`-rw-rw-rw- ca.pem`.",
    remedy="`chmod 0644` it.",
    source="CWE-732",
)

_SKIPPED_BY_GO = frozenset(
    (
        RemarkKind.BYTE_ORDER_MARK,
        RemarkKind.TRUSTED,
        RemarkKind.HEADERS,
        RemarkKind.INDENTED,
        RemarkKind.TRAILING,
        RemarkKind.GARBAGE,
        RemarkKind.UNREADABLE_TO_GO,
        RemarkKind.FOLLOWED,
    )
)


def _named(configs: ConfigContext) -> Iterator[tuple[UsedBlock, TlsFile]]:
    """Yield every file with the block that names it, each path of a server once."""
    seen: set[tuple[str, str]] = set()
    for used in configs.used:
        for file in used.block.files:
            key = (used.server.config.path, file.path)
            if key not in seen:
                seen.add(key)
                yield used, file


def _pems(configs: ConfigContext) -> Iterator[tuple[UsedBlock, TlsFile]]:
    """Yield the files that have to hold certificates; one may hold the key, too."""
    holding = {
        (used.server.config.path, file.path)
        for used in configs.used
        for file in (*(pair.cert_file for pair in used.block.certificates), used.block.ca_file)
        if file is not None
    }
    for used, file in _named(configs):
        if (used.server.config.path, file.path) in holding:
            yield used, file


def unreadable(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the configurations that nats-server would not read."""
    for path, place, message, hint in configs.refused:
        yield found(UNREADABLE, path, message, remedy=hint, place=place or path)


def missing(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the files that cannot be read."""
    for used, file in _named(configs):
        facts = configs.facts(file)
        if facts is not None and facts.problem:
            message = f"`{file.written}` cannot be read: {facts.problem}"
            # The server may run as another user, who may read it.
            severity = Severity.EVIDENCE if facts.denied else None
            yield found(MISSING, used.subject, message, place=str(file.place), severity=severity)


def damaged(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the files without a certificate that could be loaded."""
    for used, file in _pems(configs):
        facts = configs.facts(file)
        if facts is None or facts.problem:
            continue
        if not facts.loaded:
            message = f"`{file.written}`: {facts.damage or 'nothing in it can be loaded'}"
            yield found(DAMAGED, used.subject, message, place=str(file.place))


def _remarked(
    configs: ConfigContext, kinds: frozenset[RemarkKind], rule: Rule
) -> Iterator[Finding]:
    for used, file in _pems(configs):
        facts = configs.facts(file)
        for remark in facts.reading.remarks if facts and facts.reading else ():
            if remark.kind in kinds:
                message = f"`{file.written}`, line {remark.line}: {remark.detail}"
                yield found(rule, used.subject, message, place=f"{file.path}:{remark.line}:1")


def joined(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the files in which two blocks meet on a line."""
    yield from _remarked(configs, frozenset((RemarkKind.JOINED,)), JOINED)


def skipped(configs: ConfigContext) -> Iterator[Finding]:
    """Yield what nats-server skips in a file."""
    yield from _remarked(configs, _SKIPPED_BY_GO, SKIPPED)
    for used, file in _pems(configs):
        facts = configs.facts(file)
        if facts is not None and facts.damage and facts.loaded:
            message = f"`{file.written}`: {facts.damage}; only what stands before it is loaded"
            yield found(SKIPPED, used.subject, message, place=str(file.place))


def stacks(configs: ConfigContext) -> Iterator[Finding]:
    """Yield what only OpenSSL stumbles over."""
    for used, file in _pems(configs):
        facts = configs.facts(file)
        for remark in facts.reading.remarks if facts and facts.reading else ():
            if remark.stacks == (Stack.OPENSSL,):
                message = f"`{file.written}`, line {remark.line}: {remark.detail}"
                yield found(STACKS, used.subject, message, place=f"{file.path}:{remark.line}:1")


def no_newline(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the certificate files whose last line has no end."""
    for used, file in _pems(configs):
        facts = configs.facts(file)
        if facts is not None and facts.loaded and not facts.ends_with_newline:
            message = f"`{file.written}` ends without a newline"
            yield found(NO_NEWLINE, used.subject, message, place=str(file.place))


def mismatch(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the keys that are not those of their certificates."""
    pairs = ((used, pair) for used in configs.used for pair in used.block.certificates)
    for used, pair in pairs:
        chain, key = configs.certificates(pair.cert_file), configs.facts(pair.key_file)
        if not chain or key is None or key.problem:
            continue
        if not key.key_identity:
            message = f"`{pair.key_file.written}` holds no private key that can be read"
        elif key.key_identity != chain[0].key_identity:
            message = (
                f"`{pair.key_file.written}` is not the key of `{chain[0].subject}`, "
                f"the first certificate in `{pair.cert_file.written}`"
            )
        else:
            continue
        yield found(MISMATCH, used.subject, message, place=str(pair.key_file.place))


def _keys(configs: ConfigContext) -> Iterator[tuple[UsedBlock, TlsFile, int]]:
    """Yield every file with a private key, and its mode."""
    for used, file in _named(configs):
        facts = configs.facts(file)
        if facts is not None and facts.key_identity:
            yield used, file, facts.mode


def readable(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the keys that everybody may read or change."""
    for used, file, mode in _keys(configs):
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            message = f"`{file.written}` has mode {mode:04o}"
            yield found(READABLE, used.subject, message, place=str(file.place))


def group_readable(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the keys that a group may read or change."""
    for used, file, mode in _keys(configs):
        if mode & (stat.S_IRGRP | stat.S_IWGRP) and not mode & (stat.S_IROTH | stat.S_IWOTH):
            message = f"`{file.written}` has mode {mode:04o}"
            yield found(GROUP_READABLE, used.subject, message, place=str(file.place))


def writable(configs: ConfigContext) -> Iterator[Finding]:
    """Yield the certificate files that everybody may change."""
    for used, file in _pems(configs):
        facts = configs.facts(file)
        if facts is not None and facts.mode & stat.S_IWOTH:
            message = f"`{file.written}` has mode {facts.mode:04o}"
            yield found(WRITABLE, used.subject, message, place=str(file.place))


CHECKS = (
    (UNREADABLE, unreadable),
    (MISSING, missing),
    (DAMAGED, damaged),
    (JOINED, joined),
    (SKIPPED, skipped),
    (STACKS, stacks),
    (NO_NEWLINE, no_newline),
    (MISMATCH, mismatch),
    (READABLE, readable),
    (GROUP_READABLE, group_readable),
    (WRITABLE, writable),
)
