"""The UAA of a lab: gives tokens to clients and people, as the real job of a director VM does.

Only what a director, its health monitor and the bosh CLI need of it: RFC 6749 §4.3, §4.4 and §6.
"""
