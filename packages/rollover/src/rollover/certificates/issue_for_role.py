"""Issues one certificate for a role, from a local CA: from names asked for to files on the disk."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from rollover import files
from rollover.errors import Conflict, PemError, SpecError
from rollover.files import NotRegular, TooLarge, read_regular
from rollover.fleet.certificate import Certificate, KeyKind
from rollover.fleet.names import Fingerprint
from rollover.fleet.secret import SecretBytes
from rollover.pki import keys
from rollover.pki.issue import (
    CLIENT,
    GATEWAY,
    LEAF_NODE,
    LONGEST_COMMON_NAME,
    MONITORING,
    ROUTE,
    SERVER,
    Profile,
    allowing_for_skew,
    issue_authority,
    issue_leaf,
)
from rollover.pki.keys import PrivateKey
from rollover.pki.names import NameForm, general_name, recognise
from rollover.pki.pem import PEM_LIMIT, read_certificates, write_certificates

# The roles that a certificate is issued for, and the usages that each of them needs.


class LeafRole(StrEnum):
    """What the owner of a certificate does with it."""

    SERVER = "server"
    CLIENT = "client"
    ROUTE = "route"
    GATEWAY = "gateway"
    LEAF = "leaf"
    MONITORING = "monitoring"


PROFILE_OF_ROLE: Mapping[LeafRole, Profile] = MappingProxyType(
    {
        LeafRole.SERVER: SERVER,
        LeafRole.CLIENT: CLIENT,
        LeafRole.ROUTE: ROUTE,
        LeafRole.GATEWAY: GATEWAY,
        LeafRole.LEAF: LEAF_NODE,
        LeafRole.MONITORING: MONITORING,
    }
)
"""Routes and gateways dial and accept with one certificate, and always verify in both directions.

A leaf node gets both usages too: its hub demands client authentication of the one that dials, and
the one that dials demands server authentication of the hub; servers in the middle are both.
"""


# The order, and what comes of it.

DEFAULT_DAYS = 365


class LeafOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants a certificate for. Files without a name get one in `directory`."""

    role: LeafRole
    names: tuple[str, ...]
    user: str = ""
    authority: Path
    """The directory of the CA, made when it is missing."""
    directory: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    lifetime: timedelta = timedelta(days=DEFAULT_DAYS)
    key_kind: KeyKind = KeyKind.P256
    over: bool = False
    """Write over files that are there."""


class AuthorityFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The CA that signs here; never its key."""

    file: str
    subject: str
    fingerprint: Fingerprint
    not_after: datetime
    made: bool
    """It was made just now."""


class IssuedLeaf(msgspec.Struct, frozen=True, kw_only=True):
    """What was issued, where it is, and what to do with it. Holds no key."""

    role: LeafRole
    names: tuple[str, ...]
    subject: str
    fingerprint: Fingerprint
    key_identity: str
    """SHA-256 of the SPKI: what `pinned_certs` of nats-server takes."""
    key_kind: str
    extended_key_usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    clipped: bool
    """It ends with its CA, sooner than asked for."""
    certificate_file: str
    key_file: str
    authority: AuthorityFacts
    nats_conf: str
    command: str
    """How the `nats` tool presents it; empty for roles of servers."""


def issue(order: LeafOrder, *, now: datetime) -> IssuedLeaf:
    """Write a chain and its key for a role and return what they are.

    Nothing is written when the names are wrong; a CA that was made stays. Raises `SpecError` for
    what cannot be issued, files that are there already among it, and `Conflict` when another
    process holds the CA.
    """
    wanted = subject_for(order.role, names=order.names, user=order.user)
    authority = open_authority(order.authority, now=now)
    usual = default_pair(order.directory, order.role, wanted.names)
    pair = PairOfFiles(
        (order.certificate_file or usual.certificate).absolute(),
        (order.key_file or usual.key).absolute(),
    )
    _spare(authority_files(order.authority), pair)
    key = keys.generate(order.key_kind)
    leaf = issue_leaf(
        profile=PROFILE_OF_ROLE[order.role],
        common_name=wanted.common_name,
        organization=wanted.organization,
        names=wanted.names,
        key=key,
        authority=authority.certificate,
        authority_key=authority.key,
        not_before=allowing_for_skew(now, order.lifetime),
        lifetime=order.lifetime,
    )
    chain = write_certificates((leaf, *authority.intermediates))
    write_pair(pair, chain=chain, key=SecretBytes(keys.to_pem(key)), over=order.over)
    return _issued(order, leaf, authority=authority, pair=pair)


def _spare(authority: PairOfFiles, pair: PairOfFiles) -> None:
    """Refuse to write over the CA, whatever was said: nothing would bring it back."""
    own = {os.path.realpath(path): path for path in authority}
    for path in pair:
        if os.path.realpath(path) in own:
            raise SpecError(
                "this file belongs to the CA itself",
                place=str(path),
                hint="name other files with `--cert-file` and `--key-file`",
            )


def _issued(
    order: LeafOrder, leaf: Certificate, *, authority: LocalAuthority, pair: PairOfFiles
) -> IssuedLeaf:
    material = IssuedFiles(pair, authority.file.absolute(), order.user)
    asked_until = leaf.not_before + order.lifetime
    return IssuedLeaf(
        role=order.role,
        names=(*leaf.names, *leaf.emails, *leaf.uris),
        subject=leaf.subject,
        fingerprint=leaf.fingerprint,
        key_identity=leaf.key_identity,
        key_kind=leaf.key,
        extended_key_usages=leaf.extended_key_usages or (),
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        clipped=leaf.not_after < asked_until,
        certificate_file=str(pair.certificate),
        key_file=str(pair.key),
        authority=facts_of(authority),
        nats_conf=nats_conf(order.role, material),
        command=client_command(material) if order.role is LeafRole.CLIENT else "",
    )


def facts_of(authority: LocalAuthority) -> AuthorityFacts:
    """Return what may be shown of a CA."""
    return AuthorityFacts(
        file=str(authority.file.absolute()),
        subject=authority.certificate.subject,
        fingerprint=authority.certificate.fingerprint,
        not_after=authority.certificate.not_after,
        made=authority.made,
    )


# What a certificate is issued for: the names and the user that somebody asked for.

MOST_NAMES = 1000
_DISTINGUISHED = re.compile(r"CN=([^,=+]+)(?:,\s*O=([^,=+]+))?")


class Subject(NamedTuple):
    """The subject and the subject alternative names of a certificate."""

    common_name: str
    organization: str
    names: tuple[str, ...]


def subject_for(role: LeafRole, *, names: tuple[str, ...], user: str = "") -> Subject:
    """Return what the certificate says; `SpecError` for names that it cannot say.

    `user` is whom `verify_and_map` shall make of a client. nats-server takes the first user that
    matches among the email, DNS and URI names, in this order, and then the whole subject: a
    `CN=…[,O=…]` therefore becomes the subject, anything else the first name.
    """
    if user and role is not LeafRole.CLIENT:
        raise SpecError(
            f"a certificate for `{role}` maps to no user",
            hint="`--user` goes with `--for client` (`verify_and_map` of the client port)",
        )
    distinguished = _DISTINGUISHED.fullmatch(user)
    wanted = tuple(dict.fromkeys(names if distinguished or not user else (user, *names)))
    _check_names(role, wanted)
    if distinguished:
        return Subject(distinguished[1].strip(), (distinguished[2] or "").strip(), wanted)
    # A common name is at most 64 characters (RFC 5280 appendix A.1); stacks go by the other names.
    first = wanted[0] if len(wanted[0]) <= LONGEST_COMMON_NAME else ""
    return Subject(first, "", wanted)


def _check_names(role: LeafRole, names: tuple[str, ...]) -> None:
    if not names:
        raise SpecError(
            "no name is given",
            hint="give the names that dialers expect (DNS names, `*.example.com`, IP addresses), "
            "or for a client an email address or another name",
        )
    if len(names) > MOST_NAMES:
        raise SpecError(f"{len(names)} names, at most {MOST_NAMES} are allowed", hint="split them")
    for name in names:
        general_name(name)
        _check_address(name)
    if role is not LeafRole.CLIENT and not any(
        recognise(name) in (NameForm.DNS, NameForm.IP) for name in names
    ):
        raise SpecError(
            f"none of the names can be dialled: {', '.join(f'`{name}`' for name in names[:5])}",
            hint=f"a certificate for `{role}` needs the host names or IP addresses in its URLs",
        )


def _check_address(name: str) -> None:
    """Refuse what looks like an address and is none: nobody could dial by it."""
    if recognise(name) is NameForm.IP and "%" in name:
        raise SpecError(
            f"`{name}` has a zone, which no certificate can hold",
            hint=f"give `{name.partition('%')[0]}`, or a host name",
        )
    # The highest label of a host name is alphabetic (RFC 1123 §2.1).
    if recognise(name) is NameForm.DNS and name.rpartition(".")[2].isdecimal():
        raise SpecError(
            f"`{name}` is neither an IP address nor a host name: it ends with a number",
            hint="check the address",
        )


# The files of `issue`: where they are, read with a limit, and never written over by accident.

PUBLIC_FILE = 0o644
PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
LONGEST_STEM = 100
_UNFIT = re.compile(r"[^A-Za-z0-9._@+-]")


class PairOfFiles(NamedTuple):
    """Where a certificate and its private key go."""

    certificate: Path
    key: Path


def default_pair(directory: Path, role: LeafRole, names: tuple[str, ...]) -> PairOfFiles:
    """Return `NAME[+N][-ROLE].pem` and `…-key.pem`, N the number of further names, as mkcert does.

    Server certificates have no role in their name.
    """
    stem = _UNFIT.sub("_", names[0].replace("*", "_wildcard"))[:LONGEST_STEM].lstrip(".-") or "_"
    more = f"+{len(names) - 1}" if len(names) > 1 else ""
    suffix = "" if role is LeafRole.SERVER else f"-{role}"
    whole = f"{stem}{more}{suffix}"
    return PairOfFiles(directory / f"{whole}.pem", directory / f"{whole}-key.pem")


def read_pem_file(path: Path) -> bytes:
    """Return the content of a regular file; `SpecError` for anything else. Never waits."""
    try:
        return read_regular(path, limit=PEM_LIMIT)
    except (NotRegular, TooLarge) as error:
        raise SpecError(error.strerror, place=str(path), hint="check the path") from None
    except OSError as error:
        raise unusable_file(path, error) from None


def write_pair(pair: PairOfFiles, *, chain: bytes, key: SecretBytes, over: bool) -> None:
    """Put both files in place: the key 0600, each whole or not at all, durable.

    Files that are there stay unless `over`. When the second cannot be written the first is as it
    was. `SpecError` says what stood in the way.
    """
    if os.path.realpath(pair.certificate) == os.path.realpath(pair.key):
        raise SpecError(
            "the same file for certificate and key",
            place=str(pair.key),
            hint="name two files: a certificate may be read by all, its key by nobody else",
        )
    # The key first: whoever finds the certificate then finds its key as well.
    with _kept(pair.key, over=over), _kept(pair.certificate, over=over):
        _replace(pair.key, key.reveal(), mode=PRIVATE_FILE)
        _replace(pair.certificate, chain, mode=PUBLIC_FILE)


@contextmanager
def _kept(path: Path, *, over: bool) -> Iterator[None]:
    """Reserve a path, and put back what was there (nothing, as a rule) when it goes wrong."""
    before = SecretBytes(read_pem_file(path)) if over and path.exists() else None
    if before is None:
        _reserve(path)
    try:
        yield
    except BaseException:  # an interruption from the keyboard leaves no empty files either
        with suppress(OSError):
            if before is None:
                path.unlink()
            else:
                mode = stat.S_IMODE(path.stat().st_mode)
                files.atomic_write(path, before.reveal(), mode=mode, durable=True)
        raise


def _reserve(path: Path) -> None:
    """Make an empty file, so that two calls at once cannot both take the name."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE))
    except FileExistsError:
        raise SpecError(
            "there is a file already",
            place=str(path),
            hint="name others with `--cert-file` and `--key-file`, or write over it with `--force`",
        ) from None
    except OSError as error:
        raise unusable_file(path, error) from None


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    try:
        files.atomic_write(path, content, mode=mode, durable=True)
    except OSError as error:
        raise unusable_file(path, error) from None


