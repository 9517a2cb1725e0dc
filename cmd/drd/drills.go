package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/audit"
	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/daemon"
	"github.com/drd-project/drd/internal/drill"
	"github.com/drd-project/drd/internal/members"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/survey"
	"github.com/drd-project/drd/internal/verify"
)

// drillSetup is what runs of drills need, from the configuration or from flags.
type drillSetup struct {
	targets       []drill.Target
	trust         *seal.Trust
	ownOnly       bool         // trust is the key of this host, because nobody said whom to trust
	signer        *seal.Signer // nil: no records, because of unsigned
	unsigned      string
	keys          verify.Keys
	members       *members.Log // nil: what live members said is not known here
	scratch       string
	stateDir      string // "": no lock, and no records that wait
	etcdBinary    string
	memoryLimit   int64
	takeLastRoom  bool // no etcd runs here that needs what a drill leaves
	coverWithin   time.Duration
	runsPerPeriod int
	log           *slog.Logger
}

// runner wipes what killed drills left in the scratch directory.
func (s drillSetup) runner() (*verify.Runner, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this host in drill records: %w", err)
	}
	etcd := selfScratch()
	etcd.Binary, etcd.MemoryLimit = s.etcdBinary, s.memoryLimit
	driller, err := drill.New(drill.Config{
		Host: host, Build: build(), Trust: s.trust, ScratchDir: s.scratch, Keys: s.keys.Find, SegmentKeys: s.keys.FindSegment,
		Inspector: selfInspector(), Survey: selfSurvey(), Etcd: etcd, Triples: s.triples(), TakeLastRoom: s.takeLastRoom,
	})
	if err != nil {
		return nil, err
	}
	var canOpen func(*repo.Manifest) bool
	var canOpenSegment func(*repo.Segment) bool
	if len(s.targets) > 0 {
		canOpen, canOpenSegment = s.keys.CanOpen(s.targets[0].Repo), s.keys.CanOpenSegment(s.targets[0].Repo)
	}
	return verify.New(verify.Config{
		Host: host, Targets: s.targets, Driller: driller, Trust: s.trust, OwnOnly: s.ownOnly, Signer: s.signer, StateDir: s.stateDir,
		CoverWithin: s.coverWithin, RunsPerPeriod: s.runsPerPeriod, CanOpen: canOpen, CanOpenSegment: canOpenSegment, Build: build(), Log: s.log,
	})
}

// triples are what live members said of themselves, for a copy of their data.
func (s drillSetup) triples() func(revision, compact int64) []drill.Triple {
	if s.members == nil {
		return nil
	}
	return func(revision, compact int64) []drill.Triple {
		var out []drill.Triple
		since := s.members.Since() // a restore in place begins the log anew: what was captured before is of another history
		for _, t := range s.members.Covering(revision, compact) {
			out = append(out, drill.Triple{
				Member: t.Member, Revision: t.Revision, CompactRevision: t.CompactRevision, Hash: t.Hash, Seen: t.Seen,
				EtcdClusterID: t.EtcdClusterID, Since: since,
			})
		}
		return out
	}
}

// selfSurvey surveys with this very program as the child process, as selfInspector does.
func selfSurvey() survey.Reader {
	return survey.Reader{Program: "/proc/self/exe", Command: []string{"drd", surveyCommand}}
}

// drillSetup is what the daemon's drills need on this host.
func (n *node) drillSetup(log *slog.Logger) (drillSetup, error) {
	s := drillSetup{
		trust: n.trust, signer: n.signer, members: n.members, keys: verify.Keys{Ring: n.keys, Identities: fileIdentities(n.cfg, n.note)},
		log: log,
	}
	for _, t := range n.targets {
		s.targets = append(s.targets, drill.Target{Name: t.Name, Repo: t.Repo})
	}
	return s, s.configure(n.cfg)
}

// configure fills in what the section verify says.
func (s *drillSetup) configure(cfg *config.Config) error {
	ticks, err := cfg.DrillTicks()
	if err != nil {
		return usageError{err}
	}
	s.ownOnly = cfg.Trust.File == ""
	s.scratch, s.stateDir = cfg.Scratch(), cfg.StateDir
	s.etcdBinary, s.memoryLimit = cfg.Verify.EtcdBinary, cfg.Verify.MemoryLimit
	s.coverWithin = cmp.Or(cfg.Verify.CoverWithin, daemon.DefaultCover)
	if ticks != nil {
		s.runsPerPeriod = max(1, int(s.coverWithin/daemon.LongestGap(ticks, time.Now())))
	}
	return nil
}

// fileIdentities reads verify.identity_file afresh each time, and asks nobody for a passphrase. nil where there is none. note
// keeps in the audit log that they are read.
func fileIdentities(cfg *config.Config, note func(audit.Event)) func() ([]age.Identity, error) {
	if cfg.Verify.IdentityFile == "" {
		return nil
	}
	return auditedIdentities(note, cfg.Verify.IdentityFile, func() ([]age.Identity, error) {
		return seal.LoadIdentities([]string{cfg.Verify.IdentityFile}, nil)
	})
}
