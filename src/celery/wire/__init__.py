"""Network protocols as values and state machines: bytes in, replies out. No sockets, clocks or threads here."""
