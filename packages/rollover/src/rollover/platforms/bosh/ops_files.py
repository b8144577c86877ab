"""Ops files that give `nats.tls` the certificates that a rollout wants, by the names of variables.

Each property that differs from the plain manifest is replaced; a bundle is put together of the
`ca` of several variables. The `variables` section is for people who run `create-env` by hand: with
the values in the vars store nothing is generated. Names of files and the shape of operations are
those of BOSH's procedure (rotating NATS certificate authorities, steps 1 and 3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from cryptography.x509.oid import NameOID

from bosh_interpolate import emit, ops_files
from bosh_interpolate.ops_files import Operation
from bosh_interpolate.values import Key, Tree, Variables
from bosh_interpolate.variables import Definition
from rollover.codec.manifests import manifest_errors
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint, short
from rollover.pki.certificate import anatomy
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import nats_properties
from rollover.platforms.bosh.create_env import CreateEnvInputs
from rollover.platforms.bosh.nats_properties import BUNDLE, NatsPart, NatsTls, NatsVariables

ADD_NEW_CA = "add-new-ca.yml"
"""The old CA is still trusted."""
REMOVE_OLD_CA = "remove-old-ca.yml"
"""The old CA is trusted no more."""
UPDATE_VALUES = "update_nats_var_values.yml"
"""The clean-up of the vars store."""

DEFAULT_DURATION_DAYS = 365
DEFAULT_KEY_LENGTH = 3072
DEFAULT_ORGANIZATION = "Cloud Foundry"
"""What the bosh CLI takes where a definition says nothing."""
_KEY_LENGTHS = (2048, 3072, 4096)
_USAGES = ("client_auth", "server_auth")
"""The extended key usages that a definition can name."""


class WantedTls(msgspec.Struct, frozen=True, kw_only=True):
    """What `nats.tls` is to come to."""

    bundle: tuple[Certificate, ...]
    chains: Mapping[NatsPart, tuple[Certificate, ...]]

    @property
    def state(self) -> nats_properties.TlsState:
        """Which certificates it names."""
        return nats_properties.TlsState(
            _fingerprints(self.bundle), tuple(_fingerprints(self.chains[part]) for part in NatsPart)
        )


class OpsFile(NamedTuple):
    """An ops file: its name and its content."""

    name: str
    content: bytes

    @property
    def text(self) -> str:
        """Its content as text."""
        return self.content.decode("utf-8", "surrogateescape")

    @manifest_errors()
    def operations(self) -> tuple[Operation, ...]:
        """Return what it does."""
        return ops_files.read_ops_file(self.content, name=self.name)


class PlainManifest(NamedTuple):
    """The manifest as the operator deploys it: what an ops file has to change."""

    group: str
    names: NatsVariables
    tls: NatsTls
    definitions: Mapping[str, Definition]
    resolved: Mapping[str, Tree]
    """The options of definitions with their variables filled in."""


def plain_manifest(inputs: CreateEnvInputs, *, tls: NatsTls) -> PlainManifest:
    """Return what the manifest says without our ops files; `tls` is what that comes to."""
    document = inputs.document()
    group, found = nats_properties.locate_properties(document)
    names = nats_properties.variables_behind(found)
    defined = inputs.definitions()
    wanted = {name: defined[name] for name in names.all if name in defined}
    resolved = {name: inputs.resolved(definition.options) for name, definition in wanted.items()}
    return PlainManifest(group, names, tls, wanted, resolved)


def write_ops_file(
    manifest: PlainManifest,
    wanted: WantedTls,
    variables: Variables,
    *,
    missing: Collection[str] = (),
) -> OpsFile | None:
    """Return the ops file that leads from the plain manifest to what is wanted; None: none needed.

    `variables` are those that exist, or will: a chain is named by the one that holds it.
    `missing`: those of them that `create-env` has to generate. `SpecError` when none holds a chain
    that is wanted.
    """
    operations = list(_overrides(manifest, wanted, variables))
    if not operations:
        return None
    kept = set(manifest.tls.bundle) & set(wanted.bundle)
    name = ADD_NEW_CA if kept else REMOVE_OLD_CA
    definitions = _definitions(manifest, wanted, variables, overrides=tuple(operations))
    # Without this section the second file cannot make certificates anew by itself (H7).
    operations += [
        definition for variable, definition in definitions if kept or variable in missing
    ]
    return OpsFile(name, render_operations(operations, comment=_COMMENTS[name]))


def _overrides(
    manifest: PlainManifest, wanted: WantedTls, variables: Variables
) -> Iterator[dict[Key, Tree]]:
    if wanted.bundle != manifest.tls.bundle:
        value = _bundle_text(manifest, wanted.bundle, variables)
        yield _replace(nats_properties.tls_path(manifest.group, BUNDLE), value)
    for part in (NatsPart.SERVER, NatsPart.CLIENT_CA, NatsPart.DIRECTOR, NatsPart.HEALTH_MONITOR):
        chain = wanted.chains[part]
        if chain != manifest.tls.pairs[part].chain:
            name = _holder(part, chain, manifest.names, variables)
            pair: dict[Key, Tree] = {
                field: f"(({name}.{field}))" for field in ("certificate", "private_key")
            }
            yield _replace(nats_properties.tls_path(manifest.group, part), pair)


def _holder(
    part: NatsPart, chain: tuple[Certificate, ...], names: NatsVariables, variables: Variables
) -> str:
    """Return the variable that holds a chain: of the property's own family, if there is one."""
    holder = nats_properties.holder_of(chain, names.of[part], variables)
    if holder is None:
        raise SpecError(
            f"no variable holds `{chain[0].subject}` ({short(chain[0].fingerprint)}), which "
            f"`nats.tls.{part}` is to have",
            hint="the vars store was changed meanwhile: run it again",
        )
    return holder


