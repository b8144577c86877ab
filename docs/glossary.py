"""The words of the project: what each means, where it comes from, and which words it replaces.

`docs/generate.py` writes docs/reference/glossary.md from this table; `tests/house/test_words.py`
finds none of the replaced words in a public name. `_` joins words that are one term.
"""

# ruff: noqa: INP001 - beside the script that reads it

from __future__ import annotations

from typing import NamedTuple

OURS = "Rollover's own: [the rule](../explanation/the-rule.md)"


class Word(NamedTuple):
    """One word of the field. `replaces`: words for the same thing that no public name has."""

    word: str
    meaning: str
    source: str
    replaces: tuple[str, ...]


CERTIFICATES = (
    Word(
        "authority",
        "A named CA. It has one or more versions, and perhaps a parent.",
        "RFC 5280 §3 (CA); CredHub",
        ("certifier", "given_bundle"),
    ),
    Word(
        "issuer",
        "Who makes leaves of an authority: a key in the store, or somebody else who answers a "
        "CSR. Never a name in a certificate.",
        "cert-manager, `Issuer`; the port of the engine",
        ("minter", "signing_party"),
    ),
    Word(
        "issuer name",
        "The distinguished name of whoever signed a certificate. In output the field is `issuer`, "
        "as with other tools.",
        "RFC 5280 §4.1.2.4",
        ("issuer_dn", "issuer_text"),
    ),
    Word(
        "leaf",
        "An end-entity certificate, issued by an authority. A *leaf node* is another thing, and "
        "NATS's word.",
        "RFC 5280 §3 (end entity)",
        ("end_entity", "end_certificate"),
    ),
    Word(
        "leaf issuer",
        "What makes the leaves of a plan: it keeps to the shape of those in use.",
        "RFC 5280 §4.1",
        ("mint", "mints"),
    ),
    Word(
        "certificate version",
        "One issued certificate of a name: the certificate, perhaps its private key, and flags.",
        "CredHub, certificate versions",
        ("certificate_edition", "cert_version"),
    ),
    Word(
        "transitional",
        "Flag of a version: it is trusted, and does not sign.",
        "CredHub, `transitional`",
        ("in_transition", "half_trusted"),
    ),
    Word(
        "standby",
        "A version that is trusted before it is needed, so that a rotation costs one rollout.",
        "Database replication, standby",
        ("spare", "understudy"),
    ),
    Word(
        "cross-sign",
        "Sign the key of one authority with that of another: whoever trusts the one follows.",
        "RFC 5280 §3.2 (cross-certificates)",
        ("countersign", "cross_certify"),
    ),
    Word(
        "chain",
        "What a TLS party sends: its leaf, then the intermediates.",
        "RFC 8446 §4.4.2",
        ("certificate_list", "certification_path"),
    ),
    Word(
        "trust bundle",
        "The ordered set of CA certificates that a TLS party accepts as trust anchors.",
        "RFC 5280 §6.1.1 (trust anchor); SPIFFE, trust bundle",
        ("truststore", "anchor_set"),
    ),
    Word(
        "bundle candidates",
        "Certificates that were found for a bundle, with the place of each, before the choice.",
        "trust-manager, sources of a `Bundle`",
        ("offers",),
    ),
    Word(
        "fingerprint",
        "SHA-256 of a certificate's DER, in hexadecimal.",
        "`openssl x509 -fingerprint -sha256`",
        ("thumbprint", "cert_hash"),
    ),
    Word(
        "validity",
        "The time from which until when a certificate is good.",
        "RFC 5280 §4.1.2.5",
        ("lifespan", "shelf_life"),
    ),
    Word(
        "placeholder certificate",
        "What stands in the model for a certificate that nobody can read.",
        "SQL and templates, placeholder",
        ("standin", "standins", "stand_in", "stand_ins"),
    ),
)

