package restore

import (
	"fmt"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
)

// describe writes down what was found. Lists are never nil: they are [] in JSON.
func describe(f *finding, req Request, dest destination, now time.Time) *Plan {
	chosen := f.candidates[0]
	m := chosen.entry.Manifest
	p := &Plan{
		Cluster:    m.Cluster,
		Source:     chosen.origin(),
		Fallbacks:  []Origin{},
		Snapshot:   describePoint(chosen.entry, now),
		Signature:  describeSignature(chosen.entry),
		Changes:    describeChanges(m, req),
		Newer:      newerThan(chosen.entry, f.all, req.InsecureSkipSignature),
		Leftovers:  append([]string{}, dest.leftovers...),
		Warnings:   append([]string{}, f.warnings...),
		request:    req,
		candidates: f.candidates,
		aim:        f.aim,
		looks:      f.looks,
		known:      knownHashes(f.all, m.Timeline),
	}
	for _, c := range f.candidates[1:] {
		p.Fallbacks = append(p.Fallbacks, c.origin())
	}
	p.Wanted, p.Archive = describeWanted(f.aim, req), describeArchive(f.chain)
	p.Destination = Destination{InScratch: req.InScratch, Output: req.Output, DataDir: req.DataDir, WALDir: req.WALDir}
	if req.DataDir != "" {
		p.Destination.Name = req.Name
		p.Destination.InitialCluster = req.InitialCluster
		p.Destination.InitialClusterToken = req.InitialClusterToken
		p.Destination.PeerURLs = req.PeerURLs
	}
	p.warnAboutThis(chosen.entry, now)
	return p
}

func describePoint(e *repo.Entry, now time.Time) Point {
	m := e.Manifest
	return Point{
		ID: m.ID, CapturedAt: m.CaptureStart, AgeSeconds: int64(now.Sub(m.CaptureStart) / time.Second),
		Timeline: m.Timeline, Member: m.Member.Name,
		Revision: m.Revision, CompactRevision: m.CompactRevision, Keys: m.Keys,
		DBSize: m.DBSize, ObjectSize: m.Object.Size,
		EtcdVersion: m.EtcdVersion, StorageVersion: m.StorageVersion, AuthEnabled: m.AuthEnabled,
		ManifestSHA256: e.Digest,
	}
}

func describeSignature(e *repo.Entry) Signature {
	if e.Signer == (seal.Signed{}) {
		return Signature{State: SignatureSkipped}
	}
	return Signature{State: SignatureVerified, Principal: e.Signer.Principal, Fingerprint: e.Signer.Fingerprint}
}

func describeChanges(m *repo.Manifest, req Request) Changes {
	c := Changes{
		Bump:            req.Bump.String(),
		ClearAlarms:     append([]string{}, m.Alarms...),
		LeaseTTLSeconds: int64(req.LeaseTTL / time.Second),
		ForEtcd:         req.ForEtcd,
	}
	if req.Bump.fixed {
		c.BumpBy = &req.Bump.by
	}
	return c
}

func newerThan(chosen *repo.Entry, all *repo.Catalogue, insecure bool) []NewerPoint {
	newer := []NewerPoint{}
	for i := range all.Entries {
		if e := &all.Entries[i]; e.ID.Compare(chosen.ID) > 0 {
			newer = append(newer, NewerPoint{ID: e.ID.String(), State: string(e.State), Restorable: e.Restorable(insecure)})
		}
	}
	return newer
}

// warnAboutThis says what is odd about the snapshot itself and about the place it goes to.
func (p *Plan) warnAboutThis(e *repo.Entry, now time.Time) {
	m := e.Manifest
	if p.Signature.State == SignatureSkipped {
		p.warn("nobody trusted vouches for this snapshot: its signature is not checked")
	}
	for _, c := range m.Compared {
		if c.Result == repo.ResultDiffers {
			p.warn("when it was taken, member %s had other content than this snapshot: the members had diverged", c.Member)
		}
	}
	for _, alarm := range m.Alarms {
		if strings.HasPrefix(alarm, "CORRUPT") {
			p.warn("the cluster had raised %q when this was taken: compare what you restore with another source of truth", alarm)
		}
	}
	if m.AuthEnabled {
		p.warn("etcd authentication is on in this snapshot: its root password will be needed")
	}
	if m.CaptureStart.After(now) {
		p.warn("the snapshot is dated after this machine's clock")
	}
	for _, dir := range p.Leftovers {
		p.warn("%s is left from a restore that was killed; once no restore runs, remove it: rm -r %s", dir, dir)
	}
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, repo.Printable(fmt.Sprintf(format, args...)))
}
