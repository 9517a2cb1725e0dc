package prune

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/retention"
	"github.com/drd-project/drd/internal/storage"
)

// addUploads decides on writes that the store has begun and not finished: parts of them take space that no listing of
// objects shows. hold says why nothing may go. A store that does not tell, or not to these credentials, is
// no reason not to prune the rest.
func (p *Plan) addUploads(ctx context.Context, hold string) error {
	for _, prefix := range []string{p.repo.Prefix(), p.repo.SegmentsPrefix("")} {
		uploads, err := storage.Incomplete(ctx, p.repo.Bucket(), prefix)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			p.Notes = append(p.Notes, "unfinished uploads are not known: "+strings.ReplaceAll(err.Error(), "\n", "; "))
			return nil
		}
		for _, u := range uploads {
			p.Items = append(p.Items, newUpload(p.repo, u, hold, p.Made))
		}
	}
	return nil
}

func newUpload(r *repo.Repository, u storage.Upload, hold string, now time.Time) Item {
	item := Item{Kind: KindUpload, Upload: u, Fate: retention.Keep}
	id, _, snapshot := r.ParseKey(u.Key)
	_, _, segment := r.ParseSegmentKey(u.Key) // its name has no time
	item.ID = id
	switch {
	case !snapshot && !segment:
		item.Reasons = []string{"not drd's"}
	case now.Sub(u.Started) <= retention.LitterAge || snapshot && now.Sub(id.Time) <= retention.LitterAge || u.Started.IsZero():
		item.Reasons = []string{"upload in progress"}
	case hold != "":
		item.Reasons = []string{hold}
	default:
		item.Fate = retention.Delete
		item.Reasons = []string{fmt.Sprintf("litter: an upload that was begun %s and not finished", u.Started.Format(time.RFC3339))}
	}
	return item
}
