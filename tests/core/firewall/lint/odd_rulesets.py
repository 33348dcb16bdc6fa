"""Random rule sets with the less usual parts of nft and iptables, over the packets of `kernel.py`."""

from tests.core.firewall.lint.rulesets import IN_BY, NETS4, NETS6, IptablesRules, NftRules

MARKS = ("ct mark", "meta mark and 0xf", "meta mark or 0x4", "meta mark xor 0x1", "0x15", "ct mark or 0x4")


class OddNftRules(NftRules):
    """Maps and sets with intervals, several base chains to a hook, raw chains, statements that end a rule."""

    def text(self) -> str:
        text = super().text()
        if self.draw.random() < 0.4:  # beside it a table of another family, before or behind
            other = NftRules(self.draw.randrange(1 << 30))
            text += other.text().replace(" t {", " beside {", 1)
        if self.draw.random() < 0.25:
            text += self._nat()
        return text

    def _nat(self) -> str:
        port = self.draw.choice(("41641", "22", "53", "443"))
        way = self.draw.choice(("redirect to :443", "accept", "return", "redirect"))
        hook = self.draw.choice(("prerouting", "output"))
        return f"""table inet turned {{
chain c {{
type nat hook {hook} priority -100; policy accept;
{self.draw.choice(("udp", "tcp"))} dport {port} {way}
}}
}}
"""

    def _sets(self) -> list[str]:
        draw = self.draw
        got = super()._sets()
        nets, own = (NETS6, "2600:5::1") if self.family == "ip6" else (NETS4[1:4], "5.5.0.1")
        kind = "ipv6_addr" if self.family == "ip6" else "ipv4_addr"
        to = [f"jump {name}" for name in self.subs] or ["drop"]
        one, other = draw.sample(nets, 2)
        got += [f"set odd {{ type {kind}; flags interval; auto-merge; elements = {{ {one}, {own} }}; }}"]
        got += [
            f"map whence {{ type {kind} : verdict; flags interval; "
            f"elements = {{ {other} : {draw.choice(('accept', 'drop', *to))} }}; }}"
        ]
        got += [
            f"map numbers {{ type inet_service : verdict; flags interval; "
            f"elements = {{ 1-1023 : {draw.choice(to)}, 3000-4000 : accept, 41641 : {draw.choice(to)} }}; }}"
        ]
        got += [f"set seen {{ type {kind}; size 65535; flags dynamic; }}"]
        got += ['set ways { type ifname; elements = { "eth1", "lo" }; }']
        got += [
            "set pair { type inet_proto . inet_service; flags interval; elements = { udp . 41641, tcp . 1-1000 }; }"
        ]
        got += ["set marks { type mark; elements = { 0x5, 0x15 }; }"]
        return got

    def _vmap(self, below: list[str]) -> str:
        draw = self.draw
        to = f"{draw.choice(('jump', 'goto'))} {draw.choice(below)}" if below else "drop"
        address = "ip6 saddr" if self.family == "ip6" else "ip saddr"
        return draw.choice(
            (
                super()._vmap(below),
                f"{address} vmap @whence",
                "udp dport vmap @numbers",
                "tcp sport vmap @numbers",
                f"ct state . meta l4proto vmap {{ new . udp : {to}, established . tcp : accept }}",
                f"meta mark vmap {{ 0x5 : {to}, 0x10-0x1f : accept }}",
                f"ct direction vmap {{ original : continue, reply : {to} }}",
                f"iifname . udp dport vmap {{ eth0 . 41641 : {to}, lo . 22 : accept }}",
            )
        )

    def _match(self) -> str:
        draw = self.draw
        if draw.random() < 0.45:
            return super()._match()
        op = draw.choice(("", "", "!= "))
        address = "ip6" if self.family == "ip6" else "ip"
        ways = [
            f"{address} {draw.choice(('saddr', 'daddr'))} {op}@odd",
            f"iifname {op}@ways",
            f"meta l4proto . th dport {op}@pair",
            f"meta mark {op}@marks",
            f"ct mark {draw.choice(('0', '!= 0', '0x7', 'and 0x4 == 0x4'))}",
            f"meta skuid {op}{draw.choice(('0', '1-1000', 'root'))}",
            "limit rate 100000/second burst 100000 packets",
            f"ct state {draw.choice(('untracked', '!= { new, untracked }', 'new,invalid', '!= new'))}",
            f"ct status {draw.choice(('assured', 'seen-reply', 'dnat', 'snat,dnat', 'expected'))}",
            f"update @seen {{ {address} {draw.choice(('saddr', 'daddr'))} }}",
            f"add @seen {{ {address} saddr limit rate over 100000/second }}",
            f"{address} {'dscp' if address == 'ip' else 'hoplimit'} set {'cs1' if address == 'ip' else '60'}",
            "tcp option maxseg size set 1200",
            f"meta mark set {draw.choice(MARKS)}",
            f"ct mark set {draw.choice(('meta mark', '0x7', 'ct mark or 0x4'))}",
            "meta mark set udp dport map { 22 : 0x5, 41641 : 0x15 }",
            f"fib saddr type {op}{draw.choice(('local', 'unicast'))}",
            f"iifname {op}{draw.choice(IN_BY)} {draw.choice(('udp', 'tcp'))} dport >= 1000",
            f"meta protocol {draw.choice(('ip', 'ip6'))}",
            f"udp length {op}{draw.choice(('1-100', '> 5'))}",
            f"ip6 nexthdr {op}udp" if address == "ip6" else f"ip ttl {op}64",
            f"tcp flags {draw.choice(('syn / syn,ack', 'syn,ack / syn,ack', '{ syn, ack, syn | ack }', 'fin'))}",
            "exthdr rt exists" if self.family != "ip" else "ip frag-off & 0x1fff != 0",
            "iif lo",
            f'oifname {op}"eth*"',
            f"{draw.choice(('udp', 'tcp'))} dport {op}{{ 1-1023, 3478, 41000-42000 }}",
        ]
        return draw.choice(ways)

    def _verdict(self, below: list[str], guarded: bool) -> str:
        if self.draw.random() < 0.12:
            return self.draw.choice(("notrack", "counter", 'log prefix "x"', "limit rate 100000/second drop", "return"))
        return super()._verdict(below, guarded)

    def _common(self) -> list[str]:
        if self.draw.random() < 0.3:
            return ["ct state vmap { established : accept, related : accept, untracked : continue, invalid : drop }"]
        return super()._common()


