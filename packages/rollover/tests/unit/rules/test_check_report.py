"""The report as a whole, what is silenced in it, and the catalogue of rules."""

from __future__ import annotations

import re

import pytest

from rigs import builders as build
from rigs import check_scenes as scenes
from rollover.engine import rules as gates
from rollover.fleet.description import Silence
from rollover.fleet.fleet import Touch
from rollover.fleet.names import RuleId
from rollover.planner import explain
from rollover.rule_catalogue import whole_catalogue
from rollover.rules.report import AREAS
from rollover.rules.rule import Rule, Severity

LONELY = build.uniform("director", 1, build.endpoint("c"), touch=Touch.RESTART)


def _silenced(**fields: str) -> Silence:
    return Silence(rule="group-of-one", reason="there is only one", **fields)


@pytest.mark.parametrize("subject", ["*", "director", "dir*"])
def test_a_silenced_finding_stays_with_its_reason_and_does_not_count(subject: str) -> None:
    """It is shown, with who said why, and the report has nothing to say."""
    report = scenes.run((LONELY,), (), scenes.world(), silenced=(_silenced(subject=subject),))
    assert [finding.silenced for finding in scenes.of(report, "group-of-one")] == [
        "there is only one"
    ]
    assert report.worst is None
    assert len(report.silenced) == 1


def test_a_silence_for_something_else_leaves_the_finding_and_is_told() -> None:
    """A misspelt subject silences nothing, and the report says so."""
    report = scenes.run((LONELY,), (), scenes.world(), silenced=(_silenced(subject="board"),))
    assert not report.silenced
    assert [finding.subject for finding in scenes.of(report, "silence-without-effect")] == [
        "group-of-one"
    ]


def test_the_gravest_finding_decides() -> None:
    """An error outweighs missing evidence, and that a warning."""
    warning = scenes.run((LONELY,), (), scenes.world())
    assert warning.worst is Severity.WARNING
    broken = scenes.pair(acceptor=build.endpoint("accepts", trusts=("new",)))
    assert scenes.run(*broken, scenes.world()).worst is Severity.ERROR


def test_every_rule_is_looked_at_in_every_report() -> None:
    """The report lists what was checked, not only what was found."""
    report = scenes.run(*scenes.pair(), scenes.world())
    expected = [each.id for checks in AREAS.values() for each, _ in checks]
    assert [checked_rule.rule for checked_rule in report.checked] == expected
    assert (report.instances, report.links) == (2, 1)


def test_ids_are_unique_and_well_formed() -> None:
    """An id is lower case words joined by hyphens, given once."""
    ids = [rule.id for rule in whole_catalogue().rules]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", identifier) for identifier in ids)


@pytest.mark.parametrize("each", whole_catalogue().rules, ids=lambda each: each.id)
def test_every_rule_says_everything(each: Rule) -> None:
    """No field is empty, and texts are sentences."""
    texts = (each.meaning, each.why, each.example, each.remedy)
    assert each.title
    assert each.source
    assert all(text.endswith(".") for text in texts)


@pytest.mark.parametrize(
    "known",
    [
        explain.TRUST_BEFORE_USE,
        explain.REISSUE_BEFORE_WITHDRAW,
        explain.VALIDITY_WINDOW,
        explain.LEFT_BEHIND,
        explain.LINK_BREAKS,
        explain.NO_SAFE_PLAN,
        explain.STACKS_DISAGREE,
        explain.BROKEN_NOW,
        explain.RECONNECTS,
        explain.UNVERIFIED,
        gates.AS_ORDERED,
        gates.HANDSHAKES,
        gates.DRAIN,
        gates.RECOVERY,
        gates.NO_WAY_BACK,
    ],
)
def test_every_rule_of_planner_and_engine_can_be_explained(known: RuleId) -> None:
    """A refusal names an id; `explain` knows it."""
    found = whole_catalogue().rule(known)
    assert found is not None
    assert found.id == known


def test_there_is_no_rule_of_an_unknown_name() -> None:
    """An unknown id is None, not an error."""
    assert whole_catalogue().rule("no-such-rule") is None
