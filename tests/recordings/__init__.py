"""What real instrumentations emitted against a local model server, and what was true meanwhile."""
