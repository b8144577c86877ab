"""Which variables the properties of `nats.tls` refer to, and which variables hold what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bosh_interpolate.values import Tree, Variables
from rollover.errors import SpecError
from rollover.fleet.certificate import Certificate
from rollover.platforms.bosh import properties
from rollover.platforms.bosh.properties import BUNDLE, NatsTls, Part

DOCUMENTED: Mapping[Part, str] = {
    Part.CLIENT_CA: "nats_ca",
    Part.SERVER: "nats_server_tls",
    Part.DIRECTOR: "nats_clients_director_tls",
    Part.HEALTH_MONITOR: "nats_clients_health_monitor_tls",
}
"""The names in bosh-deployment: those of new variables where a manifest refers to none."""
FIRST_SUFFIX, LAST_SUFFIX = 2, 999

# `((!name))` is the same reference, as `bosh` reads it.
_REFERENCE = re.compile(r"\(\(!?([^.\s()]+)((?:\.[^\s()]+)?)\)\)")


class Names(NamedTuple):
    """The variables behind `nats.tls`: by property, and the reference of the bundle."""

    of: Mapping[Part, str]
    """The documented names where a property does not refer to a variable."""
    referring: frozenset[Part]
    """The properties that do refer to one."""
    bundle: str
    """`((nats_server_tls.ca))`; empty when it is put together of anything else."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every name once, authorities first."""
        return tuple(dict.fromkeys(self.of[part] for part in Part))

    @property
    def bundle_field(self) -> tuple[str, str]:
        """The variable and the field that the bundle is, both empty when it is none."""
        found = _REFERENCE.fullmatch(self.bundle)
        return (found[1], found[2].removeprefix(".")) if found else ("", "")


class Atom(NamedTuple):
    """A reference that stands for certificates. `ends_line`: its value ends with a line break."""

    reference: str
    certificates: tuple[Certificate, ...]
    ends_line: bool


def names(found: Mapping[str, Tree]) -> Names:
    """Return the variables that the properties, not interpolated yet, refer to."""
    nats = found.get("nats")
    tls = nats.get("tls") if isinstance(nats, dict) else None
    section = tls if isinstance(tls, dict) else {}
    of = {part: _variable(section.get(part.value)) for part in Part}
    bundle = section.get(BUNDLE)
    return Names(
        of={part: of[part] or DOCUMENTED[part] for part in Part},
        referring=frozenset(part for part in Part if of[part]),
        bundle=bundle if isinstance(bundle, str) and _REFERENCE.fullmatch(bundle) else "",
    )


def _variable(value: Tree) -> str:
    """Return the one variable that certificate and key of a property come from."""
    if isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        return found[1] if found and not found[2] else ""
    if not isinstance(value, dict):
        return ""
    parts = [value.get(field) for field in ("certificate", "private_key")]
    matches = [_REFERENCE.fullmatch(each) if isinstance(each, str) else None for each in parts]
    wanted = (".certificate", ".private_key")
    if all(each and each[2] == want for each, want in zip(matches, wanted, strict=True)):
        roots = {each[1] for each in matches if each}
        return roots.pop() if len(roots) == 1 else ""
    return ""


def named(values: Iterable[Tree]) -> tuple[str, ...]:
    """Return the variables that values of operations refer to, each once, in their order."""
    texts = (
        text
        for value in values
        for text in (value.values() if isinstance(value, dict) else (value,))
        if isinstance(text, str)
    )
    return tuple(dict.fromkeys(found[0] for text in texts for found in _REFERENCE.findall(text)))


def is_of(name: str, base: str) -> bool:
    """Say whether a variable is one of a family: `nats_ca`, `nats_ca_2`, `nats_ca_3`."""
    suffix = name.removeprefix(base)
    return name.startswith(base) and (
        not suffix or re.fullmatch(r"_[0-9]{1,3}", suffix) is not None
    )


def suffixed(base: str, number: int) -> str:
    """Return the name of a variable's successor."""
    return f"{base}_{number}"


def holders(chain: tuple[Certificate, ...], variables: Variables) -> tuple[str, ...]:
    """Return the variables whose `certificate` is this chain, by name."""
    return tuple(
        name
        for name in sorted(variables)
        if (atom := field(variables, name, "certificate")) and atom.certificates == chain
    )


def field(variables: Variables, name: str, key: str) -> Atom | None:
    """Return a field of a variable as a reference to certificates; None when it holds none."""
    value = variables.get(name)
    text = value.get(key) if isinstance(value, dict) else None
    if not isinstance(text, str) or "BEGIN" not in text:
        return None
    try:
        found = properties.bundle_of(text, field=f"{name}.{key}").certificates
    except SpecError:
        return None
    return Atom(f"(({name}.{key}))", found, text.endswith("\n"))


def atoms(
    names: Names, variables: Variables, *, first: tuple[Atom | None, ...] = ()
) -> Iterator[Atom]:
    """Yield what bundles can be put together of, the likeliest first.

    The `ca` of server certificates, as in BOSH's procedure, then the CAs themselves.
    """
    yield from (each for each in first if each is not None)
    families = ((names.of[Part.SERVER], "ca"), (names.of[Part.CLIENT_CA], "certificate"))
    for base, key in families:
        for name in sorted(variables):
            found = field(variables, name, key) if is_of(name, base) else None
            if found is not None:
                yield found


def plain_bundle(names: Names, tls: NatsTls) -> Atom | None:
    """Return the reference that is the whole bundle of the plain manifest; None: it is none."""
    if not names.bundle:
        return None
    return Atom(names.bundle, tls.bundle, tls.bundle_text.endswith("\n"))