def _bundle_text(
    manifest: PlainManifest, wanted: Sequence[Certificate], variables: Variables
) -> str:
    """Return the text of a bundle: references side by side, each ending its last line (H9)."""
    plain = nats_properties.plain_bundle_reference(manifest.names, manifest.tls)
    references = list(nats_properties.bundle_references(manifest.names, variables, first=(plain,)))
    pieces: list[str] = []
    rest = tuple(wanted)
    while rest:
        fitting = [
            reference
            for reference in references
            if rest[: len(reference.certificates)] == reference.certificates
        ]
        longest = max((len(reference.certificates) for reference in fitting), default=0)
        if longest:
            # Of those that stand for most, the likeliest: the order of `references`.
            best = next(
                reference for reference in fitting if len(reference.certificates) == longest
            )
            pieces.append(best.reference if best.ends_line else f"{best.reference}\n")
        else:
            # In no variable: a CA of somebody else, which the operator has written out.
            longest = 1
            pieces.append(write_certificates(rest[:1]).decode())
        rest = rest[longest:]
    return "".join(pieces)


def _definitions(
    manifest: PlainManifest,
    wanted: WantedTls,
    variables: Variables,
    *,
    overrides: Iterable[dict[Key, Tree]],
) -> Iterator[tuple[str, dict[Key, Tree]]]:
    """Yield the new variables that the overrides name, with definitions, authorities first."""
    named = nats_properties.variables_named([override["value"] for override in overrides])
    issuer = _holder(
        NatsPart.CLIENT_CA, wanted.chains[NatsPart.CLIENT_CA], manifest.names, variables
    )
    for part in NatsPart:
        base = manifest.names.of[part]
        for name in named:
            held = nats_properties.certificate_field(variables, name, "certificate")
            if name != base and nats_properties.in_family(name, base) and held is not None:
                present = manifest.tls.pairs[part].chain[0]
                renamed = _common_name(held.certificates[0])
                own = renamed if renamed != _common_name(present) else ""
                yield name, definition_operation(manifest, part, name, ca=issuer, common_name=own)


def definition_operation(
    manifest: PlainManifest, part: NatsPart, name: str, *, ca: str, common_name: str = ""
) -> dict[Key, Tree]:
    """Return the operation that defines a variable like the present one of that property.

    `common_name`: of the certificate that there is already; empty: as now.
    """
    return _replace(
        f"/variables/name={name}?",
        {
            "name": name,
            "type": "certificate",
            "options": definition_options(manifest, part, ca=ca, common_name=common_name),
        },
    )


def restated_options(
    manifest: PlainManifest,
) -> Iterator[tuple[str, dict[Key, Tree], dict[Key, Tree]]]:
    """Yield each definition's name and options, and those that say all that its certificate has."""
    for part in NatsPart:
        name = manifest.names.of[part]
        if name in manifest.definitions:
            present = _options_map(manifest.definitions[name].options)
            ca = present.get("ca")
            authority = ca if isinstance(ca, str) else ""
            yield name, present, definition_options(manifest, part, ca=authority)


