"""Random rule sets of nft and iptables, over the addresses, ports and interfaces of `kernel.py`.

Matches are drawn so that most probes get somewhere.
"""

from __future__ import annotations

from random import Random

NETS4 = ("5.5.0.2", "5.5.0.0/16", "5.5.8.0/22", "10.0.0.0/8", "6.6.3.3", "6.0.0.0/7", "10.0.7.0/24", "0.0.0.0/1")
OWN4 = ("5.5.0.1", "10.0.0.1", "6.6.0.1", "5.0.0.0/8", "10.0.0.0/16")
NETS6 = ("2600:5::2", "2600:5::/64", "2600::/16", "fd00::/8", "2600:6::/48")
PORTS = ("22", "53", "80", "443", "3478", "41641", "50000", "1-1023", "3000-45000", "32768-60999", "443-3478")
IN_BY = ("lo", "eth0", "eth1", '"eth*"', "{ eth1, lo }")
FLAGS = ("syn", "& (fin|syn|rst|ack) == syn", "& (syn|ack) == (syn|ack)", "!= syn", "== ack")
STATES = ("new", "established", "established,related", "invalid", "new,untracked", "established,new")


class NftRules:
    """One rule set as nft's text."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.subs = [f"sub{n}" for n in range(self.draw.randrange(4))]

    def text(self) -> str:
        family = self.draw.choice(("inet", "inet", "inet", "ip", "ip6"))
        self.family = family
        lines = [f"table {family} t {{"]
        lines += self._sets()
        for n, name in enumerate(self.subs):
            lines += [f"chain {name} {{", *self._rules(self.subs[n + 1 :], 4), "}"]
        bases = [("input", p) for p in self.draw.sample((-10, 0, 20), self.draw.randrange(1, 3))]
        bases += [("output", 0)] * self.draw.randrange(2) + [("prerouting", -300)] * (self.draw.random() < 0.2)
        bases += [("postrouting", 50)] * (self.draw.random() < 0.15)
        for n, (hook, priority) in enumerate(bases):
            policy = self.draw.choice(("accept", "accept", "drop"))
            head = f"type filter hook {hook} priority {priority}; policy {policy};"
            lines += [f"chain base{n} {{", head, *self._common(), *self._rules(self.subs, 7), "}"]
        return "\n".join([*lines, "}"]) + "\n"

    def _common(self) -> list[str]:
        usual = ["ct state established,related accept", "ct state vmap { established : accept, invalid : drop }"]
        return [self.draw.choice(usual)] if self.draw.random() < 0.6 else []

    def _sets(self) -> list[str]:
        got = []
        if self.family != "ip6":
            some = ", ".join(self.draw.sample(("5.5.0.2", "5.5.8.0/22", "10.0.0.0/24", "6.6.3.0-6.6.3.9"), 2))
            got += [f"set s4 {{ type ipv4_addr; flags interval; elements = {{ {some} }}; }}"]
            got += ["set empty { type ipv4_addr; }"]
            pair = f"5.5.0.0/16 . {self.draw.choice(PORTS[:7])}, 10.0.0.2 . 1-30000"
            got += [f"set pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ {pair} }}; }}"]
        one, other = self.draw.sample(PORTS[:7], 2)
        got += [f"map ports {{ type inet_service : verdict; elements = {{ {one} : accept, {other} : drop }}; }}"]
        return got

    def _rules(self, below: list[str], most: int) -> list[str]:
        return [self._rule(below) for _ in range(self.draw.randrange(1, most))]

    def _rule(self, below: list[str]) -> str:
        if self.draw.random() < 0.12:
            return self._vmap(below)
        matches = [self._match() for _ in range(self.draw.choice((0, 1, 1, 1, 2, 2, 3)))]
        if not matches and self.draw.random() < 0.7:
            matches = [self._match()]
        if self.draw.random() < 0.3:
            matches.append("counter")
        return " ".join([*matches, self._verdict(below, bool(matches))])

    def _verdict(self, below: list[str], guarded: bool) -> str:
        ways = [
            "accept",
            "accept",
            "drop",
            "return",
            "meta mark set 0x5",
            "meta mark set meta mark or 0x10",
            "continue",
        ]
        ways += ["reject"] if guarded and self.family != "netdev" else []
        ways += [f"{how} {name}" for name in below for how in ("jump", "jump", "goto")]
        return self.draw.choice(ways)

    def _vmap(self, below: list[str]) -> str:
        to = f"jump {self.draw.choice(below)}" if below else "drop"
        ways = [
            "th dport vmap @ports",
            f"meta l4proto vmap {{ udp : {to}, tcp : accept }}",
            f"iifname vmap {{ eth0 : {to}, lo : accept }}",
            f"udp dport vmap {{ 41641 : accept, 1-1023 : {to} }}",
            f"ct state vmap {{ established : accept, new : {to} }}",
            f"meta l4proto . th dport vmap {{ udp . 41641 : accept, tcp . 22 : {to} }}",
        ]
        if self.family != "ip6":
            ways.append(f"ip saddr . udp dport vmap {{ 5.5.0.2 . 41641 : accept, 10.0.0.0/8 . 1-5000 : {to} }}")
        return self._guard(self.draw.choice(ways))

    @staticmethod
    def _guard(rule: str) -> str:
        return f"meta l4proto {{ tcp, udp }} {rule}" if rule.startswith("th ") else rule

    def _match(self) -> str:
        draw = self.draw
        op = draw.choice(("", "", "", "!= "))
        side = draw.choice(("sport", "dport", "dport"))
        ways = [
            f"{draw.choice(('udp', 'udp', 'tcp'))} {side} {op}{draw.choice(PORTS)}",
            f"{draw.choice(('udp', 'tcp'))} {side} {op}{{ {', '.join(draw.sample(PORTS[:7], 3))} }}",
            f"meta l4proto {op}{draw.choice(('udp', 'tcp', 'icmp', '{ tcp, udp }'))}",
            f"meta l4proto {{ tcp, udp }} th {side} {draw.choice(('<', '>=', '!='))} {draw.choice(PORTS[:7])}",
            f"iifname {op}{draw.choice(IN_BY)}",
            f"oifname {op}{draw.choice(IN_BY[1:4])}",
            f"ct state {draw.choice(STATES)}",
            f"ct state {{ {draw.choice(('new', 'established, related'))} }}",
            "ct state != established",
            f"ct direction {draw.choice(('original', 'reply'))}",
            f"tcp flags {draw.choice(FLAGS)}",
            f"meta mark {draw.choice(('0x5', '0', '!= 0x5', 'and 0x10 == 0x10', 'and 0xf != 0x5'))}",
            "fib daddr type local",
            "meta pkttype { broadcast, multicast }",
            f"icmp type {op}echo-request" if self.family != "ip6" else "icmpv6 type nd-neighbor-solicit",
            f"meta nfproto {draw.choice(('ipv4', 'ipv6'))}" if self.family == "inet" else "meta pkttype host",
        ]
        if self.family != "ip6":
            ways += [
                f"ip saddr {op}{draw.choice(NETS4 + OWN4)}",
                f"ip daddr {op}{draw.choice(OWN4 + NETS4)}",
                f"ip saddr {op}{{ {', '.join(draw.sample(NETS4[:1] + NETS4[2:5], 2))} }}",
                f"ip saddr {op}@s4",
                f"ip saddr {op}@empty",
                "ip saddr . udp dport @pairs",
                f"ip protocol {op}{draw.choice(('udp', 'tcp'))}",
                "ip saddr 5.5.0.2-10.0.0.5",
            ]
        if self.family != "ip":
            ways += [
                f"ip6 saddr {op}{draw.choice(NETS6)}",
                f"ip6 daddr {op}{{ 2600:5::1, fd00::/8 }}",
                f"ip6 nexthdr {op}{draw.choice(('udp', 'tcp'))}",
            ]
        return draw.choice(ways)


class IptablesRules:
    """One rule set as iptables-restore's text, of one family."""

    def __init__(self, seed: int, version: int) -> None:
        self.draw = Random(seed)
        self.version = version
        self.subs = [f"SUB{n}" for n in range(self.draw.randrange(4))]

    def text(self) -> str:
        policy = [self.draw.choice(("ACCEPT", "ACCEPT", "DROP")) for _ in range(2)]
        lines = ["*filter", f":INPUT {policy[0]} [0:0]", ":FORWARD ACCEPT [0:0]", f":OUTPUT {policy[1]} [0:0]"]
        lines += [f":{name} - [0:0]" for name in self.subs]
        for chain in ("INPUT", "OUTPUT"):
            if self.draw.random() < 0.6:
                lines.append(f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
            lines += self._rules(chain, self.subs, 7 if chain == "INPUT" else 3)
        for n, name in enumerate(self.subs):
            lines += self._rules(name, self.subs[n + 1 :], 5)
        lines.append("COMMIT")
        if self.draw.random() < 0.4:
            lines += ["*mangle", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
            lines += [*self._rules("PREROUTING", [], 3), "-A PREROUTING -p udp -j MARK --set-xmark 0x5/0x5", "COMMIT"]
        if self.draw.random() < 0.2:
            lines += ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
            lines += ["-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack", "COMMIT"]
        return "\n".join(lines) + "\n"

    def _rules(self, chain: str, below: list[str], most: int) -> list[str]:
        return [f"-A {chain} {self._rule(chain, below)}" for _ in range(self.draw.randrange(1, most))]

    def _rule(self, chain: str, below: list[str]) -> str:
        draw = self.draw
        ways = ["-j ACCEPT", "-j ACCEPT", "-j DROP", "-j RETURN", '-j LOG --log-prefix "a b: "']
        ways += [f"{how} {name}" for name in below for how in ("-j", "-j", "-g")]
        ways += ["-j REJECT"] if not below and chain in ("INPUT", "OUTPUT") else []
        ways += ["-j MARK --set-xmark 0x5/0xff"] if chain == "PREROUTING" else []
        matches = [self._match(chain) for _ in range(draw.choice((1, 1, 1, 2)))]
        for option in ("-p ", "-s ", "-d ", "-i ", "-o "):  # each once to a rule
            if sum(option in match for match in matches) > 1:
                matches.pop()
        return " ".join([*dict.fromkeys(matches), draw.choice(ways)])

    def _match(self, chain: str) -> str:
        draw = self.draw
        no = draw.choice(("", "", "", "! "))
        nets, own = (NETS4, OWN4) if self.version == 4 else (NETS6, ("2600:5::1", "fd00::/8"))
        transport = draw.choice(("udp", "udp", "tcp"))
        port = draw.choice(PORTS).replace("-", ":")
        ports = ",".join(p.replace("-", ":") for p in draw.sample(PORTS[:7], 3))
        ways = [
            f"-p {transport} -m {transport} {no}--{draw.choice(('sport', 'dport', 'dport'))} {port}",
            f"-p {transport} -m multiport {no}--{draw.choice(('sports', 'dports', 'ports'))} {ports}",
            f"{no}-s {draw.choice(nets)}",
            f"{no}-d {draw.choice(own)}",
            f"-m conntrack {no}--ctstate {draw.choice(('NEW', 'RELATED,ESTABLISHED', 'INVALID', 'NEW,UNTRACKED'))}",
            f"-m state --state {draw.choice(('NEW', 'ESTABLISHED'))}",
            f"-m addrtype {no}--dst-type LOCAL",
            f"-m mark {no}--mark {draw.choice(('0x5', '0x5/0xff', '0x0'))}",
            f"-p tcp -m tcp {no}--tcp-flags FIN,SYN,RST,ACK SYN",
            f"-p tcp -m tcp {no}--syn",
            f"-m pkttype {no}--pkt-type {draw.choice(('unicast', 'multicast'))}",
            '-m comment --comment "it is \\"quoted\\" here"',
            f"{no}-p {transport}",
        ]
        if self.version == 4:
            ways += ["-m iprange --src-range 5.5.0.2-10.0.0.5", "-p icmp -m icmp --icmp-type 8"]
        device = draw.choice(("eth0", "eth1", "lo", "eth+"))
        if chain in ("INPUT", "PREROUTING"):
            ways.append(f"{no}-i {device}")
        if chain == "OUTPUT":
            ways += [f"{no}-o {device}", f"-m owner {no}--uid-owner {draw.choice((0, 1000))}"]
        return draw.choice(ways)