FLEET = (
    Word(
        "fleet",
        "Groups, instances, endpoints, links, and the authorities that they use.",
        OURS,
        ("estate", "flock"),
    ),
    Word(
        "group",
        "Instances of the same shape that one rollout covers.",
        "BOSH, instance group",
        ("cohort", "herd"),
    ),
    Word(
        "instance",
        "The smallest thing that changes at once: a VM, a process, a pod.",
        "BOSH, instance",
        ("inhabitant", "fleet_member"),
    ),
    Word(
        "endpoint",
        "One TLS party: it presents a chain, or none, and trusts a bundle, or none.",
        "RFC 8446 §1.1",
        ("tls_party", "tls_side"),
    ),
    Word(
        "link",
        "Dialer to acceptor, mutual or server-only, with the name that the dialer expects.",
        OURS,
        ("dial_pair", "twosome"),
    ),
    Word(
        "dialer",
        "The endpoint that opens the connections of a link.",
        "Go, `tls.Dialer`",
        ("initiator", "calling_side"),
    ),
    Word(
        "acceptor",
        "The endpoint that takes the connections of a link.",
        "RFC 2743 (acceptor); Go, `Accept`",
        ("callee", "called_side"),
    ),
    Word(
        "peer pairs",
        "Which configured servers connect to which: by cluster, gateway, leaf node, or address.",
        "NATS docs, routes and gateways",
        ("meeting", "meetings"),
    ),
    Word(
        "availability",
        "Whether an instance can be changed now, and if not, why.",
        "Kubernetes, available replicas; BOSH, `bosh ignore`",
        ("standing",),
    ),
    Word(
        "VM creation time",
        "Since when an agent's VM exists; its first certificate cannot be older.",
        "BOSH, `vm_created_at`",
        ("birth", "births", "born", "newborn"),
    ),
    Word(
        "platform",
        "The code that discovers, changes and observes one kind of system.",
        OURS,
        ("means", "tools", "toolbox"),
    ),
    Word(
        "site",
        "The composition root, `rollover.site`: the one place that names concrete platforms.",
        OURS,
        ("assembly_room", "wiring"),
    ),
    Word(
        "fleet context",
        "What belongs to one fleet and is given to whatever works on it: store, journal, leases, "
        "platforms.",
        "Context object, as in Go's `context`",
        ("site",),
    ),
)

PLANNING = (
    Word(
        "goal",
        "What every endpoint shall present and trust in the end.",
        "Automated planning (PDDL), goal",
        ("destination", "giving"),
    ),
    Word(
        "intent",
        "What a rotation was begun for, as the journal keeps it.",
        "Databases, write-ahead log",
        ("beginning", "beginnings"),
    ),
    Word(
        "plan",
        "The ordered rollouts that take a fleet from what it is to a goal, each with its proof.",
        "Terraform, plan",
        ("itinerary", "roadmap"),
    ),
    Word(
        "rollout",
        "One pass over one group which gives its instances new material.",
        "Kubernetes, rollout; BOSH, deploy",
        ("rounds", "converging", "procession"),
    ),
    Word(
        "canary",
        "The instances that a rollout changes first, and waits for.",
        "BOSH, `update.canaries`",
        ("guinea_pig", "vanguard"),
    ),
    Word(
        "parallel",
        "Several at a time, `max_in_flight` at most.",
        "BOSH, `max_in_flight`",
        ("side_by_side", "abreast"),
    ),
    Word(
        "symmetric groups",
        "Groups whose exchange changes nothing: the search tries one order of them.",
        "Symmetry in planning (Fox and Long, 1999)",
        ("twin", "twins"),
    ),
    Word(
        "step limits",
        "What the links of a class leave of its choices in one step.",
        "Constraint programming, domain reduction",
        ("narrowing", "narrowings"),
    ),
    Word(
        "slot layout",
        "Where in a state stand the chain and the bundle of each endpoint.",
        "Planning in SAS+ (state variables)",
        ("slot_places", "pigeonholes"),
    ),
    Word(
        "violation",
        "A link that works now and that a step would break.",
        OURS,
        ("offence", "trespass"),
    ),
    Word(
        "rollback",
        "A plan from what is observed towards the version before.",
        "Databases, rollback",
        ("way_back", "retreat"),
    ),
    Word(
        "clean-up",
        "What is removed once nothing needs it: former versions, kept files.",
        OURS,
        ("tidy", "tidies", "tidied", "tidying"),
    ),
)

