package page_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/daemon/page"
	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/status"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files from what the code does now")
	shots  = flag.String("screenshots", "", "directory to keep the screenshots in")
)

var now = time.Date(2026, 11, 22, 10, 5, 7, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

// healthy is a cluster with two targets and an archive, of a week.
func healthy() page.View {
	took := 41.3
	r := &status.Report{
		Cluster: "prod-east", Time: now, Healthy: true, RecoveryPoint: ago(12 * time.Second), Snapshot: "20261122T060000Z-r48211-8e9e05c52164694d",
		Proof: proof.StateDataProved, ProofAt: ago(3 * time.Hour), Proved: ago(6*time.Hour + 34*time.Minute), RestoreSeconds: &took,
		NextSnapshot: ago(-115 * time.Minute), NextDrill: ago(-17 * time.Hour), Problems: []status.Problem{},
	}
	v := page.View{Report: r, Version: "1.0.0"}
	for i, name := range []string{"primary", "nas"} {
		t := page.Target{Looked: now.Add(-2 * time.Minute), Target: status.Target{
			Name: name, Location: []string{"s3://prod-backups/etcd at https://s3.eu-central-1.amazonaws.com", "file:///mnt/nas/drd"}[i], Readable: true,
			RecoveryPoint: ago(12 * time.Second), Restorable: 214, Oldest: ago(200 * 24 * time.Hour), Proved: ago(6*time.Hour + 34*time.Minute),
			ArchiveProved: &status.ArchiveProof{Revision: 48102, At: *ago(6 * time.Hour)},
		}}
		for k := range 28 {
			at := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC).Add(-time.Duration(k) * 6 * time.Hour)
			t.Snapshots = append(t.Snapshots, page.Mark{At: at, Good: true, Title: at.Format("20060102T150405Z") + "-r1-a1"})
		}
		for k := range 7 {
			at := time.Date(2026, 11, 22, 3, 31, 0, 0, time.UTC).Add(-time.Duration(k) * 24 * time.Hour)
			t.Drills = append(t.Drills, page.Mark{At: at, Good: true, Title: "drill passed"})
		}
		t.Archive = []page.Span{{From: now.Add(-9 * 24 * time.Hour), To: now.Add(-70 * time.Hour)}, {From: now.Add(-66 * time.Hour), To: now.Add(-12 * time.Second)}}
		r.Targets, v.Targets = append(r.Targets, t.Target), append(v.Targets, t)
	}
	return v
}

// stale is the same a day after the last snapshot, with a target that is away.
func stale() page.View {
	v := healthy()
	r := v.Report
	r.Healthy, r.RecoveryPoint, r.RestoreSeconds, r.NextDrill = false, ago(25*time.Hour), nil, nil
	r.Proof, r.ProofAt, r.Proved = proof.StateUnproven, nil, ago(30*time.Hour)
	r.Problems = []status.Problem{
		{Kind: status.KindRecovery, Text: "the newest snapshot is from 2026-11-21T09:05:07Z, and one is due every 6h0m0s", Hints: []string{"systemctl status drd, then drd check"}},
		{Kind: status.KindRecovery, Text: "target nas: open file:///mnt/nas/drd: it does not exist", Hints: []string{"mount the file system"}},
	}
	t := &v.Targets[0]
	t.RecoveryPoint, t.Waiting, t.WaitingSince, t.Lost, t.Proved = ago(25*time.Hour), 3, ago(19*time.Hour), 1, ago(30*time.Hour)
	t.Snapshots, t.Drills, t.Archive = t.Snapshots[4:], t.Drills[1:], []page.Span{{From: now.Add(-9 * 24 * time.Hour), To: now.Add(-25 * time.Hour)}}
	v.Targets[1] = page.Target{Looked: now.Add(-time.Minute), Target: status.Target{Name: "nas", Location: "file:///mnt/nas/drd"}, Snapshots: t.Snapshots, Drills: t.Drills}
	return v
}

