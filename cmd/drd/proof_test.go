package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drd-project/drd/internal/proof"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/seal"
	"github.com/drd-project/drd/internal/storage/dir"
)

// drilled writes the record of a drill that was over so long ago, signed with a key of the script's.
func drilled(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 6)
	ago, err := time.ParseDuration(args[4])
	ts.Check(err)
	signer, err := seal.LoadSigner(ts.MkAbs(args[5]))
	ts.Check(err)
	bucket, err := dir.Open(ts.MkAbs(args[0]), dir.Options{})
	ts.Check(err)
	r, err := repo.Open(bucket, "prod")
	ts.Check(err)
	rec := proofRecord(ts, r, args, time.Now().UTC().Add(-ago))
	_, _, err = proof.Store(context.Background(), r, rec, signer)
	ts.Check(err)
}

func proofRecord(ts *testscript.TestScript, r *repo.Repository, args []string, at time.Time) *proof.Record {
	id, err := repo.ParseID(args[1])
	ts.Check(err)
	manifest := sha256.Sum256([]byte(ts.ReadFile(args[0] + "/" + r.ManifestKey(id))))
	d := proof.Drill{
		Snapshot: args[1], ManifestSHA256: hex.EncodeToString(manifest[:]), CapturedAt: id.Time, Revision: id.Revision,
		Level: proof.Level(args[2]), Outcome: proof.Outcome(args[3]), Started: at,
	}
	if d.Outcome != proof.Passed {
		d.Cause = "hashkv: 1 instead of 2"
	}
	return &proof.Record{
		Kind: proof.RecordKind, Format: proof.RecordFormat, ID: proof.NewID(at, "node-1"), Cluster: r.Cluster(), Host: "node-1", Trigger: proof.TriggerCommand,
		Target:  proof.Target{Name: "primary", Location: r.Bucket().Location()},
		Started: at, Ended: at, Drills: []proof.Drill{d}, Drd: repo.Build{Version: "test"},
	}
}