def definition_options(
    manifest: PlainManifest, part: NatsPart, *, ca: str, common_name: str = ""
) -> dict[Key, Tree]:
    """Return the options of the present definition, and what only the certificate still says (H10).

    SANs, lifetime, key length, organisation and usages are carried over; where the definition
    speaks, it counts, its own references left as they are.
    """
    base = manifest.names.of[part]
    present = manifest.tls.pairs[part].chain[0]
    definition = manifest.definitions.get(base)
    options: dict[Key, Tree] = dict(_options_map(definition.options if definition else None))
    if present.is_ca:
        options["is_ca"] = True
    if present.is_ca and present.self_signed:
        options.pop("ca", None)
    else:
        options["ca"] = ca
    if common_name or "common_name" not in options:
        options["common_name"] = common_name or _common_name(present)
    names = _alternative_names(manifest, base, present)
    if names:
        options["alternative_names"] = names
    for option, value in _implied(present):
        options.setdefault(option, value)
    return options


def _alternative_names(manifest: PlainManifest, base: str, present: Certificate) -> list[Tree]:
    written = _options_map(
        manifest.definitions[base].options if base in manifest.definitions else None
    ).get("alternative_names")
    covered = _options_map(manifest.resolved.get(base)).get("alternative_names")
    known = {str(name) for name in covered} if isinstance(covered, list) else set()
    lost = [name for name in present.names if name not in known]
    return [*(written if isinstance(written, list) else ()), *lost]


def _implied(present: Certificate) -> Iterator[tuple[str, Tree]]:
    """Yield what a certificate has that the CLI would not give it by itself."""
    days = round((present.not_after - present.not_before).total_seconds() / 86400)
    if days != DEFAULT_DURATION_DAYS and days > 0:
        yield "duration", days
    length = int(present.key.removeprefix("rsa-")) if present.key[4:].isdecimal() else 0
    if length in _KEY_LENGTHS and length != DEFAULT_KEY_LENGTH and present.key.startswith("rsa-"):
        yield "key_length", length
    organization = _attribute(present, NameOID.ORGANIZATION_NAME)
    if organization and organization != DEFAULT_ORGANIZATION:
        yield "organization", organization
    usages: list[Tree] = [usage for usage in present.extended_key_usages or () if usage in _USAGES]
    if usages and not present.is_ca:
        yield "extended_key_usage", usages


def _common_name(certificate: Certificate) -> str:
    return _attribute(certificate, NameOID.COMMON_NAME)


def _attribute(certificate: Certificate, oid: object) -> str:
    for attribute in anatomy(certificate).parsed.subject:
        if attribute.oid == oid and isinstance(attribute.value, str):
            return attribute.value
    return ""


def clean_up_ops_file(renames: Mapping[str, str], removed: Iterable[str]) -> OpsFile:
    """Return the ops file for the vars store: base names get the values of others, which go.

    `renames`: base name to the name whose value it takes.
    """
    operations: list[dict[Key, Tree]] = [
        _replace(f"/{base}", f"(({name}))") for base, name in renames.items()
    ]
    operations += [{"type": "remove", "path": f"/{name}"} for name in dict.fromkeys(removed)]
    return OpsFile(UPDATE_VALUES, render_operations(operations, comment=_COMMENTS[UPDATE_VALUES]))


_COMMENTS = {
    ADD_NEW_CA: "Step of a CA rotation: the old CA and the new one are trusted.\n"
    "Give it to `bosh create-env` as the last ops file; take it off the line after the clean-up.",
    REMOVE_OLD_CA: "Step of a CA rotation: the old CA is trusted no more.\n"
    f"Give it to `bosh create-env` in place of {ADD_NEW_CA}; take it off after the clean-up.",
    UPDATE_VALUES: "Clean-up of a CA rotation, for the vars store: never for `create-env`.",
}


def _replace(path: str, value: Tree) -> dict[Key, Tree]:
    return {"type": "replace", "path": path, "value": value}


def render_operations(operations: Sequence[dict[Key, Tree]], *, comment: str) -> bytes:
    """Return operations as a file that `bosh` reads and people do."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    body = "\n".join(emit([operation]) for operation in operations)
    return f"{head}---\n{body}".encode("utf-8", "surrogateescape")


def _options_map(value: Tree) -> dict[Key, Tree]:
    return value if isinstance(value, dict) else {}


def _fingerprints(chain: Iterable[Certificate]) -> tuple[Fingerprint, ...]:
    return tuple(certificate.fingerprint for certificate in chain)
