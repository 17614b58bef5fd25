"""Magicoder: open-source code in, an instruction dataset with provenance out."""

__version__ = "0.1.0"
