"""`rollover topology`: who presents what, who trusts what, what expires when."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from rollover.cli.options import settings_of, settings_options
from rollover.cli.plan import duration_words

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from rollover.cli.printer import Printer
    from rollover.engine.topology import EndpointView, InstanceView, LinksView, LinkView, Topology


@click.command(
    epilog="Example:\n\n  rollover topology --links", short_help="Who presents and trusts what."
)
@click.option("--links", is_flag=True, help="Every link, not only how many there are.")
@settings_options
def command(**values: Any) -> None:
    """Look at the whole fleet: instances, what they present and trust, which links work now."""
    from rollover.engine.topology import topology_now  # noqa: PLC0415
    from rollover.site import open_fleet  # noqa: PLC0415

    settings = settings_of(values)
    printer = settings.printer()
    with open_fleet(settings.fleet, scratch=True) as library:
        topology = topology_now(library.site, every_link=values["links"])
    if printer.json:
        printer.data("topology", topology)
    else:
        show_topology(printer, topology)


# The view.

SOON_DAYS = 30.0
MOST_SHOWN = 12
"""Instances of a group that are shown one by one; of more, those that look alike are counted."""


def show_topology(printer: Printer, topology: Topology) -> None:
    """Show who presents what, who trusts what, what expires when, and which links work."""
    printer.line(f"{topology.fleet} at {topology.at:%Y-%m-%d %H:%M:%S} UTC", "bold")
    for group in topology.groups:
        count = len(group.instances)
        printer.line()
        printer.line(
            f"{group.name} ({count} instance{'s' if count != 1 else ''}, {group.touch})", "bold"
        )
        for text, style in _lines(group.instances):
            printer.line(text, style)
    if topology.links:
        printer.line()
        printer.table(
            ("dials", "is dialled", "links", "work now", "why not"),
            (_row(links) for links in topology.links),
        )
    if topology.every_link:
        printer.line()
        for link in topology.every_link:
            printer.line(*_link(link))


def _lines(instances: tuple[InstanceView, ...]) -> Iterator[tuple[str, str]]:
    shown = list(_grouped(instances))
    for position, (instance, more) in enumerate(shown):
        last = position == len(shown) - 1
        branch = "└─" if last else "├─"
        style = "" if instance.availability == "ready" else "bad"
        yield f"{branch} {instance.name}: {_availability(instance, more)}", style
        for endpoint in instance.endpoints:
            yield f"{'   ' if last else '│  '}  {_endpoint(endpoint)}", _style(endpoint)


def _availability(instance: InstanceView, more: int) -> str:
    why = f" ({instance.why})" if instance.why else ""
    changed = f", {instance.doubt}" if instance.doubt else ""
    alike = f", and {more:,} more like it" if more else ""
    return f"{instance.availability}{why}{changed}{alike}"


def _grouped(instances: tuple[InstanceView, ...]) -> Iterator[tuple[InstanceView, int]]:
    """Yield the instances to show, each with how many alike it stands for; JSON has them all."""
    if len(instances) <= MOST_SHOWN:
        yield from ((instance, 0) for instance in instances)
        return
    alike: dict[Hashable, list[InstanceView]] = {}
    for instance in instances:
        alike.setdefault(_looks(instance), []).append(instance)
    for first, *others in alike.values():
        yield first, len(others)


def _looks(instance: InstanceView) -> Hashable:
    endpoints = (
        (
            endpoint.name,
            endpoint.issuer,
            endpoint.expires and endpoint.expires.date(),
            endpoint.trusts,
        )
        for endpoint in instance.endpoints
    )
    return (instance.availability, instance.why, instance.doubt, tuple(endpoints))


def _endpoint(endpoint: EndpointView) -> str:
    at = f" {endpoint.address}" if endpoint.address else ""
    presents = "presents nothing"
    if endpoint.issuer and endpoint.expires is not None:
        presents = f"presents {endpoint.issuer} until {endpoint.expires:%Y-%m-%d}{_left(endpoint)}"
    trusts = "verifies nobody"
    if endpoint.role == "source" and endpoint.expires is not None:
        handed = " + ".join(endpoint.trusts or ()) or "nothing"
        signs = f"signs with {endpoint.issuer} until {endpoint.expires:%Y-%m-%d}{_left(endpoint)}"
        return f"{endpoint.name} [source] {signs}, hands out {handed}"
    if endpoint.trusts is not None:
        trusts = f"trusts {' + '.join(endpoint.trusts) or 'nobody'}"
    return f"{endpoint.name} [{endpoint.role}{at}] {presents}, {trusts}"


def _left(endpoint: EndpointView) -> str:
    if endpoint.days_left is None:
        return ""
    days = endpoint.days_left
    if abs(days) < 1:
        time = duration_words(timedelta(days=abs(days)))
        return f" (expired {time} ago)" if days < 0 else f" ({time} left)"
    return f" (expired {-days:.1f} days ago)" if days < 0 else f" ({days:.0f} days left)"


def _style(endpoint: EndpointView) -> str:
    if endpoint.days_left is None or endpoint.days_left >= SOON_DAYS:
        return ""
    return "bad" if endpoint.days_left < 0 else "warn"


def _row(links: LinksView) -> tuple[str, ...]:
    works = "all" if links.working == links.links else f"{links.working:,}"
    unseen = f" ({links.unseen:,} not seen)" if links.unseen else ""
    return (links.dialers, links.acceptors, f"{links.links:,}", works + unseen, links.reason)


def _link(link: LinkView) -> tuple[str, str]:
    signs = {True: ("√", ""), False: ("×", "bad"), None: ("?", "warn")}
    sign, style = signs[link.works]
    name = f" as `{link.name}`" if link.name else ""
    kind = "mutual" if link.mutual else "server only"
    reason = f": {link.reason}" if link.reason else ""
    return f"{sign} {link.dialer} → {link.acceptor}{name} ({kind}){reason}", style
