"""How work is spread over processes."""
