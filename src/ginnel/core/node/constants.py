"""The numbers of path discovery, in two lists: Tailscale's, which peers rely on, and ours.

Room: core. Seconds, if nothing else is said. Sources: tailscale: wgengine/magicsock/magicsock.go, endpoint.go,
derp.go; net/netcheck/netcheck.go.

How two nodes behind easy NATs meet (A sends first; relay legs of 20 ms):

    A                          relay                          B
    |-- ping to B's addresses ---------------------x NAT of B |   A's NAT is open now
    |-- call-me-maybe ----------->|-------------------------->|
    |<------------------------------------- ping to A's addresses   B's NAT is open now
    |-- pong, and a ping of A's own at once ----------------->|   B is direct
    |<--------------------------------------------------- pong|   A is direct
"""

# --- Tailscale's -----------------------------------------------------------------------------------------------

SESSION_ACTIVE_TIMEOUT = 45.0  # without sending: no heartbeats, no periodic STUN, not "active"
HEARTBEAT_INTERVAL = 3.0
TRUST_UDP_ADDR_DURATION = 6.5  # two missed heartbeats and some slack
UPGRADE_UDP_DIRECT_INTERVAL = 60.0
GOOD_ENOUGH_LATENCY = 0.005
PING_TIMEOUT = 5.0
DISCO_PING_INTERVAL = 5.0  # between discovery pings to one endpoint
ENDPOINTS_FRESH_ENOUGH = 27.0  # for a call-me-maybe
RESTUN_MIN, RESTUN_MAX = 20.0, 26.0
ENDPOINT_KEPT = 310.0  # an address of ours is advertised this long after it was last seen
ENDPOINTS_PER_IP = 6
CANDIDATES_PRUNED_AT = 100
INBOUND_PING_CANDIDATE_LIFE = 45.0
DERP_INACTIVE_CLEANUP = 60.0  # since the last write to a region that is not home
DERP_CLEANUP_INTERVAL = 15.0
DERP_BACKOFF_MAX = 5.0
UDP_REBIND_GAP = 5.0
DEFAULT_WIRE_MTU = 1360

# --- ours ------------------------------------------------------------------------------------------------------

FIRST_ROUNDS = (0.0, 0.1, 0.3, 0.7, 1.5)  # of a search for a path: whose probe comes before the other side has
# opened must not wait for DISCO_PING_INTERVAL
FIRST_ROUNDS_AGAIN, FIRST_ROUNDS_AGAIN_MAX = 5.0, 60.0  # between two such bursts; doubled after a fruitless one
PROBE_BURST, PROBE_RATE = 8.0, 1.0  # probes, and probes a second, to an address that has not answered
SOURCES_BURST, SOURCES_RATE = 24.0, 1.0  # likewise, to all addresses together of which one peer's pings alone tell
SEARCH_FREE = 5  # probes to an address that is new: the quick rounds
SEARCH_BURST, SEARCH_RATE = 40.0, 0.75  # and then probes, and probes a second, in all rounds of one peer
REACTIVE_PING_GAP = 0.05  # between pings that answer pings of one endpoint
PROVEN_ENDPOINT_INTERVAL = 1.5  # between pings to an endpoint that worked before and is lost
SEARCH_INTERVAL = 2.5  # between rounds while there is no path: a network may let UDP through at any moment
PROVEN_ENDPOINT_LIFE = 300.0  # how long such an endpoint is asked so often
CALL_BACK_AFTER = 0.1  # a path is proven and its peer has not pinged us: it may not know, so it is called
PEER_KNOWS = 1.0  # a ping of the peer so long ago at most
CALL_BACK_GAP = 1.0  # between calls then
CALL_ME_MAYBE_IS_NEWS = 1.0  # after the last pong: one that comes sooner belongs to the search that has just ended
PEER_MISSES_US = 1.0  # after a sign that the peer has no path to us: what it names and answers first is the path then
CALL_ME_MAYBE_ENDPOINTS = 32
CANDIDATES_PER_IP = 8  # of one message or map entry
NEW_ENDPOINTS_BURST, NEW_ENDPOINTS_RATE = 128.0, 2.0  # that one peer's calls may name, at once and a second
SILENCE_IS_SUSPECT = 1.1  # we send, the peer was heard before and is silent now
SILENCE_WAS_FLOW = 5.0  # heard within this time before: there was a flow
SUSPECT_AGAIN, SUSPECT_AGAIN_MAX = 1.0, 30.0  # between such questions while they are answered; doubled each time
TOLD_WITHIN = 1.05  # of a steady flow the pump tells so often at least: each half second, when a packet comes by
TRIAL = 3.0  # of a way that answers pings while data does not come: so long the relay carries as well
TRIAL_PROOF = 0.9  # data came by the relay, and again after that time, and none by the way on trial
TRIAL_PROOFS = 3  # so often it was told by then: a packet each second may lose two copies by chance
COPY_DUE = 0.3  # a copy by the way on trial may come so much later than the relay's
TRIAL_AGAIN, TRIAL_AGAIN_MAX = 10.0, 300.0  # between trials that proved nothing; doubled each time
DATA_OWED_WITHIN = 12.0  # KEEPALIVE_TIMEOUT (WireGuard paper §6.5) and some slack
QUESTION_AFTER = 11.2  # the keepalive may be lost: ask inside the tunnel; a sparse flow may begin its wait so late
QUESTIONS, QUESTION_GAP = 3, 0.4  # as many, so far apart or 2 round trips, before nobody's answer counts as the proof
SHUNNED_FIRST, SHUNNED_MAX = 30.0, 600.0  # a way that carries no data is not used; doubled when it happens again
CALLS_BY_SERVER_AT_ONCE = 2  # when a relay cannot be reached; the server takes 5 at once and one in 5 s
CALL_BY_SERVER_AGAIN = 30.0  # of one peer, while its relay cannot be reached
SHUNNED_FORGOTTEN = 600.0  # after the end of that
SHUNNED_KEPT = 32
FULL_SIZE = 1280 + 32  # UDP payload of a full packet of the tunnel: its MTU and WireGuard's header and tag
SIZE_AGAIN = 30.0  # between pings of full size to the way in use
SIZE_LOSSES = 4  # so many of them are lost while small ones are answered: too large for the way
SIZE_PINGS = 8  # then it stays unknown
SIZE_PONG_DUE_MIN = 0.25
PONG_DUE_MIN, PONG_DUE_FACTOR = 0.12, 3.0  # a suspect path answers within max(MIN, FACTOR x latency), or loses trust
CONFIRM_GAP = 2.0  # between checks because paths were lost
RESTUN_WITHOUT_UDP = 5.0  # while active and no STUN server answers: a lost packet, or a network that may recover
SIDE_KEPT_IDLE = 180.0  # a side socket without traffic: most NATs have forgotten it by then (RFC 4787 §4.3)
MAP_CHECK_SPREAD = 10.0  # all nodes hear of a new DERP map at once: who is well looks at it within that time
HOME_CHECK_AFTER, HOME_CHECK_SPREAD = 1.0, 1.0  # home's connection ended and has not come back: another may be better
HOME_TOLD_AFTER = 0.15  # the only relay there is: peers may use it before the first check, if that takes longer
PINGS_OUTSTANDING = 65536
"""Over this many the oldest are forgotten."""
