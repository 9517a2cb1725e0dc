package hello

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAsk(t *testing.T) {
	hour := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
	}
	for name, c := range map[string]struct {
		start  func(http.Handler) *httptest.Server
		answer http.HandlerFunc
		tls    bool
		ahead  time.Duration
		err    error
	}{
		"refused, with TLS": {httptest.NewTLSServer, hour, true, time.Hour, nil},
		"without TLS":       {httptest.NewServer, hour, false, time.Hour, nil},
		"no date":           {httptest.NewServer, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }, false, 0, ErrNoTime},
		"sent elsewhere": {httptest.NewServer, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1", http.StatusFound)
		}, false, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.start(c.answer)
			defer s.Close()
			a, err := Ask(t.Context(), s.URL, nil, nil)
			if err != nil || (len(a.Certificates) > 0) != c.tls {
				t.Fatalf("%+v, %v", a, err)
			}
			ahead, err := a.Ahead(time.Now())
			if !errors.Is(err, c.err) || (ahead-c.ahead).Abs() > time.Minute {
				t.Errorf("ahead %s, %v", ahead, err)
			}
		})
	}
	if _, err := Ask(t.Context(), "http://127.0.0.1:1", nil, nil); err == nil {
		t.Error("nobody answers")
	}
}

func TestCertificates(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	c, err := Certificates(t.Context(), strings.TrimPrefix(s.URL, "https://"), nil)
	if err != nil || !c[0].Equal(s.Certificate()) {
		t.Errorf("%v", err)
	}
	if _, err := Certificates(t.Context(), "127.0.0.1:1", nil); err == nil {
		t.Error("nobody answers")
	}
}
