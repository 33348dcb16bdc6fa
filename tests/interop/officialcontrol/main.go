// The coordination server that Tailscale's own integration tests use, as a program:
//
//	control ADDRESS:PORT AUTH-KEY DERP-MAP-AS-JSON
//
// It speaks plain HTTP and forgets everything when it ends (tailscale: tstest/integration/testcontrol).
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: control ADDRESS:PORT AUTH-KEY DERP-MAP-AS-JSON")
	}
	address, authKey := os.Args[1], os.Args[2]
	var derpMap tailcfg.DERPMap
	if err := json.Unmarshal([]byte(os.Args[3]), &derpMap); err != nil {
		log.Fatalf("the DERP map: %v", err)
	}
	server := &testcontrol.Server{
		DERPMap:          &derpMap,
		RequireAuthKey:   authKey,
		ExplicitBaseURL:  "http://" + address,
		MagicDNSDomain:   "mesh.internal",
		DNSConfig:        &tailcfg.DNSConfig{Proxied: true, Domains: []string{"mesh.internal"}},
		AllNodesSameUser: true,
		AllOnline:        true,
	}
	log.Fatal(http.ListenAndServe(address, server))
}
