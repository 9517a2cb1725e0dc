package advisory

// newest is the latest minor version that the table knows of.
var newest = release{3, 7, 0}

// bugs is the table, by number. Sources: CHANGELOG-3.4.md to CHANGELOG-3.7.md of etcd, and the issues themselves; for
// #14648 the announcement of its range to the Kubernetes developers of November 2022. Where a fix has not been released
// for a minor version, the span goes on to the first release of the next one that has it.
func bugs() []bug {
	return []bug{
		{
			"etcd-io/etcd#11613", "a defragmentation that follows an interrupted one can bring back data of the interrupted one's file",
			[]span{{release{3, 4, 0}, release{3, 4, 4}}},
		},
		{
			"etcd-io/etcd#11651", "with authentication on, members can diverge when one is restarted",
			[]span{{release{3, 4, 0}, release{3, 4, 8}}},
		},
		{
			"etcd-io/etcd#13766", "a member that crashes under load can come back with other data than the rest",
			[]span{{release{3, 5, 0}, release{3, 5, 3}}},
		},
		{
			"etcd-io/etcd#14370", "a cluster of one member can lose a confirmed write when it crashes",
			[]span{{release{3, 4, 0}, release{3, 4, 21}}, {release{3, 5, 0}, release{3, 5, 5}}},
		},
		{
			"etcd-io/etcd#14648", "with authentication on, a member that starts from another one's snapshot can diverge",
			[]span{{release{3, 4, 20}, release{3, 4, 22}}, {release{3, 5, 5}, release{3, 5, 6}}},
		},
		{
			"etcd-io/etcd#14685", "a member that crashes during a defragmentation can apply writes twice and diverge",
			[]span{{release{3, 5, 0}, release{3, 5, 6}}},
		},
		{
			"etcd-io/etcd#17158", "a request can still see a user, role or lease that the request before it deleted",
			[]span{{release{3, 5, 0}, release{3, 5, 12}}},
		},
		{
			"etcd-io/etcd#17780", "the revision can go backwards when a member crashes during a compaction",
			[]span{{release{3, 4, 0}, release{3, 4, 32}}, {release{3, 5, 0}, release{3, 5, 14}}},
		},
		{
			"etcd-io/etcd#18667", "a transaction that reads at a given revision can fail on one member and succeed on the others, which then diverge",
			[]span{{release{3, 4, 0}, release{3, 7, 0}}},
		},
		{
			"etcd-io/etcd#18679", "a transaction that fails half-way can be kept in part by the member that it crashes",
			[]span{{release{3, 5, 0}, release{3, 5, 17}}},
		},
		{
			"etcd-io/etcd#20271", "a defragmentation while a member receives a snapshot from the leader can spoil its database",
			[]span{
				{release{3, 4, 0}, release{3, 4, 38}},
				{release{3, 5, 0}, release{3, 5, 23}},
				{release{3, 6, 0}, release{3, 6, 5}},
			},
		},
		{
			"etcd-io/etcd#20967", "members that were removed long ago can come back with an upgrade to 3.6",
			[]span{{release{3, 5, 0}, release{3, 5, 26}}},
		},
	}
}
