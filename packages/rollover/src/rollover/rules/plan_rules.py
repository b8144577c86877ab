"""The rules of the planner, as `rollover explain` tells them.

Their code is in the planner, which knows ids only; a test holds the ids together.
"""

from __future__ import annotations

from rollover.fleet.names import RuleId
from rollover.rules.rule import Rule, Severity

_TRUST_BEFORE_USE = Rule(
    id=RuleId("trust-before-use"),
    severity=Severity.ERROR,
    title="A certificate would be presented before its peer trusts the CA",
    meaning="A step would give an endpoint a certificate from the new CA while a peer of it that "
    "has not been changed yet trusts only the old one.",
    why="The peer would refuse every new handshake: connections that are open stay open and hide "
    "it until they reconnect.",
    example="`n1` presents a certificate from `nats-ca@2`; client `c7` trusts only `nats-ca@1` "
    "and can never connect to `n1` again.",
    remedy="Roll the new CA out as trusted, beside the old one, to the refusing side first.",
    source="BOSH, rotating NATS certificate authorities, steps 1 and 2; reference experiments "
    "with skipped steps on nats-server",
)
_REISSUE_BEFORE_WITHDRAW = Rule(
    id=RuleId("reissue-before-withdraw"),
    severity=Severity.ERROR,
    title="A CA would no longer be trusted while a peer still presents its certificates",
    meaning="A step would take the old CA out of a bundle although a peer of that endpoint still "
    "presents, or may still present, a certificate that the old CA issued.",
    why="The peer is cut off at its next reconnect, which may be weeks later.",
    example="The servers stop trusting `nats-ca@1`; client `c3` has not been given its new "
    "certificate. It works on until the next network fault, then never again.",
    remedy="Give the peer a certificate from the new CA first.",
    source="CredHub, transitional CA; BOSH, rotating NATS certificate authorities, step 3",
)
_VALIDITY_WINDOW = Rule(
    id=RuleId("validity-window"),
    severity=Severity.ERROR,
    title="A certificate would not be valid for the whole step",
    meaning="Somewhere between the start of a step and the time when the next one can have ended, "
    "a certificate that a link needs expires, or is not valid yet.",
    why="A step that is safe when it begins may break links before it ends. The window is the "
    "rollout's expected time and the fleet's `margin_seconds`.",
    example="The old CA expires in 4 minutes and the step, with its margin, takes 6.",
    remedy="Shorten the step (more instances in flight, a smaller margin), or renew the "
    "certificate first.",
    source="RFC 5280 §4.1.2.5",
)
_LEFT_BEHIND = Rule(
    id=RuleId("left-behind"),
    severity=Severity.ERROR,
    title="An instance that cannot be changed now would be cut off",
    meaning="An instance is ignored, unreachable or refuses its files, and the step would break a "
    "link of it in one of the states that it may be in.",
    why="It cannot be given the new material before the old is withdrawn.",
    example="`agent-17` is marked as ignored and trusts only the old CA; the servers' new "
    "certificates wait for it.",
    remedy="Bring it back and run again, take it out of the fleet file, or answer for it with "
    "`--override left-behind=REASON`.",
    source="The safety rule, over every state that an unconfirmed instance may be in",
)
_LINK_BREAKS = Rule(
    id=RuleId("link-breaks"),
    severity=Severity.ERROR,
    title="A link that works now would break",
    meaning="In some mixture of changed and unchanged instances a new handshake on a link would "
    "fail, for a reason that no other rule names.",
    why="A rollout is safe only when it breaks no link that works now, in any mixture.",
    example="The new chain lacks the extended key usage that the peer asks for.",
    remedy="Look at the reasons in the message; `rollover check` looks at each certificate.",
    source="The safety rule",
)
_NO_SAFE_PLAN = Rule(
    id=RuleId("no-safe-plan"),
    severity=Severity.ERROR,
    title="No order of rollouts reaches the goal without breaking a link",
    meaning="The search went through every safe step from the observed state and none of the ways "
    "ends at the goal.",
    why="Going on would cut somebody off at some point.",
    example="A client that can hold one CA only, and a server that can present one chain only.",
    remedy="Cross-sign the new CA (`--cross-sign`), or lift what the refused steps name.",
    source="The planner's search",
)
_STACKS_DISAGREE = Rule(
    id=RuleId("stacks-disagree"),
    severity=Severity.WARNING,
    title="TLS stacks judge a chain differently",
    meaning="nats-server (Go) and OpenSSL peers (Python, C) do not agree whether a chain is to be "
    "accepted; the plan goes by the stack that the fleet file names for each endpoint. Said where "
    "a client dials: between nats-servers both ends are Go.",
    why="A client on the other stack would be cut off by a plan that is safe for this one.",
    example="Two CAs of one subject and no key identifiers: Go tries both, OpenSSL only the first.",
    remedy="Give both CAs key identifiers and subjects of their own; name each client's `stack`.",
    source="58 chains measured on nats-server and OpenSSL 3",
)
_RECONNECTS = Rule(
    id=RuleId("reconnects"),
    severity=Severity.WARNING,
    title="Instances take up new certificates only at a reconnect",
    meaning="The group's `touch` is `reconnect`: its clients read their files when they connect.",
    why="Each rollout that changes their certificates costs each of them one reconnect.",
    example="20 clients on plain nats-py reconnect once in each of two rollouts.",
    remedy="Use `nats_rotating_client` in them, which connects anew before it lets go of the old "
    "connection, or expect the reconnects.",
    source="Measured on nats-py: it has no way to replace a connection's certificate",
)

PLAN_RULES = (
    _TRUST_BEFORE_USE,
    _REISSUE_BEFORE_WITHDRAW,
    _VALIDITY_WINDOW,
    _LEFT_BEHIND,
    _LINK_BREAKS,
    _NO_SAFE_PLAN,
    _STACKS_DISAGREE,
    _RECONNECTS,
)
