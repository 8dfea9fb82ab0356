"""How long a test waits for what others do."""

LIMIT = 300  # seconds until what hangs is a failure: a busy machine is slow as well
