"""The account that a run gives of itself: to the journal, and to whoever watches."""

from __future__ import annotations

from collections.abc import Sequence

from rollover.checks.rule import Finding
from rollover.engine import attending, events, records
from rollover.engine.gates import GateResult
from rollover.engine.journal_port import every_entry
from rollover.engine.outcome import Conduct, Ended, Ending
from rollover.engine.rules import overridable
from rollover.engine.site import Site
from rollover.fleet.journal import EntryKind
from rollover.fleet.names import RuleId

MOST_NAMED = 3
"""Failed facts that a message names; the journal and the events have all."""


class Chronicle:
    """One rotation's entries and events, and the refusals that an operator answers for."""

    def __init__(self, site: Site, rotation: str, conduct: Conduct) -> None:
        self._site = site
        self._rotation = rotation
        self._conduct = conduct
        self._overridable = overridable(site.catalogue)
        self._answered: set[tuple[RuleId, str]] = set()
        self._found: set[Finding] = set()

    def record(
        self, kind: EntryKind, *, subject: str = "", data: records.Data | None = None
    ) -> None:
        """Add an entry to the journal."""
        self._site.journal.append(
            self._rotation, kind, at=self._site.clock(), subject=subject, data=data
        )

    def tell(self, event: events.Event) -> None:
        """Tell whoever watches."""
        self._conduct.tell(event)

    def rollouts_finished(self) -> int:
        """Return how many rollouts of this rotation were finished, by any run."""
        return sum(
            each.kind is EntryKind.ROLLOUT_FINISHED
            for each in every_entry(self._site.journal, self._rotation)
        )

    def overridden(self, rule: RuleId, subject: str) -> bool:
        """Say whether an operator answers for a refusal; rule and reason are recorded once."""
        reason = self._conduct.overrides.get(rule)
        if reason is None or rule not in self._overridable:
            return False
        if (rule, subject) not in self._answered:
            self._answered.add((rule, subject))
            self.record(
                EntryKind.OVERRIDDEN, subject=subject, data={"rule": rule, "reason": reason}
            )
        return True

    def refuse_blocking(self, found: Sequence[Finding]) -> None:
        """Tell and record what was not found before; end the run at what stands in the way."""
        fresh = tuple(each for each in dict.fromkeys(found) if each not in self._found)
        if fresh:
            self._found.update(fresh)
            self.tell(events.Found(findings=fresh))
            self.record(EntryKind.EVIDENCE, subject="findings", data=records.findings(fresh))
        wrong = [
            each
            for each in attending.blocking(found)
            if not self.overridden(each.rule, each.subject)
        ]
        if not wrong:
            return
        said = [f"{each.rule}: {each.subject}: {each.message}" for each in wrong]
        remedy = wrong[0].remedy.rstrip(".")
        answer = f"; or answer for it: `--override {wrong[0].rule}=REASON`"
        hint = remedy + (answer if wrong[0].rule in self._overridable else "")
        raise Ended(attending.ENDINGS[wrong[0].severity], _some(said), hint)

    def insist(self, seen: GateResult, rule: RuleId, *, hint: str) -> None:
        """Record what a gate saw, and end the run when it does not hold."""
        self.tell(events.GateChecked(gate=seen.gate, evidence=seen.evidence, holds=seen.holds))
        self.record(EntryKind.GATE, subject=seen.gate, data=records.gate(seen))
        if seen.holds or self.overridden(rule, seen.gate):
            return
        wrong = [f"{each.subject}: {each.observed}" for each in seen.evidence if not each.holds]
        wrong += [records.holdout(each) for each in seen.holdouts]
        raise Ended(Ending.EVIDENCE_MISSING, f"{rule}: {_some(wrong)}", hint)


def _some(said: Sequence[str]) -> str:
    """Return the first of many things said, and how many more there are."""
    more = f" and {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return f"{'; '.join(said[:MOST_NAMED])}{more}"
