"""From the outbox to its endpoints: what is sent when, and what a person is told of it."""
