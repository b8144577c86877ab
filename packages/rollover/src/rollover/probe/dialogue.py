"""What to say inside TLS on each kind of port, so that the peer shows whether it accepted us.

In TLS 1.3 a server judges the client's certificate after the client's handshake has returned, so
only what it sends next proves anything. Observed with nats-server 2.15.1, TLS 1.2 and 1.3:

=========== ============================= ====================================
kind        we say                        an accepted peer answers
=========== ============================= ====================================
client      CONNECT, PING                 PONG, or -ERR of its own authorization
route       nothing                       INFO
gateway     nothing                       INFO
leafnode    PING                          PONG, or -ERR of its own authorization
websocket   an upgrade request            an HTTP status line
mqtt        CONNECT of an unknown level   CONNACK 1, no session is made
monitoring  HEAD /                        an HTTP status line
plain       nothing                       a session ticket, or whatever comes
=========== ============================= ====================================

Client and leaf node ports with `handshake_first` send INFO of their own accord, too.
"""

from __future__ import annotations

from types import MappingProxyType

from rollover.probe.nats_protocol import PING, connect
from rollover.probe.target import Port, Target

_CONNECT = connect(
    {
        "verbose": False,
        "pedantic": False,
        "tls_required": True,
        "name": "rollover-probe",
        "lang": "python",
        "version": "1",
        "protocol": 1,
    }
)
# MQTT 3.1.1 §3.1.2.2: a server answers an unknown protocol level with code 1 and goes no further.
_MQTT_UNKNOWN_LEVEL = b"\x10\x0c\x00\x04MQTT\x7f\x02\x00\x00\x00\x00"

_PROMPTS = MappingProxyType(
    {
        Port.CLIENT: _CONNECT + PING,
        Port.LEAFNODE: PING,
        Port.MQTT: _MQTT_UNKNOWN_LEVEL,
    }
)
_HTTP_PROMPTS = MappingProxyType(
    {
        Port.WEBSOCKET: (
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            # RFC 6455 §1.3: any 16 octets do; nothing is exchanged after the upgrade.
            "Sec-WebSocket-Key: cm9sbG92ZXItcHJvYmUtMQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        Port.MONITORING: "HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
    }
)


def prompt(target: Target) -> bytes:
    """Return what to say once TLS stands; empty for ports of no known protocol."""
    if target.port in _HTTP_PROMPTS:
        return _HTTP_PROMPTS[target.port].format(address=target.address).encode()
    return _PROMPTS.get(target.port, b"")
