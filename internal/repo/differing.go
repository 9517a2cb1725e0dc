package repo

// Differing are the live members whose hash differed from that of the snapshot, in hex. compared is false where none was compared.
func (m *Manifest) Differing() (members []string, compared bool) {
	for _, c := range m.Compared {
		if c.Result == ResultDiffers {
			members = append(members, c.Member)
		}
		compared = compared || c.Result != ResultNotCompared
	}
	return members, compared
}