class OddIptablesRules(IptablesRules):
    """raw, security and nat tables, limits, marks of connections, owners, several tables that drop."""

    def text(self) -> str:
        text, draw = super().text(), self.draw
        if "*raw" not in text and draw.random() < 0.4:
            text += "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
            for chain in ("PREROUTING", "OUTPUT"):
                match = self._match(chain)
                text += f"-A {chain} {match} -j {draw.choice(('CT --notrack', 'DROP', 'ACCEPT', 'RETURN'))}\n"
            text += "COMMIT\n"
        if "*mangle" not in text and draw.random() < 0.5:
            text += "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
            ways = ("CONNMARK --save-mark", "CONNMARK --restore-mark", "MARK --set-xmark 0x5/0xffffffff", "DROP")
            for chain in ("PREROUTING", "INPUT", "OUTPUT"):
                text += f"-A {chain} {self._match(chain)} -j {draw.choice(ways)}\n"
            text += "COMMIT\n"
        if draw.random() < 0.25:
            text += "*security\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
            text += "".join(f"-A {chain} {self._match(chain)} -j DROP\n" for chain in ("INPUT", "OUTPUT")) + "COMMIT\n"
        if draw.random() < 0.3:
            ways = ("REDIRECT --to-ports 443", "ACCEPT", "RETURN", "REDIRECT --to-ports 22")
            text += (
                "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
            )
            text += (
                f"-A PREROUTING -p udp -m udp --dport {draw.choice(('41641', '53'))} -j {draw.choice(ways)}\nCOMMIT\n"
            )
        return text

    def _match(self, chain: str) -> str:
        draw = self.draw
        if draw.random() < 0.6:
            return super()._match(chain)
        no = draw.choice(("", "", "! "))
        ways = [
            "-m limit --limit 10000/sec --limit-burst 10000",
            "-m hashlimit --hashlimit-above 10000/sec --hashlimit-mode srcip --hashlimit-name x",
            "-m statistic --mode random --probability 0.5",
            f"-m connmark {no}--mark 0x5/0x5",
            "-m conntrack --ctdir REPLY",
            f"-m conntrack {no}--ctstatus ASSURED",
            "-m conntrack --ctproto udp",
            f"-m addrtype {no}--src-type LOCAL",
            "-m addrtype --dst-type LOCAL --limit-iface-in" if chain == "INPUT" else "-m length --length 0:1500",
            f"-p udp -m udp {no}--sport 1024:65535",
            f"-p tcp -m multiport {no}--ports 22,443,3000:4000",
            "-m u32 --u32 0>>22&0x3C@0=0x1" if self.version == 4 else "-m rt --rt-type 0",
            f"-m iprange {no}--dst-range {'5.5.0.1-5.5.0.9' if self.version == 4 else '2600:5::1-2600:5::9'}",
            f"-m mark {no}--mark 0x1/0x1",
            f"-p udp -m conntrack {no}--ctstate INVALID,NEW,UNTRACKED",
            f"-p {'icmp' if self.version == 4 else 'ipv6-icmp'}",
            "-m recent --name r --rcheck --seconds 60",
        ]
        if chain in ("INPUT", "PREROUTING"):
            ways += [f"{no}-i et+", f"{no}-i eth+"]
            ways += ["-m rpfilter --invert", "-m rpfilter --loose"] if chain == "PREROUTING" else []
        if chain == "OUTPUT":
            ways += [f"-m owner {no}--gid-owner 0", f"-m owner {no}--socket-exists", f"-m owner {no}--uid-owner 1-1000"]
        return draw.choice(ways)
