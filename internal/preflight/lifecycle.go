package preflight

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/s3"
	"github.com/drd-project/drd/internal/storage"
)

const (
	day = 24 * time.Hour

	daysOfMonth, daysOfYear = 31, 366 // the longest ones
)

// keptFor is the age in days up to which retention keeps snapshots at least, when they are taken as they should be; 0: for ever.
// The rule last has no age.
func keptFor(r config.Retention) int {
	if r == (config.Retention{}) {
		return 0
	}
	within := int((r.KeepWithin + day - 1) / day)
	return max(1, within, (r.Hourly+23)/24, r.Daily, 7*r.Weekly, daysOfMonth*r.Monthly, daysOfYear*r.Yearly)
}

// lifecycle looks for rules of the bucket that take backups away. The store goes by age alone: it does not know which
// snapshot is the last good one.
func (b bucketCheck) lifecycle(ctx context.Context) []Check {
	name := b.name + " lifecycle"
	rules, err := b.bucket.Rules(ctx)
	if errors.Is(err, storage.ErrDenied) {
		return []Check{ok(name, "not known: the credentials may not ask (s3:GetLifecycleConfiguration)")}
	}
	if err != nil {
		return []Check{warn(name, err)}
	}
	kept := keptFor(b.settings.Retention)
	if archive := b.settings.Archive; archive.Enabled && kept > 0 {
		kept = max(kept, int((archive.KeepWithin+day-1)/day))
	}
	var checks []Check
	for _, r := range rules {
		if c, bad := checkRule(name, r, kept); bad {
			checks = append(checks, c)
		}
	}
	if checks == nil {
		return []Check{ok(name, "no rule of the bucket takes backups away")}
	}
	return checks
}

// checkRule says what a rule does to objects that are kept for so many days; 0 is for ever.
func checkRule(name string, r s3.Rule, kept int) (Check, bool) {
	const advice = "remove the rule for this prefix; drd prune applies the retention, and a rule that only ends incomplete uploads is fine"
	rule := fmt.Sprintf("rule %q", r.ID)
	if !r.Whole {
		rule += " (of a part of the objects)"
	}
	switch {
	case r.Cold != "":
		return fail(name, hint.New(fmt.Errorf("%s moves objects to %s after %d days: a restore from there cannot begin for hours", rule, r.Cold, r.ColdDays), "use STANDARD_IA or GLACIER_IR in the rule")), true
	case !r.Date.IsZero():
		return fail(name, hint.New(fmt.Errorf("%s deletes all objects at %s", rule, r.Date.UTC().Format(time.RFC3339)), advice)), true
	case r.Days > 0 && kept == 0:
		return fail(name, hint.New(fmt.Errorf("%s deletes objects after %d days, and without retention they are to be kept for ever", rule, r.Days), advice)), true
	case r.Days > 0 && r.Days <= kept:
		return fail(name, hint.New(fmt.Errorf("%s deletes objects after %d days, and retention keeps them for %d", rule, r.Days, kept), advice)), true
	case r.Days > 0:
		return warn(name, hint.New(fmt.Errorf("%s deletes objects after %d days, also the last good ones when no new ones come", rule, r.Days), advice)), true
	}
	return Check{}, false
}
