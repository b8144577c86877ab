"""What a certificate is issued for: the names and the user that somebody asked for."""

from __future__ import annotations

import re
from typing import NamedTuple

from rollover.errors import SpecError
from rollover.issuing.roles import Role
from rollover.pki.issue import LONGEST_COMMON_NAME
from rollover.pki.subject_names import NameForm, general_name, recognise

MOST_NAMES = 1000
_DISTINGUISHED = re.compile(r"CN=([^,=+]+)(?:,\s*O=([^,=+]+))?")


class Subject(NamedTuple):
    """The subject and the subject alternative names of a certificate."""

    common_name: str
    organization: str
    names: tuple[str, ...]


def subject(role: Role, *, names: tuple[str, ...], user: str = "") -> Subject:
    """Return what the certificate says; `SpecError` for names that it cannot say.

    `user` is whom `verify_and_map` shall make of a client. nats-server takes the first user that
    matches among the email, DNS and URI names, in this order, and then the whole subject: a
    `CN=…[,O=…]` therefore becomes the subject, anything else the first name.
    """
    if user and role is not Role.CLIENT:
        raise SpecError(
            f"a certificate for `{role}` maps to no user",
            hint="`--user` goes with `--for client` (`verify_and_map` of the client port)",
        )
    distinguished = _DISTINGUISHED.fullmatch(user)
    wanted = tuple(dict.fromkeys(names if distinguished or not user else (user, *names)))
    _check(role, wanted)
    if distinguished:
        return Subject(distinguished[1].strip(), (distinguished[2] or "").strip(), wanted)
    first = wanted[0] if len(wanted[0]) <= LONGEST_COMMON_NAME else ""
    return Subject(first, "", wanted)


def _check(role: Role, names: tuple[str, ...]) -> None:
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
    if role is not Role.CLIENT and not any(_dialled(name) for name in names):
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
    if recognise(name) is NameForm.DNS and name.rpartition(".")[2].isdecimal():
        raise SpecError(
            f"`{name}` is neither an IP address nor a host name: it ends with a number",
            hint="check the address",
        )


def _dialled(name: str) -> bool:
    return recognise(name) in (NameForm.DNS, NameForm.IP)
