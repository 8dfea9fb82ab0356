"""How long a test waits for what others do.

Programs in strings give up after 200 s themselves: sooner, so that they can say where.
"""

LIMIT = 300  # seconds until what hangs is a failure: a busy machine is slow as well
