"""Client connections that take up new certificates while they run, without losing messages.

::

    from pathlib import Path

    import rollover.clients.nats
    from rollover.clients.files import MaterialFiles

    files = MaterialFiles.in_directory(Path("/etc/orders/tls"))
    async with rollover.clients.nats.connect(
        ["tls://nats-1:4222", "tls://nats-2:4222"], material=files, name="orders"
    ) as nc:
        await nc.subscribe("orders.>", cb=on_order)
        await nc.publish("orders.new", b"...")

`nats` is the connection, `files` says where its certificates are, `events` what it reports.
Only the standard library, msgspec and nats-py are needed (`pip install rollover-ca[client]`).
"""
