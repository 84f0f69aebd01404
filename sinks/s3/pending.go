package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice/pipeline"
)

// pending is the batch that was begun last: as many alerts, the first and the
// last of these ids. The zero value is none.
type pending struct {
	Alerts int    `json:"alerts"`
	First  string `json:"first"`
	Last   string `json:"last"`
}

func newPending(alerts []pipeline.Alert) pending {
	return pending{len(alerts), alerts[0].UUID, alerts[len(alerts)-1].UUID}
}

// note is the file in which the batch that was begun is kept. Without a path
// it keeps nothing.
type note struct {
	path string
	last pending // what the file says
	// resumed is set until the first batch has come: it is asked for as the file says.
	resumed bool
}

// openNote reads what a run before left. A folder that is empty is none.
func openNote(dir, name string) (*note, error) {
	if dir == "" {
		return &note{}, nil
	}
	n := &note{path: filepath.Join(dir, strings.ReplaceAll(name, string(filepath.Separator), "_")+".s3-batch")}
	text, err := os.ReadFile(n.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return n, nil
	case err != nil:
		return nil, fmt.Errorf("the note of the batch that was begun: %w", err)
	}
	if err := json.Unmarshal(text, &n.last); err != nil || n.last.Alerts < 1 {
		// It is replaced in one step, so this is no crash's doing; what was
		// begun then may be put twice, and nothing is lost.
		n.last = pending{}
	}
	n.resumed = n.last.Alerts > 0
	return n, nil
}

// begin makes the note of a batch durable, unless it is there.
func (n *note) begin(p pending) error {
	n.resumed = false
	if n.path == "" || n.last == p {
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := replace(n.path, append(text, '\n')); err != nil {
		return fmt.Errorf("noting which batch is begun: %w", err)
	}
	n.last = p
	return nil
}

// replace writes a file so that it has the old content or the new one, whenever the power goes.
func replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
