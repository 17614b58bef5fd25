"""Pure functions on text: windows, syntax, n-grams, near-duplicates, licences."""
