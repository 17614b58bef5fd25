"""The steps of the paper, one module each; no stage imports another."""
