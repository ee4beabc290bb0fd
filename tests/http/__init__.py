"""One request: signing, retries, deadlines, bodies, connections and redaction."""
