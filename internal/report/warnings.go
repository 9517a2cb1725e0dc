package report

import (
	"fmt"
	"slices"
)

// warning is what drills said that a person should look at, once for all that said it: what a cluster lacks, every drill of it finds.
type warning struct {
	text   string
	newest string // what the newest of them tried
	drills int
}

// warnings are those of all drills, in the order in which the newest drills said them.
func (r *Report) warnings() []warning {
	var all []warning
	for _, d := range r.Drills {
		for _, text := range d.Warnings {
			i := slices.IndexFunc(all, func(w warning) bool { return w.text == text })
			if i < 0 {
				i, all = len(all), append(all, warning{text: text, newest: d.Subject()})
			}
			all[i].drills++
		}
	}
	return all
}

func (w warning) of() string {
	if w.drills == 1 {
		return w.newest
	}
	return fmt.Sprintf("%s and %d more", w.newest, w.drills-1)
}
