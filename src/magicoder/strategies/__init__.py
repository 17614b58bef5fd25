"""How an instruction is made from a seed: one module per method."""
