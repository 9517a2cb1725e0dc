//go:build systemd

package systemd

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drd-project/drd/test/planted"
	"github.com/drd-project/drd/test/servers"
)

// nodePolicy is what docs/s3.md says that a node needs which does not prune, with what drd check looks at.
const nodePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":["arn:aws:s3:::prod-backups","arn:aws:s3:::prod-backups/*"],"Action":[
	"s3:PutObject","s3:GetObject","s3:ListBucket","s3:AbortMultipartUpload","s3:ListBucketMultipartUploads","s3:ListMultipartUploadParts",
	"s3:PutObjectRetention","s3:GetBucketObjectLockConfiguration","s3:GetLifecycleConfiguration","s3:GetBucketVersioning"]}]}`

const storeUnit = `[Service]
Environment=MINIO_BROWSER=off MINIO_UPDATE=off MINIO_CI_CD=1 MINIO_ROOT_USER=%s MINIO_ROOT_PASSWORD=%s MINIO_REGION=%s MINIO_KMS_SECRET_KEY=%s
ExecStart=/usr/local/bin/minio server --quiet --address 127.0.0.1:9000 --certs-dir /etc/minio/certs /srv/minio
[Install]
WantedBy=multi-user.target
`

// installStore has MinIO in the machine, with TLS, the bucket prod-backups with Object Lock, and a session of its own STS as the keys
// of the node: /root/s3-credentials. Bucket and session are made on the host, where there is a client.
func (n *node) installStore() {
	n.t.Helper()
	kms := "drd-test:" + base64.StdEncoding.EncodeToString(planted.Bytes()) // MinIO seals its own records with it
	minio := servers.StartMinIO(n.t, servers.WithCA(n.ca), servers.WithEnv("MINIO_KMS_SECRET_KEY="+kms))
	minio.CreateBucket(n.t, "prod-backups", true)
	n.install(minio.Session(n.t, nodePolicy), "/root/s3-credentials", 0o600)
	data := dataDir(n.t, minio.PID())
	minio.Stop()

	n.run("mkdir -p /srv")
	command(n.t, "cp", "-a", data, filepath.Join(n.root, "srv/minio"))
	n.install(servers.Tool(n.t, "minio"), "/usr/local/bin/minio", 0o755)
	n.certificate("/etc/minio/certs/public.crt", "/etc/minio/certs/private.key")
	n.write("/etc/systemd/system/minio.service", fmt.Sprintf(storeUnit, minio.AccessKey, minio.SecretKey, minio.Region, kms), 0o600)
}

// dataDir is the last argument of a MinIO that runs.
func dataDir(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	return args[len(args)-1]
}
