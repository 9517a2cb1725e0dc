package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"filippo.io/age"

	"github.com/drd-project/drd/internal/config"
	"github.com/drd-project/drd/internal/hint"
	"github.com/drd-project/drd/internal/repo"
	"github.com/drd-project/drd/internal/scratch"
	"github.com/drd-project/drd/internal/snapshot"
	"github.com/drd-project/drd/internal/survey"
)

// Config is what the demo needs of the program that runs it.
type Config struct {
	// Parent is the directory in which the demo makes its own; "" is the system's temporary directory.
	// Some 300 MB must be free there, most of it for the logs of etcd.
	Parent string
	// Keep leaves the demo's directory.
	Keep bool
	// Out receives the story, in lines of 100 columns. Color marks headings, commands and equality there with the
	// sequences of a terminal.
	Out   io.Writer
	Color bool
	// Inspector and Survey read snapshot files, Etcd runs one for a drill, each in a child process.
	Inspector snapshot.Inspector
	Survey    survey.Reader
	Etcd      scratch.Launcher
	// Program is drd itself, which the second act runs as drd daemon: "/proc/self/exe" is the program that runs.
	Program string
	Build   repo.Build
	Log     *slog.Logger // of what goes wrong beside the story
}

// Run plays the demo. Any step that fails, anything restored that should have been refused and any difference
// between what was recorded and what came back is an error. When ctx ends, the demo ends, and
// everything that it started and made is gone as after any other end.
func Run(ctx context.Context, cfg Config) error {
	return (&demo{Config: cfg, columns: columns, kinds: kinds(), changes: 400, pause: time.Second, lull: 3 * time.Second}).run(ctx)
}

// demo is a story under way. The fields after the first ones are filled chapter by chapter.
type demo struct {
	Config
	columns int           // of the story's lines
	kinds   []kind        // of objects in the cluster
	changes int           // of the store's past, before the story begins
	pause   time.Duration // before each snapshot
	lull    time.Duration // in the second act, between the mistake and the disaster
	// sabotage, if not nil, changes a restored data directory before etcd is started on it. Only tests set it.
	sabotage func(dataDir string) error

	begin time.Time
	place place
	story *story

	member  *member // runs, unless nil
	cluster *cluster
	stop    func() (int, error) // ends the load, if not nil
	config  *config.Config
	node    *node
	ids     []age.Identity // what the safe holds

	newest  *repo.Manifest // of the last snapshot
	stopped time.Time      // when the last change was made
	daemon  *daemon        // runs, unless nil
	past    past           // what the second act loses
}

func (d *demo) run(ctx context.Context) (err error) {
	d.begin = time.Now()
	if d.place, err = newPlace(d.Parent); err != nil {
		return err
	}
	d.story = &story{w: d.Out, color: d.Color, columns: d.columns, place: d.place}
	err = errors.Join(d.play(ctx), d.halt())
	if d.Keep {
		return err
	}
	if err != nil && ctx.Err() == nil {
		err = hint.New(err, "drd demo --keep leaves its directory, with the log of etcd")
	}
	return errors.Join(err, d.place.remove())
}

// play goes through the chapters until one fails.
func (d *demo) play(ctx context.Context) error {
	d.story.line(d.story.paint(bold, "drd demo: an etcd cluster is lost and comes back"))
	d.story.wrapped("", "", "Everything happens in "+string(d.place)+"; commands are written as if typed there.")
	for _, chapter := range []func(context.Context) error{
		d.startCluster, d.handOutKeys, d.takeSnapshots, d.drill, d.resistTampering, d.suffer, d.restore, d.prove,
		d.archive, d.mistake, d.restoreBeforeMistake, d.restoreBeforeDisaster,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
		if d.story.err != nil {
			return d.story.err
		}
	}
	d.goOn()
	return d.story.err
}

// halt ends what still runs. After the last chapter that is nothing.
func (d *demo) halt() error {
	d.killDaemon()
	_, err := d.stopLoad()
	if o := d.past.orders; o != nil {
		err = errors.Join(err, o.close())
	}
	return errors.Join(err, d.stopEtcd())
}

func (d *demo) killDaemon() {
	if d.daemon != nil {
		d.daemon.kill()
		d.daemon = nil
	}
}

func (d *demo) stopLoad() (changes int, err error) {
	if d.stop == nil {
		return 0, nil
	}
	changes, err = d.stop()
	d.stop = nil
	return changes, err
}

// stopEtcd ends drd's connection and the etcd.
func (d *demo) stopEtcd() error {
	var err error
	if d.node != nil {
		err = d.node.client.Close()
		d.node = nil
	}
	if d.member != nil {
		err = errors.Join(err, d.member.stop())
		d.member = nil
	}
	return err
}