def make_private_directory(directory: Path) -> None:
    """Make a directory and those around it, open to nobody else; existing ones stay as they are."""
    try:
        _make_directory(directory)
    except OSError as error:
        raise unusable_file(directory, error) from None


def _make_directory(directory: Path) -> None:
    # `Path.mkdir(parents=True)` gives its mode to the last directory only.
    if not directory.is_dir():
        if directory.parent != directory:
            _make_directory(directory.parent)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)


def unusable_file(path: Path, error: OSError) -> SpecError:
    """Return what a person is told when the system refuses a file."""
    return SpecError(
        error.strerror or str(error), place=str(path), hint="check the path and its permissions"
    )


# The local CA: two files in a private directory, made when there are none.

AUTHORITY_CERTIFICATE_FILE = "ca.pem"
AUTHORITY_KEY_FILE = "ca-key.pem"
AUTHORITY_LIFETIME = timedelta(days=3650)
AUTHORITY_KEY_KIND = KeyKind.P256
"""Whatever the leaves have: every TLS stack verifies it, which is not so for Ed25519."""

LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.02
_IDENTITY_DIGITS = 8

AUTHORITY_RISK = "whoever has its key can impersonate any name to everybody who trusts this CA"


class LocalAuthority(NamedTuple):
    """A CA that signs here. `chain` is what peers must trust, the signing certificate first."""

    chain: tuple[Certificate, ...]
    key: PrivateKey
    file: Path
    made: bool

    @property
    def certificate(self) -> Certificate:
        """The certificate that signs."""
        return self.chain[0]

    @property
    def intermediates(self) -> tuple[Certificate, ...]:
        """What a leaf must be served with: everything above it that is no root."""
        return tuple(certificate for certificate in self.chain if not certificate.self_signed)


