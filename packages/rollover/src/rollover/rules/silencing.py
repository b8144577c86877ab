"""Rules that an operator silenced, each with the reason: shown all the same, and not counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import msgspec

from rollover.fleet.description import Silence
from rollover.fleet.names import RuleId
from rollover.rules.rule import Finding, Rule, Severity, found

SILENCE_WITHOUT_EFFECT = Rule(
    id=RuleId("silence-without-effect"),
    severity=Severity.WARNING,
    title="Every silenced rule finds something to be silent about",
    meaning="An entry under `silenced` in the fleet file matches no finding.",
    why="It is left over, or its rule or subject is misspelt; it may hide something one day.",
    example="`silenced: [{rule: group-of-one, subject: old-director, reason: …}]`, and there is "
    "no `old-director` any more.",
    remedy="Take it out, or correct its `rule` and `subject` (`*` stands for anything).",
    source="The fleet file",
)


def with_silence(finding: Finding, silences: Sequence[Silence]) -> Finding:
    """Return a finding with the reason of the first entry that silences it."""
    for silence in silences:
        if is_silenced_by(silence, finding):
            return msgspec.structs.replace(finding, silenced=silence.reason)
    return finding


def is_silenced_by(silence: Silence, finding: Finding) -> bool:
    """Say whether an entry speaks of a finding: its rule, and a pattern of its subject."""
    return silence.rule == finding.rule and fnmatchcase(finding.subject, silence.subject)


def silences_without_effect(
    silences: Sequence[Silence], findings: Sequence[Finding]
) -> Iterator[Finding]:
    """Yield the entries that silence nothing."""
    for silence in silences:
        if not any(is_silenced_by(silence, finding) for finding in findings):
            yield found(
                SILENCE_WITHOUT_EFFECT,
                silence.rule,
                f"`{silence.subject}` is silenced ({silence.reason}), and nothing is found there",
            )
