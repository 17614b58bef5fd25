"""Where code comes from: one module per kind of source."""