// failed is a cluster whose newest snapshot did not pass its drill, with names and texts that an attacker has chosen.
func failed() page.View {
	v := healthy()
	r := v.Report
	r.Healthy, r.Proof, r.ProofAt = false, proof.StateFailed, ago(20*time.Minute)
	r.Problems = []status.Problem{{Kind: status.KindProof, Text: "target primary: the drill of 20261122T060000Z-r48211-8e9e05c52164694d FAILED, the last on 2026-11-22T09:45:07Z: </svg><script>alert(1)</script>\x1b[2J\u202e", Hints: []string{"drd verify ID tries again and shows every check"}}}
	t := &v.Targets[0]
	t.Failed, t.Other, t.Location = 1, 2, `s3://"><img src=x onerror=alert(1)>`
	due := 4
	t.Due = &due
	t.Drills = append(t.Drills, page.Mark{At: now.Add(-20 * time.Minute), Title: `drill of <b>"x"</b> failed`}, page.Mark{At: now.Add(-60 * time.Hour), Unknown: true, Title: "inconclusive"})
	t.Snapshots = append(t.Snapshots, page.Mark{At: now.Add(-40 * time.Hour), Title: "unsigned"})
	v.Refused = true
	return v
}

func states() map[string]page.View {
	return map[string]page.View{"healthy": healthy(), "stale": stale(), "failed": failed()}
}

func render(t *testing.T, v page.View) string {
	t.Helper()
	p, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.WriteHTML(&out, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	for name, v := range states() {
		t.Run(name, func(t *testing.T) {
			got, file := render(t, v), filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNothingFromElsewhere: whatever is in a name or an error, there is no script, and nothing is loaded from anywhere.
func TestNothingFromElsewhere(t *testing.T) {
	remote := regexp.MustCompile(`(?i)<script|<img|<link|<iframe|<object|<b>|\son[a-z]+=["']|javascript:|url\(|@import|src=[^x]|href="(?:[^/]|//)`)
	for name, v := range states() {
		html := render(t, v)
		if found := remote.FindString(html); found != "" {
			t.Errorf("%s: %q", name, found)
		}
		if strings.ContainsAny(html, "\x1b\u202e") {
			t.Errorf("%s: control characters", name)
		}
	}
	h := make(http.Header)
	page.Secure(h)
	policy := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'unsafe-inline';") || strings.Contains(policy, "script") || strings.Contains(policy, "http") {
		t.Errorf("the policy allows more: %s", policy)
	}
}

// TestAccessible: what the colours and the picture say is in words, too.
func TestAccessible(t *testing.T) {
	html := render(t, failed())
	for _, want := range []string{
		`<html lang="en">`, `role="img" aria-label="last 7 days: 29 snapshots, 1 of them unusable; 9 drills, 1 failed; the archive covers 163 of 168 hours"`,
		"AT RISK: recoverable to 2026-11-22T10:04:55Z (12s ago), drill FAILED 20m ago", "1 snapshot: drd list says which", "4 to prune", "2 unusable",
		`<title>at risk: prod-east - drd</title>`, "was refused",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("no %q", want)
		}
	}
	if n, m := strings.Count(html, "<svg "), strings.Count(html, `role="img" aria-label=`); n != 2 || m != n {
		t.Errorf("%d pictures, %d with a text", n, m)
	}
	for rest := range strings.SplitSeq(html, "<svg ") {
		svg, _, ok := strings.Cut(rest, "</svg>")
		if !ok || strings.HasPrefix(rest, "<!doctype") {
			continue
		}
		d := xml.NewDecoder(strings.NewReader("<svg " + svg + "</svg>"))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("the picture is not well formed: %v", err)
			}
		}
	}
}

// TestContrast: text can be told from what is behind it, by the ratio of 4.5 that WCAG asks for, in both palettes.
func TestContrast(t *testing.T) {
	html := render(t, healthy())
	palettes := regexp.MustCompile(`:root \{([^}]*--ink[^}]*)\}`).FindAllStringSubmatch(html, -1)
	if len(palettes) != 2 {
		t.Fatalf("%d palettes", len(palettes))
	}
	for _, palette := range palettes {
		colours := make(map[string]float64)
		for _, c := range regexp.MustCompile(`--([a-z]+): #([0-9a-f]+)`).FindAllStringSubmatch(palette[1], -1) {
			colours[c[1]] = luminance(t, c[2])
		}
		for _, text := range []string{"ink", "soft", "good", "bad"} {
			for _, behind := range []string{"paper", "pale"} {
				a, b := colours[text]+0.05, colours[behind]+0.05
				if ratio := max(a/b, b/a); ratio < 4.5 {
					t.Errorf("%s on %s: %.1f in %s", text, behind, ratio, palette[1])
				}
			}
		}
	}
}

// luminance is the relative one of WCAG, of a colour in hex.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = hex[:1] + hex[:1] + hex[1:2] + hex[1:2] + hex[2:] + hex[2:]
	}
	n, err := strconv.ParseUint(hex, 16, 24)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

