"""From spans to calls: traces are assembled until they are finished, then shaped into Weave calls."""
