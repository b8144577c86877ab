"""How long an agent waits for what, in seconds; a lab in a hurry divides all of it."""

from __future__ import annotations

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of the real agent and of what restarts it."""

    exit_delay: float = 1.0
    """Between the settings' being saved and the end of the process: the answer gets out."""
    restart_delay: float = 0.3
    """Until the process is started again: 52 starts in 18 s were measured."""
    slow_restart: float = 140.0
    """The same for a VM with the fault `slow`: longer than three times 45 s."""
    reconnect_step: float = 2.0
    reconnect_limit: float = 10.0
    """The delay before the nth attempt is n steps, at most this."""
    heartbeat_interval: float = 30.0
    heartbeat_retry: float = 1.0
    heartbeat_tries: int = 60
    """On a closed connection, before the process gives up."""
    connect_timeout: float = 5.0
    """From dialling to the server's PONG. nats.go allows 2 s to a process of its own; here many
    share one. It is the same in a hurry: it is about the machine, not about the protocol."""

    def hurried(self, factor: float) -> Timing:
        """Return these waits times `factor`."""
        return msgspec.structs.replace(
            self,
            **{
                name: getattr(self, name) * factor
                for name in self.__struct_fields__
                if name not in {"heartbeat_tries", "connect_timeout"}
            },
        )

    def reconnect_delay(self, attempt: int) -> float:
        """Return how long to wait before an attempt to reconnect; the first one is 1."""
        return min(self.reconnect_step * attempt, self.reconnect_limit)
