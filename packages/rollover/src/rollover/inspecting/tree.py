"""Who signs whom: certificates as the rows of a tree, proven by their signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rollover.fleet.certificate import Certificate
from rollover.fleet.names import Fingerprint
from rollover.pki.anatomy import anatomy
from rollover.pki.signatures import Signed, check

MOST_CANDIDATES = 8
"""CAs of one name that are tried for one certificate."""
_SIGNED = (Signed.GOOD, Signed.WEAK)


class Row(NamedTuple):
    """A certificate in its tree; `depth` 0 stands at the top."""

    certificate: Certificate
    depth: int


class _Index:
    """Certificates by their raw subject, and by that and their key identifier."""

    def __init__(self, certificates: Iterable[Certificate]) -> None:
        self._named: dict[bytes, list[Certificate]] = {}
        self._identified: dict[tuple[bytes, str], list[Certificate]] = {}
        for each in certificates:
            subject = anatomy(each).raw_subject
            self._named.setdefault(subject, []).append(each)
            self._identified.setdefault((subject, each.subject_key_id), []).append(each)

    def candidates(self, child: Certificate) -> tuple[Certificate, ...]:
        """Return the few that most likely signed it: key identifiers only order them."""
        issuer = anatomy(child).raw_issuer
        fitting = self._identified.get((issuer, child.authority_key_id), ())
        named = self._named.get(issuer, ())
        likely = (*fitting[:MOST_CANDIDATES], *named[:MOST_CANDIDATES])
        return tuple(dict.fromkeys(each for each in likely if each != child))[:MOST_CANDIDATES]


def signers(certificates: Iterable[Certificate]) -> Mapping[Fingerprint, Certificate]:
    """Return, for each certificate, the other one of these whose key signed it, if there is one."""
    unique = tuple(dict.fromkeys(certificates))
    index = _Index(unique)
    found: dict[Fingerprint, Certificate] = {}
    for each in unique:
        if each.self_signed:
            continue
        signer = next((one for one in index.candidates(each) if _signed(each, by=one)), None)
        if signer is not None:
            found[each.fingerprint] = signer
    return found


def _signed(child: Certificate, *, by: Certificate) -> bool:
    return check(anatomy(child), by=anatomy(by)) in _SIGNED


def rows(
    certificates: Sequence[Certificate], signed_by: Mapping[Fingerprint, Certificate]
) -> tuple[Row, ...]:
    """Return the certificates as trees, each once, signers before those that they signed.

    Only signers among `certificates` count. Authorities that signed each other in a circle begin
    at the first of them.
    """
    unique = tuple(dict.fromkeys(certificates))
    here = frozenset(unique)
    below: dict[Certificate, list[Certificate]] = {}
    tops: list[Certificate] = []
    for each in unique:
        signer = signed_by.get(each.fingerprint)
        if signer is None or signer not in here:
            tops.append(each)
        else:
            below.setdefault(signer, []).append(each)
    found: dict[Certificate, Row] = {}
    for top in (*tops, *unique):
        _descend(top, below, found)
    return tuple(found.values())


def _descend(
    top: Certificate,
    below: Mapping[Certificate, Sequence[Certificate]],
    found: dict[Certificate, Row],
) -> None:
    waiting = [Row(top, 0)]
    while waiting:
        row = waiting.pop()
        if row.certificate in found:
            continue
        found[row.certificate] = row
        waiting += [Row(each, row.depth + 1) for each in reversed(below.get(row.certificate, ()))]
