package preflight

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/etcd"
)

// askTimeout bounds one question of a server for its certificate and its time.
const askTimeout = 10 * time.Second

// answer is what any HTTP server tells about itself, whatever it says.
type answer struct {
	shown    []*x509.Certificate // its own first; none: no TLS
	ahead    time.Duration       // this machine's clock, of the server's
	clockErr error               // why ahead is not known
}

// ask sends a HEAD without credentials: also a refusal has a date. The dates of the certificate are all that is read of the
// answer, so it need not be trusted: an expired one would otherwise hide when it ended. own and proxy may be nil.
func ask(ctx context.Context, address string, own *tls.Certificate, proxy func(*http.Request) (*url.URL, error)) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return answer{}, err
	}
	settings := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if own != nil {
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	transport := &http.Transport{Proxy: proxy, TLSClientConfig: settings, DisableKeepAlives: true}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	took := time.Since(began)
	_ = resp.Body.Close() // of a HEAD, which has none
	var a answer
	if resp.TLS != nil {
		a.shown = resp.TLS.PeerCertificates
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		a.clockErr = errNoDate
		return a, nil
	}
	// The date is cut to the second, so that it is half a second old on average; and it was made on the way.
	a.ahead = began.Add(took / 2).Sub(date.Add(time.Second / 2))
	return a, nil
}

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
		a, err := ask(ctx, address+"/version", own, nil)
		if err != nil {
			continue
		}
		if len(a.shown) > 0 {
			shown = append(shown, a.shown)
			if c := a.shown[0]; first == nil || c.NotAfter.Before(first.NotAfter) {
				first, where = c, "that of "+address
			}
		}
		if a.clockErr == nil && (whose == "" || cmp.Compare(a.ahead.Abs(), furthest.Abs()) > 0) {
			furthest, whose = a.ahead, address
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
