package storage

import "context"

type anew struct{}

// Anew asks that what is opened comes from the store itself, whatever a bucket remembers of it.
func Anew(ctx context.Context) context.Context { return context.WithValue(ctx, anew{}, true) }

// IsAnew reports whether ctx asks for that. A bucket that remembers anything MUST heed it.
func IsAnew(ctx context.Context) bool { return ctx.Value(anew{}) != nil }
