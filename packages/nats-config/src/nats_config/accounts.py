"""The accounts of a configuration and the names of their users, never their passwords."""

from __future__ import annotations

import msgspec

from nats_config.fields import Section
from nats_config.position import Place
from nats_config.tree import Table

DEFAULT_SYSTEM_ACCOUNT = "$SYS"
GLOBAL_ACCOUNT = "$G"
_USER_NAMES = ("user", "username", "nkey")


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may connect."""

    name: str
    """User name, or public nkey; with `verify_and_map` what the certificate says."""
    account: str
    has_password: bool
    place: Place


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Who may connect, and to which account."""

    names: tuple[str, ...]
    system_account: str
    """Empty when there is none."""
    users: tuple[User, ...]

    @property
    def system_users(self) -> tuple[User, ...]:
        """The users who may ask a server to reload."""
        return tuple(user for user in self.users if user.account == self.system_account)


def read_accounts(top: Section) -> Accounts:
    """Read `accounts`, `authorization` and `system_account`."""
    names: list[str] = []
    users = list(_authorized(top))
    found = top.find("accounts")
    if found is not None and isinstance(found.node.value, Table):
        accounts = top.map("accounts")
        for field in accounts.fields() if accounts else ():
            # A variable that is defined here is no account.
            if accounts and isinstance(field.node.value, Table):
                names.append(field.name)
                users.extend(_users(accounts.inside(field), account=field.name))
    elif found is not None:
        names.extend(name.value for name in top.strings("accounts"))
    return Accounts(names=tuple(names), system_account=_system_account(top), users=tuple(users))


def _system_account(top: Section) -> str:
    named = top.string("system_account", "system")
    if named or top.flag("no_system_account", "no_system", "no_sys_acc"):
        return named
    return DEFAULT_SYSTEM_ACCOUNT


def _authorized(top: Section) -> tuple[User, ...]:
    authorization = top.map("authorization")
    if authorization is None:
        return ()
    single = _user(authorization, account=GLOBAL_ACCOUNT)
    return (*single, *_users(authorization, account=GLOBAL_ACCOUNT))


def _users(section: Section, *, account: str) -> tuple[User, ...]:
    found = (_user(user, account=account) for user in section.maps("users"))
    return tuple(user for users in found for user in users)


def _user(section: Section, *, account: str) -> tuple[User, ...]:
    name = section.text(*_USER_NAMES)
    if name is None:
        return ()
    has_password = section.find("pass", "password") is not None
    return (User(name=name.value, account=account, has_password=has_password, place=name.place),)
