"""Hypothesis strategies of small fleets: the odd ones that a planner has to get right."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from rigs import builders as build
from rollover.fleet.fleet import Fleet, Group, Link, Role, Touch
from rollover.fleet.goal import RotateAuthority


class Case(NamedTuple):
    """A fleet, where it shall go, and what is known about its certificates."""

    fleet: Fleet
    goal: RotateAuthority
    world: build.World


class _Layout(NamedTuple):
    """What all instances of a group have in common."""

    endpoints: tuple[str, ...]
    shared: bool
    presents: tuple[bool, ...]
    verifies: tuple[bool, ...]
    source: tuple[str, str] | None
    feeds: bool


_BUNDLES = [("old",), ("old", "new"), ("new",)]

_START = st.sampled_from(
    [("old", ("old",))] * 6
    + [("old", ("old", "new"))] * 3
    + [("new", ("old", "new"))] * 2
    + [("new", ("new",)), ("old", ("new",)), ("new", ("old",)), ("old", ("new", "old"))]
    + [("next", ("next",)), ("next", ("old", "next"))]
)


@st.composite
def _layouts(draw: st.DrawFn, position: int, source: tuple[str, str] | None) -> _Layout:
    count = draw(st.sampled_from([1, 1, 2]))
    names = ("a", "b")[:count]
    ordinary = st.sampled_from([True, True, True, False])
    presents = tuple(draw(ordinary) for _ in names)
    verifies = tuple(draw(ordinary) for _ in names)
    return _Layout(
        endpoints=names,
        shared=draw(st.booleans()),
        presents=presents,
        verifies=verifies,
        source=source,
        feeds=position == 0 and draw(st.sampled_from([False, False, True])),
    )


@st.composite
def _groups(draw: st.DrawFn, position: int, layout: _Layout) -> Group:
    name = f"g{position}"
    kinds = draw(st.lists(_START, min_size=1, max_size=2))
    instances = []
    for number in range(draw(st.integers(1, 3))):
        endpoints = []
        for at, endpoint in enumerate(layout.endpoints):
            which = 0 if layout.shared else at
            chain, bundle = kinds[(number + which) % len(kinds)]
            endpoints.append(
                build.endpoint(
                    endpoint,
                    presents=chain if layout.presents[which] else None,
                    trusts=bundle if layout.verifies[which] else None,
                    slot="tls" if layout.shared else None,
                    source=layout.source if at == 0 else None,
                )
            )
        if layout.feeds:
            chain, bundle = kinds[0]
            endpoints.append(
                build.endpoint("feed", presents=chain, trusts=bundle, role=Role.SOURCE, slot="feed")
            )
        instances.append(build.instance(f"{name}/{number}", *endpoints))
    touch, weight = draw(
        st.sampled_from(
            [(Touch.RELOAD, None)] * 4
            + [(Touch.RESTART, None), (Touch.RECONNECT, None), (Touch.RELOAD, 0)]
        )
    )
    return build.group(name, *instances, touch=touch, weight=weight)


def _joined(one: Group, end: str, other: Group, to: str, *, mutual: bool, same: bool) -> list[Link]:
    return build.links(one, end, other, to, mutual=mutual, same_instance=same)


@st.composite
def fleets(draw: st.DrawFn, *, most_groups: int = 4) -> Case:
    """Two to four groups with one to three instances each, and links between any of them."""
    count = draw(st.integers(2, most_groups))
    layouts: list[_Layout] = []
    for position in range(count):
        source = None
        if position and layouts[0].feeds and draw(st.booleans()):
            source = ("g0", "feed")
        layouts.append(draw(_layouts(position, source)))
    groups = [draw(_groups(position, layout)) for position, layout in enumerate(layouts)]
    links: list[Link] = []
    for _ in range(draw(st.integers(1, count + 2))):
        one, other = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
        same = one == other and draw(st.booleans())
        links += _joined(
            groups[one],
            draw(st.sampled_from(layouts[one].endpoints)),
            groups[other],
            draw(st.sampled_from(layouts[other].endpoints)),
            mutual=draw(st.sampled_from([True, True, False])),
            same=same,
        )
    bridge = draw(st.sampled_from([False, False, True]))
    world = build.World(bridge=bridge)
    goal = draw(
        st.sampled_from(
            [build.goal(bridge=bridge)] * 4
            + [
                build.goal(bridge=bridge, trusted=("next",)),
                build.goal(bridge=bridge, trusted=("new", "next")),
                build.goal(bridge=bridge, trusted=("new", "next", "old"), retired=()),
            ]
        )
    )
    return Case(build.fleet(groups, links, world), goal, world)