def open_authority(
    directory: Path, *, now: datetime, wait_seconds: float = LOCK_SECONDS
) -> LocalAuthority:
    """Return the CA in a directory, made when the directory has none.

    Raises `SpecError` when half of it is missing, the key is another's, or it has expired, and
    `Conflict` when another process makes one and does not end.
    """
    make_private_directory(directory)
    with _lock_on_directory(directory, wait_seconds):
        files = authority_files(directory)
        there = [path for path in files if os.path.lexists(path)]
        if not there:
            return _make_authority(files, now=now)
        if len(there) < len(files):
            raise _half_missing(present=there[0], files=files)
    # Both files are there, and nobody changes those of a CA: reading them needs no lock.
    return _read_authority(files, now=now)


def authority_files(directory: Path) -> PairOfFiles:
    """Return where a directory has its CA, whether it is there or not."""
    return PairOfFiles(directory / AUTHORITY_CERTIFICATE_FILE, directory / AUTHORITY_KEY_FILE)


def trusted_authority(directory: Path) -> Certificate:
    """Return the certificate of the CA in a directory that peers should trust: its root.

    Its key need not be there. An intermediate without its root stands for itself.
    """
    path = authority_files(directory).certificate
    if not path.exists():
        raise SpecError(
            "there is no CA",
            place=str(directory),
            hint="`--ca-dir` names the directory; `rollover issue` makes a CA where there is none",
        )
    chain = read_certificates(read_pem_file(path), place=str(path)).certificates
    return next((certificate for certificate in chain if certificate.self_signed), chain[0])


def _make_authority(files: PairOfFiles, *, now: datetime) -> LocalAuthority:
    key = keys.generate(AUTHORITY_KEY_KIND)
    certificate = issue_authority(
        # A name of its own for every CA: two of one name are told apart by nobody.
        common_name=f"Rollover CA {key.key_identity[:_IDENTITY_DIGITS]}",
        key=key,
        not_before=allowing_for_skew(now, AUTHORITY_LIFETIME),
        lifetime=AUTHORITY_LIFETIME,
    )
    chain = write_certificates((certificate,))
    write_pair(files, chain=chain, key=SecretBytes(keys.to_pem(key)), over=False)
    return LocalAuthority((certificate,), key, files.certificate, made=True)


def _read_authority(files: PairOfFiles, *, now: datetime) -> LocalAuthority:
    chain = read_certificates(
        read_pem_file(files.certificate), place=str(files.certificate)
    ).certificates
    key = keys.from_pem(read_pem_file(files.key), place=str(files.key))
    _check_authority(chain[0], key, files, now=now)
    return LocalAuthority(chain, key, files.certificate, made=False)


def _check_authority(
    certificate: Certificate, key: PrivateKey, files: PairOfFiles, *, now: datetime
) -> None:
    if certificate.key_identity != key.key_identity:
        raise PemError(
            f"the key is not that of `{certificate.subject}`",
            place=str(files.key),
            hint=f"`{files.certificate}` must begin with the certificate of this key",
        )
    if not certificate.is_ca:
        raise SpecError(
            f"`{certificate.subject}` is no CA",
            place=str(files.certificate),
            hint="name the directory of a CA with `--ca-dir`",
        )
    if not certificate.not_before <= now <= certificate.not_after:
        raise SpecError(
            f"`{certificate.subject}` is valid from {certificate.not_before:%Y-%m-%d %H:%M:%SZ} "
            f"to {certificate.not_after:%Y-%m-%d %H:%M:%SZ}",
            place=str(files.certificate),
            hint="move the directory away, or name another with `--ca-dir`: a new CA is made there",
        )


