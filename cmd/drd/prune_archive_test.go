package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/dir"
)

// archived gives a repository segments that were stored 20 minutes ago: four of a timeline that ended four hours ago, and four that
// follow the older snapshot, the first three of which were merged.
func (g *given) archived(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	root := ts.MkAbs(args[0])
	bucket, err := dir.Open(root, dir.Options{})
	ts.Check(err)
	r, err := repo.Open(bucket, "prod")
	ts.Check(err)
	signer, err := seal.LoadSigner(filepath.Join(g.dir, "keys", "signing.key"))
	ts.Check(err)
	c, err := r.Catalogue(context.Background(), nil)
	ts.Check(err)
	base := c.Entries[0].Manifest
	now := time.Now().UTC().Truncate(time.Second)
	put := func(timeline string, first, last int64, ago, until time.Duration, merged *repo.Merged) string {
		s := segmentFor(base, timeline, first, last, now.Add(-ago), now.Add(-until), merged)
		payload := []byte(s.Plain.SHA256 + timeline)
		signed, err := repo.SignSegment(s, signer)
		ts.Check(err)
		ts.Check(r.PutSegment(context.Background(), signed, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }))
		return s.Name().Hash
	}
	merged := &repo.Merged{Last: strings.Repeat("12", 32)}
	from := base.Revision
	for i := range int64(4) {
		ago := 40*time.Minute - time.Duration(i)*time.Minute
		put("00000000000000ee", i+1, i+1, ago+4*time.Hour, ago+4*time.Hour-time.Minute, nil)
		if hash := put(base.Timeline, from+i+1, from+i+1, ago, ago-time.Minute, nil); i < 3 {
			merged.Segments = append(merged.Segments, hash)
		}
	}
	put(base.Timeline, from+1, from+3, 40*time.Minute, 37*time.Minute, merged)
	stored := now.Add(-20 * time.Minute)
	ts.Check(filepath.WalkDir(filepath.Join(root, "prod", "archive"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, stored, stored)
	}))
}

// segmentFor is a segment after a snapshot, with a plain content that its times make up.
func segmentFor(base *repo.Manifest, timeline string, first, last int64, from, to time.Time, merged *repo.Merged) *repo.Segment {
	plain := sha256.Sum256(fmt.Appendf(nil, "%s %s", from, to))
	s := &repo.Segment{
		Kind: repo.SegmentKind, Format: repo.SegmentFormat, Cluster: base.Cluster, EtcdClusterID: base.EtcdClusterID, Timeline: timeline,
		Member: base.Member, First: first, Last: last, Events: last - first + 1, From: from, To: to, CompactRevision: -1,
		LastRevisionSHA256: strings.Repeat("cd", 32), Plain: repo.SegmentPlain{SHA256: hex.EncodeToString(plain[:]), Size: 2048},
		Merged: merged, Drd: base.Drd,
	}
	payload := []byte(s.Plain.SHA256 + timeline)
	sum := sha256.Sum256(payload)
	s.Object = repo.Object{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(payload)), Envelope: "age-v1", Recipients: []string{"SHA256:x"}}
	s.Object.Name = s.Name().String() + ".zst.age"
	return s
}
