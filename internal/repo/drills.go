package repo

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/storage"
)

// What drills leave behind lies beside the snapshots, two objects for each record: <cluster>/drills/<id>.json and a
// signature over it, <id>.json.sig. What a record says is package proof's business; here it is bytes under a key.
const (
	drillsDir            = "drills"
	drillSuffix          = ".json"
	drillSignatureSuffix = drillSuffix + ".sig"
)

const (
	// MaxDrillRecord bounds a drill record in bytes.
	MaxDrillRecord = 256 << 10
	// maxHost bounds the host in a record's ID, in bytes: a DNS label's length.
	maxHost = 63
)

var drillPattern = regexp.MustCompile(`^([0-9]{8}T[0-9]{6}Z)-([a-z0-9.-]{1,63})$`)

// DrillID names a record that a host writes at a time, such as 20261122T033000Z-node1. Of the host's name, characters
// other than a-z, 0-9, dot and hyphen become hyphens, and 63 are kept.
func DrillID(at time.Time, host string) string {
	clean := strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(host))
	if clean == "" {
		clean = "unknown"
	}
	return at.UTC().Format(idTime) + "-" + clean[:min(len(clean), maxHost)]
}

// ParseDrillID reads the name of a record. It is strict: DrillID renders what it accepts identically.
func ParseDrillID(id string) (at time.Time, host string, err error) {
	part := drillPattern.FindStringSubmatch(id)
	if part == nil {
		return time.Time{}, "", fmt.Errorf("%.80q is not the ID of a drill record (YYYYMMDDThhmmssZ-<host>)", id)
	}
	if at, err = time.Parse(idTime, part[1]); err != nil {
		return time.Time{}, "", fmt.Errorf("drill record ID %q: no such time", id)
	}
	return at, part[2], nil
}

// DrillKey is the key of a drill record, DrillSignatureKey that of the signature over it.
func (r *Repository) DrillKey(id string) string { return r.drills() + id + drillSuffix }

// DrillSignatureKey is the key of the signature over a drill record.
func (r *Repository) DrillSignatureKey(id string) string {
	return r.drills() + id + drillSignatureSuffix
}

func (r *Repository) drills() string { return r.cluster + "/" + drillsDir + "/" }

// PutDrill writes the signature, then the record, and reads both back. It may be called again after any failure, with
// the same bytes. Other bytes under one of the keys are an error wrapping ErrConflict: the ID is taken, nothing was
// overwritten, and the record can be signed again under another.
func (r *Repository) PutDrill(ctx context.Context, id string, record, signature []byte) error {
	if _, _, err := ParseDrillID(id); err != nil {
		return err
	}
	if len(record) == 0 || len(record) > MaxDrillRecord || len(signature) == 0 || len(signature) > maxSignature {
		return fmt.Errorf("store drill record %s: it has %d bytes, its signature %d", id, len(record), len(signature))
	}
	err := r.putSmall(ctx, r.DrillSignatureKey(id), signature)
	if err == nil {
		err = r.putSmall(ctx, r.DrillKey(id), record)
	}
	if err != nil {
		return fmt.Errorf("store drill record %s in %s: %w", id, r.bucket.Location(), err)
	}
	return nil
}

// Drills lists the IDs of the newest most records, oldest first, of those dated from since on and not later than until;
// more says whether there are older ones in that time. Records without a signature are among them. What else lies
// below drills/ is passed over.
func (r *Repository) Drills(ctx context.Context, since, until time.Time, most int) (ids []string, more bool, err error) {
	for o, err := range r.bucket.List(ctx, r.drills()) {
		if err != nil {
			return nil, false, fmt.Errorf("list drill records of %s in %s: %w", r.cluster, r.bucket.Location(), err)
		}
		id, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, r.drills()), drillSuffix)
		at, _, err := ParseDrillID(id)
		if !ok || err != nil || at.Before(since) || at.After(until) {
			continue
		}
		if ids = append(ids, id); len(ids) >= 2*most+1 { // keys come in order of time: only the last ones matter
			ids, more = slices.Delete(ids, 0, len(ids)-most), true
		}
	}
	if len(ids) > most {
		ids, more = ids[len(ids)-most:], true
	}
	return ids, more, nil
}

// Drill reads a record and its signature. A record that is too large wraps ErrDamaged; a signature that is not there is
// empty.
func (r *Repository) Drill(ctx context.Context, id string) (record, signature []byte, err error) {
	if record, err = r.readSmall(ctx, r.DrillKey(id), MaxDrillRecord); err != nil {
		return nil, nil, unlessTooLarge(err)
	}
	signature, err = r.readSmall(ctx, r.DrillSignatureKey(id), maxSignature)
	if errors.Is(err, storage.ErrNotExist) {
		return record, nil, nil
	}
	return record, signature, unlessTooLarge(err)
}

// unlessTooLarge turns an object that is larger than it may be into one that is damaged.
func unlessTooLarge(err error) error {
	if errors.Is(err, errTooLarge) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
