package hint_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drd-project/drd/internal/hint"
)

func TestOf(t *testing.T) {
	plain := errors.New("disk full")
	inner := hint.New(plain, "free %d bytes", 7)
	for _, tc := range []struct {
		name string
		err  error
		want []string
	}{
		{"nil", nil, nil},
		{"none", plain, nil},
		{"direct", inner, []string{"free 7 bytes"}},
		{"wrapped", fmt.Errorf("write x: %w", inner), []string{"free 7 bytes"}},
		{"outermost first", hint.New(fmt.Errorf("save: %w", inner), "run drd check"), []string{"run drd check", "free 7 bytes"}},
		{"joined, once each", errors.Join(inner, plain, inner), []string{"free 7 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, hint.Of(tc.err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewKeepsTheError(t *testing.T) {
	base := errors.New("disk full")
	err := hint.New(base, "free some space")
	if err.Error() != "disk full" || !errors.Is(err, base) {
		t.Errorf("got %q, wraps base: %v", err, errors.Is(err, base))
	}
	if hint.New(nil, "x") != nil {
		t.Error("a hint made an error out of nil")
	}
}
