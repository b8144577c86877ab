"""Changes to the operator's vars store: new certificates in, the clean-up at the end.

Both are written as a whole, 0600, under the lock of `rollover.manifest`'s store, and a copy of
what was there is kept. Nothing is ever replaced before what comes out of it was proven (H8).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from rollover.errors import SpecError, VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.secret import SecretBytes
from rollover.manifest import FileStore, emit, load_variables
from rollover.manifest.trouble import ManifestError
from rollover.manifest.values import Key, Tree, Variables, equal
from rollover.pki.keys import KeyForm, from_pem, to_pem
from rollover.pki.pem import write_certificates
from rollover.platforms.bosh import references


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key and its issuer, as a variable of the type `certificate`."""

    chain: tuple[Certificate, ...]
    key: SecretBytes
    ca: Certificate

    def value(self) -> Tree:
        """Return the variable's value: PEM that ends its last line, the key as PKCS#1.

        `SpecError` for a key that is not RSA: neither `bosh` nor the director's NATS client
        (Ruby, nats-pure) takes another.
        """
        key = from_pem(self.key.reveal(), place="a key for the director VM", proven=True)
        if not key.kind.startswith("rsa"):
            raise SpecError(
                f"the key of `{self.chain[0].subject}` is of kind `{key.kind}`, a director VM "
                "takes RSA only",
                hint="rotate with `--key rsa-3072`",
            )
        return {
            "ca": write_certificates((self.ca,)).decode(),
            "certificate": write_certificates(self.chain).decode(),
            "private_key": to_pem(key, KeyForm.PKCS1).decode(),
        }


class VarsFile(FileStore):
    """The vars store of one path, for changes that concern all of it."""

    def change(self, make: Callable[[Variables], Variables]) -> None:
        """Replace the whole store by what `make` returns of it; unchanged: nothing is written.

        What `make` raises leaves the store as it is, and so does a result that is not complete.
        """
        with self._alone():
            self._refresh()
            before = dict(self._variables)
            after = dict(make(before))
            _check_complete(before, after, path=self._path)
            if not equal(_tree(before), _tree(after)):
                self._write(after)


def suffix(bases: Collection[str], wanted: Mapping[str, Credential], variables: Variables) -> int:
    """Return the number for new variables: that of ones which hold the same, or the next free.

    `wanted` are the credentials by base name.
    """
    for number in range(references.FIRST_SUFFIX, references.LAST_SUFFIX):
        taken = {base: variables.get(references.suffixed(base, number)) for base in bases}
        if all(
            value is None or (base in wanted and _holds(value, wanted[base]))
            for base, value in taken.items()
            if base in wanted
        ) and _of_one_issuer(taken, wanted):
            return number
    raise SpecError(
        f"the vars store has successors of `{min(bases)}` up to number {references.LAST_SUFFIX}",
        hint="remove those that nothing uses",
    )


def _holds(value: Tree, wanted: Credential) -> bool:
    atom = references.field({"it": value}, "it", "certificate")
    return atom is not None and atom.certificates == wanted.chain


def _of_one_issuer(taken: Mapping[str, Tree], wanted: Mapping[str, Credential]) -> bool:
    """Say whether those that are there already belong to the same CA as those to come."""
    issuers = {each.ca.fingerprint for each in wanted.values()}
    for value in taken.values():
        atom = references.field({"it": value}, "it", "ca") if value is not None else None
        if atom is not None and {each.fingerprint for each in atom.certificates} != issuers:
            return False
    return True


def added(
    stored: Variables, wanted: Mapping[str, Credential], *, number: int
) -> Mapping[str, Tree]:
    """Return the variables that are not there yet, by name."""
    named = {references.suffixed(base, number): each for base, each in wanted.items()}
    return {name: each.value() for name, each in named.items() if name not in stored}


def cleaned(
    stored: Variables,
    renames: Mapping[str, str],
    removed: Collection[str],
    *,
    bundle: tuple[str, str, str] | None = None,
) -> Variables:
    """Return the store after the clean-up: base names have the values of others, which are gone.

    `bundle`: variable, field and text of the bundle in use, where it is more than one CA. Every
    other variable keeps its value; `VerificationError` when that is not so.
    """
    missing = [name for name in (*renames, *renames.values()) if name not in stored]
    if missing:
        raise VerificationError(
            f"the vars store has no `{missing[0]}`", hint="put back a backup of the vars store"
        )
    after = {name: value for name, value in stored.items() if name not in set(removed)}
    after |= {base: stored[name] for base, name in renames.items()}
    if bundle is not None:
        variable, field, text = bundle
        value = after.get(variable)
        if isinstance(value, dict):
            after[variable] = {**value, field: text}
    touched = {*renames, *removed, *((bundle[0],) if bundle else ())}
    for name in stored.keys() - touched:
        if not equal(stored[name], after.get(name)):
            raise VerificationError(f"the clean-up would change `{name}`", hint="report this")
    return after


def _check_complete(before: Variables, after: Variables, *, path: Path) -> None:
    """Refuse to write a store that is empty, or that reads back as something else."""
    if before and not after:
        raise VerificationError(
            f"`{path}` would become empty", hint="report this; nothing was changed"
        )
    if not round_trips(after):
        raise VerificationError(
            f"`{path}` would read back as something else than was written",
            hint="report this; nothing was changed",
        )


def round_trips(variables: Variables) -> bool:
    """Say whether variables mean the same after they were written and read again."""
    try:
        again = load_variables(emit(_tree(variables)).encode("utf-8", "surrogateescape"))
    except (ManifestError, UnicodeEncodeError):
        return False
    return equal(_tree(again), _tree(variables))


def _tree(variables: Variables) -> Tree:
    tree: dict[Key, Tree] = {}
    tree.update(variables)
    return tree
