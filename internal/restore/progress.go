package restore

// Progress is told how far a run is. Calls come from one goroutine at a time.
type Progress interface {
	// Step begins a step. total is in bytes, 0 when it is not known.
	Step(name string, total int64)
	// Add says that n more bytes of the current step are done.
	Add(n int64)
	// Notice is a sentence that a person should see at once, such as that one target failed and
	// the next is tried. The Result repeats it.
	Notice(text string)
}

type silent struct{}

func (silent) Step(string, int64) {}
func (silent) Add(int64)          {}
func (silent) Notice(string)      {}

// Names of the steps, in order. A run skips those that it has no use for.
const (
	StepSegments = "segments" // download those that lead to the point
	StepTell     = "tell"     // read which revision was there at a time
	StepFetch    = "fetch"    // download, decrypt, hash, write
	StepCheck    = "check"    // inspect and compare with the manifest
	StepReplay   = "replay"   // add the changes of the segments
	StepCut      = "cut"      // take away what came after the revision that was asked for
	StepCompare  = "compare"  // with what live members said
	StepMade     = "made"     // hand the store on to who asked for it
	StepEdit     = "edit"     // alarms, leases, versions, revision
	StepMember   = "member"   // wal, raft snapshot, membership
	StepConfirm  = "confirm"  // inspect what the edits made; hash or sync it meanwhile
	StepInstall  = "install"  // sync and give the final name
)
