"""Following an account: records as they become visible, each once."""
