"""Texts about one kind of system stand with its platform: not in the engine, nor in its rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollover import engine
from rollover.engine.rules import GATE_RULES, MATERIAL_RULES
from rollover.rules.plan_rules import PLAN_RULES
from rollover.rules.report import FLEET_RULES
from rollover.rules.rule import Rule
from rollover.rules.silencing import SILENCE_WITHOUT_EFFECT

OF_ONE_PLATFORM = re.compile(
    r"nats\.conf|\bcharts?\b|\bhelm\b|\bdirector\b|\bbosh\b|create-env", re.IGNORECASE
)
ENGINE = sorted(Path(engine.__file__).parent.glob("*.py"))


def _said(path: Path) -> Iterator[str]:
    """Yield the texts that a module can show; what it documents and cites is not shown."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unsaid = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    unsaid |= {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "source"
        for part in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in unsaid
        ):
            yield node.value


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.stem)
def test_the_engine_names_nothing_of_one_platform(path: Path) -> None:
    """A hint that speaks of a configuration, a chart or a director comes from its platform."""
    assert [text for text in _said(path) if OF_ONE_PLATFORM.search(text)] == []


@pytest.mark.parametrize(
    "rule",
    [*PLAN_RULES, *GATE_RULES, *MATERIAL_RULES, *FLEET_RULES, SILENCE_WITHOUT_EFFECT],
    ids=lambda rule: rule.id,
)
def test_rules_on_any_fleet_say_nothing_of_one_platform(rule: Rule) -> None:
    """What they mean, why, and what helps holds on every platform; an example is of one fleet."""
    said = f"{rule.title} {rule.meaning} {rule.why} {rule.remedy}"
    assert OF_ONE_PLATFORM.findall(said) == []
