"""Who answers prompts, as teacher or student: one module per kind of endpoint."""
