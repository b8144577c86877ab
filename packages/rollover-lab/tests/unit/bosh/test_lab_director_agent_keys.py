"""Private keys for agents' certificates: one each, or a few for all."""

from __future__ import annotations

from rollover.fleet.certificate import KeyKind
from rollover_lab.bosh.director.credentials import SharedKeys, new_own_key


def test_shared_keys_are_handed_out_over_and_over() -> None:
    """However many are asked for, there are no more than were wanted; all are RSA 3072."""
    keys = SharedKeys(2)
    handed = [keys.next() for _ in range(12)]
    assert 1 <= len({key.spki for key in handed}) <= 2
    assert {key.kind for key in handed} == {KeyKind.RSA_3072}


def test_a_key_of_ones_own_is_always_another() -> None:
    """As every certificate of the real director has one."""
    assert new_own_key().spki != new_own_key().spki
