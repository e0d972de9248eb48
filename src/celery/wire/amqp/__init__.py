"""AMQP 0-9-1 as RabbitMQ speaks it, without I/O.

`spec` is the protocol as a table, `values` tables and properties, `frames` the frames, `content` messages in
bulk, `connection` the states of one connection, `confirms` the fate of published messages, `errors` what can go
wrong. Whatever a peer sends gives `ProtocolError` and nothing else, or a meaning.
"""
