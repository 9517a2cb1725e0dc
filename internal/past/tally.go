package past

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/drd-project/drd/internal/kube"
)

// Other is what counts as one when there are too many names to tell apart.
const Other = "(other)"

// maxNames bounds how many names a table tells apart.
const maxNames = 999

// Count is how many keys met which fate.
type Count struct {
	Name    string `json:"name"` // as KeyText writes it
	Created int64  `json:"created"`
	Changed int64  `json:"changed"`
	Deleted int64  `json:"deleted"`
	// Fate is that of the namespace itself, "" when it is what it was.
	Fate Fate `json:"fate,omitempty"`
}

// Tally counts differences by resource and by namespace. The zero value is ready.
type Tally struct {
	total                 Count
	resources, namespaces map[string]*Count
}

// Add counts one difference. A key that is no object of Kubernetes counts by its first two segments.
func (t *Tally) Add(d *Difference) {
	if t.resources == nil {
		t.resources, t.namespaces = make(map[string]*Count), make(map[string]*Count)
	}
	t.total.add(d.Fate)
	ref, ok := kube.ParseKey(d.Last.Key)
	if !ok {
		count(t.resources, prefixOf(d.Last.Key)).add(d.Fate)
		return
	}
	count(t.resources, ref.Resource).add(d.Fate)
	if ref.Resource == "namespaces" {
		count(t.namespaces, ref.Name).Fate = d.Fate
	} else if ref.Namespace != "" {
		count(t.namespaces, ref.Namespace).add(d.Fate)
	}
}

// prefixOf is "/registry/ranges/" of "/registry/ranges/serviceips", "app/" of "app/x", and "" of a key without a slash.
func prefixOf(key []byte) string {
	end, slashes := 0, 0
	for i, b := range key {
		if b != '/' || i == 0 {
			continue
		}
		if end, slashes = i+1, slashes+1; slashes == 2 {
			break
		}
	}
	if end == 0 {
		return "(no prefix)"
	}
	return string(key[:end])
}

// count finds the count of a name that is a part of a key, and may be any bytes.
func count(in map[string]*Count, name string) *Count {
	name = KeyText([]byte(name))
	c, ok := in[name]
	if !ok && len(in) >= maxNames {
		name = Other
		c, ok = in[name]
	}
	if !ok {
		c = &Count{Name: name}
		in[name] = c
	}
	return c
}

func (c *Count) add(f Fate) {
	switch f {
	case Created:
		c.Created++
	case Changed:
		c.Changed++
	case Deleted:
		c.Deleted++
	}
}

// Total counts all.
func (t *Tally) Total() Count { return t.total }

// Resources are the counts by resource, most deletions first.
func (t *Tally) Resources() []Count { return sorted(t.resources) }

// Namespaces are the counts by namespace: those first that were deleted themselves, then most deletions first.
func (t *Tally) Namespaces() []Count { return sorted(t.namespaces) }

func sorted(in map[string]*Count) []Count {
	out := []Count{}
	for _, c := range in {
		out = append(out, *c)
	}
	gone := func(c Count) int {
		if c.Fate == Deleted {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(gone(a), gone(b)), cmp.Compare(b.Deleted, a.Deleted), cmp.Compare(b.Changed+b.Created, a.Changed+a.Created), strings.Compare(a.Name, b.Name))
	})
	return out
}

// WriteText writes two tables of at most rows lines each, 0 being all: the namespaces, then the resources.
func (t *Tally) WriteText(w io.Writer, rows int) error {
	for _, table := range []struct {
		head   string
		counts []Count
	}{{"NAMESPACE", t.Namespaces()}, {"RESOURCE", t.Resources()}} {
		if len(table.counts) == 0 {
			continue
		}
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(out, "\n%s\tCREATED\tCHANGED\tDELETED\n", table.head)
		for i, c := range table.counts {
			if rows > 0 && i == rows {
				fmt.Fprintf(out, "and %d more\n", len(table.counts)-rows)
				break
			}
			fmt.Fprintf(out, "%s\t%d\t%d\t%d", c.Name, c.Created, c.Changed, c.Deleted)
			if c.Fate != "" {
				fmt.Fprintf(out, "\tthe namespace itself was %s", strings.ToUpper(string(c.Fate)))
			}
			fmt.Fprintln(out)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}