RUNNING = (
    Word(
        "material",
        "The PEM files and settings that a rollout delivers. Holds private keys.",
        "RFC 5705, keying material",
        ("goods", "key_stuff"),
    ),
    Word(
        "material request",
        "What somebody brings to be installed: a chain, a key, a bundle, and for whom.",
        "PKCS #10, request",
        ("asked",),
    ),
    Word(
        "supplied",
        "Of chains: an operator brought them, Rollover did not issue them.",
        OURS,
        ("brought",),
    ),
    Word(
        "issued credentials",
        "What a director gives the agents of new VMs: the CA that signs, and what they trust.",
        "BOSH, `env.bosh.mbus.cert`",
        ("handout", "handouts", "handed_out"),
    ),
    Word(
        "observe",
        "Find out what instances present, trust and do, changing nothing. What comes of it is an "
        "*observation*; what was found is *observed*.",
        "Kubernetes, observed state",
        (
            "look",
            "looking",
            "lookout",
            "survey",
            "surveys",
            "sight",
            "sights",
            "sighting",
            "sightings",
            "seen",
            "saw",
            "shown",
            "glance",
        ),
    ),
    Word(
        "observed fleet",
        "The fleet as it was observed before a step.",
        "Control theory, observed state",
        ("world",),
    ),
    Word(
        "agent pinger",
        "What asks agents over NATS whether they answer.",
        "BOSH agent, `ping`",
        ("voice", "voices", "asking"),
    ),
    Word(
        "provenance",
        "What agents were observed with and were issued, so that it is known which CA a "
        "certificate comes from.",
        "SLSA, provenance",
        ("book", "books"),
    ),
    Word(
        "evidence",
        "What was observed after a change: handshakes, fingerprints, accepted CAs, times.",
        OURS,
        ("testimony",),
    ),
    Word(
        "holdout",
        "A connection that goes on with what shall go, and hinders the next step.",
        "Statistics, holdout group",
        ("straggler", "stragglers"),
    ),
    Word(
        "lame duck",
        "A server that closes its connections one after another before it stops.",
        "NATS docs, lame duck mode",
        ("farewell", "leave_taking"),
    ),
    Word(
        "lease",
        "The right to rotate one fleet, held by one process at a time.",
        "Kubernetes, `coordination.k8s.io/Lease`",
        ("tenure", "tenancy"),
    ),
    Word(
        "journal",
        "What was intended, done and observed, for people and audits; never the truth about the "
        "fleet. A *run log* is what one run enters there.",
        OURS,
        ("chronicle", "chronicles", "diary"),
    ),
    Word(
        "store",
        "Where credentials are kept: versions with their keys. What else is kept is *state*.",
        "CredHub, credential store",
        ("keeping", "keyring", "strongbox"),
    ),
    Word(
        "state",
        "All that is kept besides credentials: the state directory, a lab's state file.",
        "Terraform, state; BOSH, `create-env --state`",
        ("memento", "recollection"),
    ),
    Word(
        "atomic write",
        "Content that stands under its name as a whole or not at all.",
        "POSIX, `rename()`",
        ("replacing",),
    ),
    Word(
        "finding",
        "What a rule says of a fleet or a file, with a severity. A platform may have its own.",
        "Linters; SARIF §3.27 (result)",
        ("grievance", "attending", "attend"),
    ),
    Word(
        "refuse",
        "End before anything is changed, because a rule says so.",
        "RFC 1035 §4.1.1 (refused: for reasons of policy)",
        ("heed", "heeding"),
    ),
    Word(
        "rule context",
        "What the functions of rules are given: all that was read, and the names in it.",
        "ESLint, rule context",
        ("scene", "scenes"),
    ),
    Word(
        "syntax rules",
        "Rules on the text of a nats.conf: settings that are unknown, repeated or without effect.",
        "Linters, syntax",
        ("wording",),
    ),
)

SECTIONS: dict[str, tuple[Word, ...]] = {
    "Certificates": CERTIFICATES,
    "The fleet": FLEET,
    "Planning": PLANNING,
    "Running": RUNNING,
}
WORDS = tuple(word for words in SECTIONS.values() for word in words)
