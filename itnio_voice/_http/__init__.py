"""One request: signed, bounded, retried and paced. The only layer that awaits the network."""
