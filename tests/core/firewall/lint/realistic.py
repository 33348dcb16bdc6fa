"""Rule sets as people have them: a Debian workstation, Docker, Kubernetes, a bastion with sets and limits."""

DEBIAN = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state invalid counter drop comment "early drop of invalid packets"
    ct state { established, related } counter accept comment "accept all connections related to connections made by us"
    iif lo accept comment "accept loopback"
    iif != lo ip daddr 127.0.0.1/8 counter drop comment "drop connections to loopback not coming from loopback"
    iif != lo ip6 daddr ::1/128 counter drop comment "drop connections to loopback not coming from loopback"
    ip protocol icmp counter accept
    ip6 nexthdr icmpv6 counter accept
    tcp dport { 22, 443 } counter accept
    udp dport 50000 ip saddr { 5.5.0.0/16, 10.0.0.0/8 } counter accept
    counter
  }
  chain forward { type filter hook forward priority 0; policy drop; counter; }
  chain output { type filter hook output priority 0; policy accept; counter; }
}
"""

BASTION = """
table inet guard {
  set blocked { type ipv4_addr; flags interval; elements = { 5.5.9.0/24, 6.6.3.3 }; }
  set trusted6 { type ipv6_addr; flags interval; elements = { 2600:5::/112, fd00::/8 }; }
  map services { type inet_proto . inet_service : verdict; elements = { tcp . 22 : jump ssh, udp . 41641 : accept,
    tcp . 443 : accept }; }
  set seen { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 1m; }
  chain ssh {
    ip saddr 10.0.0.0/8 accept
    ip6 saddr @trusted6 accept
    log prefix "ssh: " drop
  }
  chain early {
    type filter hook prerouting priority -300; policy accept;
    ip saddr @blocked drop
    fib saddr . iif oif missing drop
    udp dport 53 notrack
  }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop, untracked : continue }
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    ip protocol tcp tcp flags & (fin|syn|rst|ack) != syn ct state new drop
    update @seen { ip saddr }
    meta l4proto . th dport vmap @services
    udp dport 53 accept
    pkttype host limit rate 5/second counter reject with icmpx type admin-prohibited
  }
  chain output {
    type filter hook output priority filter; policy drop;
    ct state established,related accept
    meta skuid 0 udp sport 41641 accept
    tcp dport { 80, 443 } accept
    udp dport { 53, 3478 } accept
    oifname "lo" accept
  }
}
"""

DOCKER = """
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i docker0 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 22,443 -m conntrack --ctstate NEW -j ACCEPT
-A INPUT -p udp -m udp --dport 41641 -s 5.5.0.0/16 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""

KUBERNETES = """
*mangle
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web" -m tcp --dport 30080 -j KUBE-SVC-A
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https" -m tcp --dport 443 -j KUBE-SVC-A
-A KUBE-SERVICES -m comment --comment "must be the last rule" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-MARK-MASQ
-A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A
-A KUBE-SVC-A -j KUBE-SEP-B
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.1.2:6443
-A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination 10.244.1.3:6443
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:cali-INPUT - [0:0]
-A INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "external portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FIREWALL -m comment --comment "marked packets" -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-SERVICES -d 10.0.7.7/32 -p tcp -m comment --comment "default/none has no endpoints" -m tcp --dport 80 -j REJECT
-A cali-INPUT -p udp -m multiport --dports 4789 -m addrtype --dst-type LOCAL -j ACCEPT
-A cali-INPUT -i cali+ -g KUBE-FIREWALL
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -p udp -m udp --dport 53 -j DROP
COMMIT
"""
NFT = {"debian": DEBIAN, "bastion": BASTION}
IPTABLES = {"docker": DOCKER, "kubernetes": KUBERNETES}
