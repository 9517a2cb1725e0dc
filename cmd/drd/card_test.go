package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCardHoldsNoSecret: neither form of the card, nor what keygen says, has a line of a secret file, or anything of the credentials.
func TestCardHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "s3-credentials")
	if err := os.WriteFile(credentials, []byte("[default]\naws_access_key_id = PLANTEDACCESSKEY\naws_secret_access_key = planted-secret-key-of-the-bucket\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	keygen := func(args ...string) {
		t.Helper()
		if code := run(append([]string{"keygen", "--dir", dir}, args...), strings.NewReader(""), &stdout, &stderr); code != exitDone {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
	}
	keygen("--name", "cp-1")
	file := filepath.Join(dir, "config.yaml")
	text := "cluster: prod\netcd: {endpoints: [\"http://127.0.0.1:2379\"]}\nseal: {recipients_file: " + dir + "/recipient.txt}\nsigning: {key_file: " + dir + "/signing.key}\n" +
		"trust: {file: " + dir + "/allowed_signers}\ntargets: [{name: primary, s3: {bucket: prod-backups, region: eu-central-1, credentials_file: " + credentials + "}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	keygen("--only", "card", "--config", file)

	said := map[string]string{"standard output": stdout.String(), "standard error": stderr.String(), cardText: read(t, dir, cardText), cardPage: read(t, dir, cardPage)}
	for _, form := range []string{cardText, cardPage, "standard output"} {
		if !strings.Contains(said[form], "s3://prod-backups?region=eu-central-1") {
			t.Errorf("%s does not say where the backups are:\n%s", form, said[form])
		}
	}
	secrets := 0
	for _, name := range []string{"identity.txt", "signing.key", "s3-credentials"} {
		for line := range strings.Lines(read(t, dir, name)) {
			_, value, assigned := strings.Cut(line, " = ")
			if !assigned {
				value = line
			}
			if value = strings.TrimSpace(value); len(value) < 16 || strings.HasPrefix(value, "#") {
				continue
			}
			secrets++
			for form, content := range said {
				if strings.Contains(content, value) {
					t.Errorf("a line of %s is on %s", name, form)
				}
			}
		}
	}
	if secrets < 5 {
		t.Errorf("%d secret lines were looked for, which cannot be all", secrets)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
