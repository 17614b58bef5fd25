"""Where untrusted programs run. Modules whose names start with `_` are parts; the others are sandboxes by name."""