def _half_missing(*, present: Path, files: PairOfFiles) -> SpecError:
    missing = files.key if present == files.certificate else files.certificate
    return SpecError(
        f"`{missing.name}` is missing beside `{present.name}`",
        place=str(missing),
        hint="bring it back, or name another directory with `--ca-dir`: a new CA is made there",
    )


@contextmanager
def _lock_on_directory(directory: Path, wait_seconds: float) -> Iterator[None]:
    # The directory itself is locked, so no lock file stays behind in it.
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unusable_file(directory, error) from None
    try:
        _wait_for_lock(descriptor, directory, wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, directory: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict(
                    f"`{directory}` is in use by another process",
                    system="local CA",
                    operation="lock",
                    hint="wait for it to end, then run again",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


# What to put into nats.conf (or to give a client) so that a certificate serves its role.


class IssuedFiles(NamedTuple):
    """The files that a configuration names, and the user that a client shall be."""

    pair: PairOfFiles
    ca: Path
    user: str = ""


def nats_conf(role: LeafRole, material: IssuedFiles) -> str:
    """Return the part of a configuration that uses the files, as nats-server reads it."""
    match role:
        case LeafRole.SERVER:
            return f"{_tls(material)}\n{_VERIFY.format(ca=_text(material.ca))}\n"
        case LeafRole.MONITORING:
            return f"https_port: 8222\n{_tls(material)}\n{_MONITORING}\n"
        case LeafRole.CLIENT:
            return _for_client(material)
        case LeafRole.ROUTE:
            return f"cluster {{\n{_indented(_tls(material, verify=True))}\n}}\n{_ROUTE}\n"
        case LeafRole.GATEWAY:
            return f"gateway {{\n{_indented(_tls(material, verify=True))}\n}}\n{_GATEWAY}\n"
        case LeafRole.LEAF:
            return _for_leaf(material)


_VERIFY = "# To demand certificates of clients, inside tls: ca_file: {ca}, verify: true"
_MONITORING = (
    "# The monitoring port has no block of its own: client ports use the same certificate."
)
_ROUTE = "# Every `routes` URL must name a host that the certificate of that server names."
_GATEWAY = "# Every URL in `gateways` must name a host that the certificate of that server names."


def _tls(material: IssuedFiles, *, verify: bool = False) -> str:
    lines = [
        "tls {",
        f"  cert_file: {_text(material.pair.certificate)}",
        f"  key_file: {_text(material.pair.key)}",
    ]
    if verify:
        lines += [f"  ca_file: {_text(material.ca)}", "  verify: true"]
    return "\n".join([*lines, "}"])


def _for_client(material: IssuedFiles) -> str:
    option = "verify_and_map" if material.user else "verify"
    lines = [
        "tls {",
        "  # cert_file and key_file of the server stay as they are",
        f"  ca_file: {_text(material.ca)}",
        f"  {option}: true",
        "}",
    ]
    if material.user:
        lines.append(f"authorization {{ users: [ {{ user: {_text(material.user)} }} ] }}")
    return "\n".join(lines) + "\n"


def _for_leaf(material: IssuedFiles) -> str:
    files = _tls(material, verify=True)
    dialling = "\n".join(line for line in files.splitlines() if "verify" not in line)
    remote = f'remotes: [ {{\n  url: "tls://HUB:7422"\n{_indented(dialling)}\n}} ]'
    return (
        f"# where leaf nodes are accepted\nleafnodes {{\n  port: 7422\n{_indented(files)}\n}}\n"
        f"# or where one dials\nleafnodes {{\n{_indented(remote)}\n}}\n"
    )


def client_command(material: IssuedFiles) -> str:
    """Return the options with which the `nats` tool presents a client's certificate."""
    pair = material.pair
    files = {"--tlscert": pair.certificate, "--tlskey": pair.key, "--tlsca": material.ca}
    return " ".join(["nats", *(f"{name} {shlex.quote(str(path))}" for name, path in files.items())])


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _text(value: str | Path) -> str:
    """Return a quoted string of nats.conf, with its escapes (conf/lex.go, lexStringEscape)."""
    return '"' + "".join(_escaped(letter) for letter in str(value)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return f"\\x{ord(letter):02x}" if letter < " " else letter
