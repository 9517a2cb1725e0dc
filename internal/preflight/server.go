package preflight

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/hello"
)

// checkEtcdServers asks each member for its certificate and its time. The cluster's turns and the snapshots' names go by the
// clocks of all nodes. That a member does not answer is said by what needs it. shown are all certificates, by member.
func checkEtcdServers(ctx context.Context, cfg config.Etcd, members []etcd.Member) (shown [][]*x509.Certificate, checks []Check) {
	var own *tls.Certificate
	if cfg.CertFile != "" { // a member logs each client that shows none
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, nil // connecting has said so
		}
		own = &pair
	}
	var first *x509.Certificate
	var where, whose string
	var furthest time.Duration
	for _, address := range serversOf(cfg.Endpoints, members) {
		a, err := hello.Ask(ctx, address+"/version", own, nil)
		if err != nil {
			continue
		}
		if len(a.Certificates) > 0 {
			shown = append(shown, a.Certificates)
			if c := a.Certificates[0]; first == nil || c.NotAfter.Before(first.NotAfter) {
				first, where = c, "that of "+address
			}
		}
		if ahead, err := a.Ahead(time.Now()); err == nil && (whose == "" || cmp.Compare(ahead.Abs(), furthest.Abs()) > 0) {
			furthest, whose = ahead, address
		}
	}
	if first != nil {
		checks = append(checks, checkValidity("certificate etcd server", where, first, time.Now()))
	}
	if whose != "" {
		checks = append(checks, compareClocks("clock etcd", whose, furthest))
	}
	return shown, checks
}

// serversOf are the configured endpoints and what the members say of themselves, each once. Sockets of the file system
// have no other clock than ours.
func serversOf(endpoints []string, members []etcd.Member) []string {
	var all []string
	add := func(text string) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" {
			return
		}
		if address := u.Scheme + "://" + u.Host; !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	for _, e := range endpoints {
		add(e)
	}
	for _, m := range members {
		for _, e := range m.ClientURLs {
			add(e)
		}
	}
	return all
}
