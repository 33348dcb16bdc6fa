"""Every bound of the log host and of the node's uploads, in one place.

Room: core. Numbers only.
"""

from __future__ import annotations

MIB = 1024 * 1024

# --- one upload ------------------------------------------------------------------------------------------------
MAX_BODY = MIB  # bytes as they come; official clients aim at 256 KiB before compression
MAX_CONTENT = 2 * MIB  # bytes of JSON
FREE_RATIO = MIB  # up to here a body may unfold as far as it likes: repeated lines are 200 times smaller
MAX_RATIO = 100  # beyond it
WINDOW_LOG = 23  # 8 MiB: what Go's encoder may ask of its reader
MAX_LINES = 16_384
MAX_ENTRY = 256 * 1024  # bytes of one entry as it came; no official client sends a longer one
MAX_TEXT = 16 * 1024  # characters of a line that are kept; official clients cut there themselves
MAX_MORE = 16 * 1024  # bytes of an entry's other members that are kept
BODY_TIMEOUT = 30.0  # seconds from the head to the end of a body; clients give up after 45

# --- all of them -----------------------------------------------------------------------------------------------
MAX_UNFINISHED = 32 * MIB  # bytes of bodies that are not on the disk yet
MAX_UNFINISHED_PER_SOURCE = 8 * MIB
RATE = 50.0  # uploads each second of one source: an office behind one address
BURST = 500.0
PACE = 1.0  # uploads each second of one id; the answer waits, so that a client gathers its lines meanwhile
PACE_BURST = 30.0
MAX_PAUSE = 5.0
CHARGE_SIZE = 64 * 1024  # JSON of this size costs as much as one more upload
MAX_SOURCES = 4_096
MAX_UNKNOWN_IDS = 1_024  # ids that no node claims: every machine has one before its first login
UNKNOWN_SHARE = 8  # they get an eighth of the disk space together
MIN_FREE = 128 * MIB  # bytes of the file system that logs leave to everything else

# --- answers ---------------------------------------------------------------------------------------------------
RETRY_SOON = (30, 60)  # seconds, drawn for each answer; clients honour up to five minutes
RETRY_LATE = (200, 300)

# --- files -----------------------------------------------------------------------------------------------------
BLOCK = 4096  # a file's size is counted in such
SEGMENTS_PER_NODE = 16  # a node's space is freed in pieces of this fraction
MAX_SEGMENT = 4 * MIB
MIN_SEGMENT = 64 * 1024
SEGMENT_AGE = 86_400.0  # seconds after which a node's next line begins another segment
MARK_EVERY = 64 * 1024  # bytes of a file between two places that a reader may begin at

# --- reading ---------------------------------------------------------------------------------------------------
PAGE_SIZE = 512 * 1024  # bytes of JSON after which a page ends
MAX_WAIT = 20.0  # seconds that a reader who follows may wait for an answer
MAX_FOLLOWERS = 16

# --- the node's own uploads ------------------------------------------------------------------------------------
MAX_BUFFER = 4 * MIB
MAX_BATCH = 256 * 1024
MAX_WAITING_LINES = 10_000  # records of other threads, and of one turn of the loop
FLUSH_AFTER = 2.0
MAX_RETRY_AFTER = 300.0
UPLOAD_TIMEOUT = 45.0
