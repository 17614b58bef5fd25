"""Where programs run (built by a later release; the protocol stands in protocols.py)."""
