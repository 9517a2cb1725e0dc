package proof

// Measured is the newest drill that passed and timed how long the restored etcd took to answer, and the record that tells of
// it; nil: there is none, as far as records were read. One of an archived revision comes first where archived is set, one of a
// snapshot where it is not; the other kind is better than none.
func (h *History) Measured(archived bool) (*Record, *Drill) {
	var rec, otherRec *Record
	var drill, other *Drill
	for r, d := range h.drills() {
		switch {
		case d.Outcome != Passed || d.RecoverySeconds <= 0:
		case d.Level.Archive() == archived:
			rec, drill = r, d
		default:
			otherRec, other = r, d
		}
	}
	if drill == nil {
		return otherRec, other
	}
	return rec, drill
}
