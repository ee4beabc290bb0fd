"""What users import from `itnio_voice`: sessions, streams, merging, accounts and checkpoints."""
