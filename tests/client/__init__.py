"""Sessions, streams, merging, accounts and checkpoints."""
