"""The network below the drivers: addresses, TLS, connecting, patience."""
