package restore

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/snapshot"
)

// compareFacts checks that the store is the one which the manifest describes. Every difference is named.
func compareFacts(m *repo.Manifest, f snapshot.Facts) error {
	var d differences
	d.number("revision", m.Revision, f.Revision)
	d.number("compact revision", m.CompactRevision, f.CompactRevision)
	d.number("keys", m.Keys, f.Keys)
	d.number("revisions stored", m.Revisions, f.Revisions)
	d.number("database size", m.DBSize, f.DBSize)
	d.number("hashkv", int64(m.HashKV.Hash), int64(f.HashKV))
	if err := errors.Join(d...); err != nil {
		return fmt.Errorf("snapshot %s is not what its manifest says: %w", m.ID, err)
	}
	return nil
}

// compareMade checks that a store which was brought to another revision holds what it should, and nothing else.
func compareMade(want snapshot.Hash, f snapshot.Facts) error {
	var d differences
	d.number("revision", want.Revision, f.Revision)
	d.number("compact revision", want.CompactRevision, f.CompactRevision)
	d.number("keys", want.Keys, f.Keys)
	d.number("revisions stored", want.Entries, f.Revisions)
	d.number("hashkv", int64(want.Value), int64(f.HashKV))
	if err := errors.Join(d...); err != nil {
		return fmt.Errorf("the store made at revision %d is not what it should be: %w", want.Revision, err)
	}
	return nil
}

// compareEdited checks that the edits did what they should and nothing else. After a bump the hash of the store is
// another one by design; what was there before must then hash as before. past is that hash, of the edited store at the
// revisions of the store before; without a bump it is not looked at.
func compareEdited(before, after snapshot.Facts, past snapshot.Hash, e edits) error {
	var d differences
	d.number("keys", before.Keys, after.Keys)
	d.number("revision", before.Revision+e.bump, after.Revision)
	if e.bump > 0 {
		d.number("compact revision", after.Revision, after.CompactRevision)
		d.number("revisions stored", before.Revisions+1, after.Revisions)
		d.number("hashkv before the bump", int64(before.HashKV), int64(past.Value))
	} else {
		d.number("compact revision", before.CompactRevision, after.CompactRevision)
		d.number("revisions stored", before.Revisions, after.Revisions)
		d.number("hashkv", int64(before.HashKV), int64(after.HashKV))
	}
	d.number("lease records", int64(before.Leases+len(e.leases)), int64(after.Leases))
	d.number("leases without a record", 0, int64(len(after.MissingLeases)))
	d.number("alarms", 0, int64(len(after.Alarms)))
	d.text("storage version", e.versions.storageOf(before), after.StorageVersion)
	d.text("cluster version", cmp.Or(e.versions.cluster, before.ClusterVersion), after.ClusterVersion)
	if err := errors.Join(d...); err != nil {
		return fmt.Errorf("the edited store is not what it should be: %w", err)
	}
	return nil
}

type differences []error

func (d *differences) number(what string, want, got int64) {
	if want != got {
		*d = append(*d, fmt.Errorf("%s: expected %d, found %d", what, want, got))
	}
}

func (d *differences) text(what, want, got string) {
	if want != got {
		*d = append(*d, fmt.Errorf("%s: expected %q, found %q", what, want, got))
	}
}
