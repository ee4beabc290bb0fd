"""What several tests share: event loops in virtual time, servers and readers of their own."""
