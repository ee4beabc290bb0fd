"""The reading algorithm, on the sandbox and on servers that share no code with it."""
