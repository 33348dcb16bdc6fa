"""ipsets of each sort that the kernel here has, and random iptables rules about them."""

from random import Random

IPSETS = """
create hosts hash:ip family inet
add hosts 5.5.0.2
add hosts 10.0.7.7
create masked hash:ip family inet netmask 24
add masked 10.0.7.1
create nets hash:net family inet
add nets 5.5.0.0/16
add nets 5.5.8.0/22 nomatch
add nets 10.0.0.0/24
add nets 10.0.0.2/32 nomatch
create services hash:ip,port family inet
add services 5.5.0.2,udp:41641
add services 10.0.0.2,tcp:443
add services 10.0.0.2,udp:53-3478
create netports hash:net,port family inet
add netports 5.5.0.0/16,udp:22
add netports 5.5.9.0/24,udp:22 nomatch
add netports 10.0.0.0/8,tcp:80
create three hash:ip,port,ip family inet
add three 5.5.0.2,udp:41641,5.5.0.1
create ways hash:net,iface family inet
add ways 0.0.0.0/0,eth1
add ways 10.0.0.0/8,eth0
create ports bitmap:port range 1-60000
add ports 443
add ports 40000-50000
create range bitmap:ip range 5.5.0.0-5.5.255.255
add range 5.5.9.9
create six hash:net family inet6
add six 2600:5::/112
add six fd00:5::2 nomatch
create all list:set size 8
add all hosts
add all range
"""
NAMES = {
    4: ("hosts", "masked", "nets", "services", "netports", "three", "ways", "ports", "range", "all"),
    6: ("six", "ports", "all"),
}


def with_ipsets(draw: Random, version: int) -> str:
    """iptables-restore's text."""
    policy = draw.choice(("ACCEPT", "DROP"))
    lines = ["*filter", f":INPUT {policy} [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    lines.append("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
    for _ in range(draw.randrange(2, 7)):
        chain = draw.choice(("INPUT", "INPUT", "OUTPUT"))
        sides = ",".join(draw.choices(("src", "dst"), k=draw.choice((1, 2, 2, 3))))
        match = f"{draw.choice(('', '', '! '))}--match-set {draw.choice(NAMES[version])} {sides}"
        lines.append(f"-A {chain} -m set {match} -j {draw.choice(('ACCEPT', 'DROP'))}")
    return "\n".join([*lines, "COMMIT"]) + "\n"
