package etcd

import (
	"context"
	"regexp"
	"strconv"
)

// The alarms that etcd knows.
const (
	AlarmNoSpace = "NOSPACE" // the database has reached its quota: the cluster takes no writes
	AlarmCorrupt = "CORRUPT" // etcd itself found that members do not hold the same data
)

// Alarm is one that is raised and was not disarmed. It belongs to the cluster: every member tells it.
type Alarm struct {
	Member uint64 // ID of the member that it is about; 0 where etcd names none
	Type   string // AlarmNoSpace, AlarmCorrupt, or a later etcd's own word
}

// Alarms asks the member which alarms are raised.
//
// It takes them from the status. etcd's own request for the list goes through raft even to read: it is an entry in every
// member's log, and has no answer without a quorum.
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	return s.Alarms(), nil
}

var (
	alarmMember = regexp.MustCompile(`\bmemberID:\s*(\d+)`)
	alarmType   = regexp.MustCompile(`\balarm:\s*([A-Z]+)`)
)

// Alarms are those among the Errors that tell of one. etcd writes them there as the text of a message,
// "memberID:10276657743932975437 alarm:NOSPACE", with a changing number of spaces.
func (s Status) Alarms() []Alarm {
	var out []Alarm
	for _, text := range s.Errors {
		kind := alarmType.FindStringSubmatch(text)
		if kind == nil {
			continue
		}
		a := Alarm{Type: kind[1]}
		if member := alarmMember.FindStringSubmatch(text); member != nil {
			if id, err := strconv.ParseUint(member[1], 10, 64); err == nil {
				a.Member = id
			}
		}
		out = append(out, a)
	}
	return out
}