// TestFarAwayMarks: nothing is drawn outside of the line, and many marks in one place are one.
func TestFarAwayMarks(t *testing.T) {
	v := healthy()
	tg := &v.Targets[0]
	tg.Drills, tg.Archive, tg.Snapshots = nil, nil, nil
	for i := range 5000 {
		tg.Snapshots = append(tg.Snapshots, page.Mark{At: now.Add(-time.Duration(i) * 10 * time.Minute), Good: true}, page.Mark{At: now.Add(time.Duration(i) * time.Hour), Good: true})
	}
	tg.Archive = []page.Span{{From: now.Add(-30 * 24 * time.Hour), To: now.Add(-20 * 24 * time.Hour)}, {From: now.Add(time.Hour), To: now.Add(2 * time.Hour)}, {From: now.Add(-time.Hour), To: now.Add(time.Hour)}}
	first, _, _ := strings.Cut(render(t, v), `<section aria-label="target nas">`)
	if n := strings.Count(first, `class="tick"`); n < 300 || n > 337 {
		t.Errorf("%d ticks", n)
	}
	if n := strings.Count(first, `class="band"`); n != 1 {
		t.Errorf("%d bars", n)
	}
	for _, x := range regexp.MustCompile(`class="tick" x1="(-?\d+)"`).FindAllStringSubmatch(first, -1) {
		var at int
		if _, err := fmt.Sscan(x[1], &at); err != nil || at < 0 || at > 672 {
			t.Errorf("a tick at %s", x[1])
		}
	}
}

// TestInBrowser shows the page in Chromium as the daemon serves it, light and dark: it must not be blank, and the two must differ.
func TestInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is needed for this test: ", err)
	}
	dir := *shots
	if dir == "" {
		dir = t.TempDir()
	}
	for name, v := range states() {
		html := render(t, v)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" && r.URL.Path != "/favicon.ico" {
				t.Errorf("%s: the browser asks for %s", name, r.URL)
			}
			page.Secure(w.Header())
			_, _ = io.WriteString(w, html)
		}))
		t.Cleanup(server.Close)
		light, dark := filepath.Join(dir, name+"-light.png"), filepath.Join(dir, name+"-dark.png")
		screenshot(t, browser, server.URL, light)
		screenshot(t, browser, server.URL, dark, "--blink-settings=preferredColorScheme=0")
		l, d := brightness(t, light), brightness(t, dark)
		if l < 200 || d > 60 {
			t.Errorf("%s: brightness %d in light, %d in dark", name, l, d)
		}
	}
}

func screenshot(t *testing.T, browser, url, to string, more ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1000,1100",
		"--user-data-dir=" + t.TempDir(), "--screenshot=" + to}, more...)
	out, err := exec.CommandContext(ctx, browser, append(args, url+"/")...).CombinedOutput()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
}

// brightness is the mean of a picture, 0 to 255. One that is of a single colour is an error.
func brightness(t *testing.T, file string) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	b, sum, colours := img.Bounds(), 0, make(map[uint32]bool)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			sum += int(r+g+bl) / 3 >> 8
			colours[r<<16^g<<8^bl] = true
		}
	}
	if len(colours) < 20 {
		t.Errorf("%s has %d colours", file, len(colours))
	}
	return sum / (b.Dx() * b.Dy())
}

// TestNewestDayIsWhole: right after midnight the name of the day stands at the right edge, and is not cut off there.
func TestNewestDayIsWhole(t *testing.T) {
	for hour, want := range map[int]string{0: `text-anchor="end">Sun 22<`, 12: `text-anchor="middle">Sun 22<`} {
		v := healthy()
		v.Report.Time = time.Date(2026, 11, 22, hour, 9, 0, 0, time.UTC)
		if got := render(t, v); !strings.Contains(got, want) {
			t.Errorf("at %d:09 the page has not %s", hour, want)
		}
	}
}
