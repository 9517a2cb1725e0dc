package members

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drd-project/drd/internal/etcd"
	"github.com/drd-project/drd/internal/repo"
)

// report puts together what this poll found and what the log knows.
func (p *poll) report() Report {
	entries, voters := p.cfg.Answers.all(), make(map[string]bool)
	for _, m := range p.peers {
		if !m.member.IsLearner {
			voters[m.id] = true
		}
	}
	diverged, compared := judge(entries, voters)
	r := Report{
		At: p.at, ClusterID: etcd.FormatID(p.status.ClusterID), Compaction: p.compaction,
		Diverged: diverged, Alarms: p.raised(),
	}
	for _, m := range p.peers {
		r.Members = append(r.Members, p.describe(m, entries, compared[m.id], len(voters)))
	}
	return r
}

// raised are the alarms that any member tells of, each once.
func (p *poll) raised() []etcd.Alarm {
	var out []etcd.Alarm
	for _, m := range p.peers {
		for _, a := range m.status.Alarms() {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// describe is one member of the report; compared is when it was last compared with another one.
func (p *poll) describe(m *peer, entries []entry, compared time.Time, voters int) Member {
	d := Member{
		ID: m.id, Name: oneLine(m.member.Name), Endpoint: oneLine(m.url), Version: oneLine(m.status.Version),
		Learner: m.member.IsLearner, Revision: m.status.Revision, DBSize: m.status.DBSize, NotCompared: m.why,
	}
	for _, e := range slices.Backward(entries) {
		if e.Member == m.id {
			d.Triple = &e.Triple
			break
		}
	}
	switch {
	case d.NotCompared != "" || p.at.Sub(compared) <= compareWithin:
	case voters == 1:
		d.NotCompared = "it is the only voting member"
	case d.Triple == nil:
		d.NotCompared = "since drd watches there was no compaction that it could be asked about without a scan"
	case compared.IsZero():
		d.NotCompared = "no other member answered for the same revisions"
	default:
		d.NotCompared = fmt.Sprintf("no new answers to compare since %s", compared.Format(time.RFC3339))
	}
	return d
}

// maxText bounds what is repeated of another machine's words, in bytes.
const maxText = 200

// oneLine makes a text of somebody else's fit to be shown: its first line, printable and bounded.
func oneLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return repo.Shorten(repo.Printable(first), maxText)
}
