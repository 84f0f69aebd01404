package intake

import "sluice/pipeline/component"

// The values of Config.Intake.
const (
	// Journal appends to a journal, syncs, and acknowledges.
	Journal = "journal"
	// Direct emits into the pipeline without a copy on disk.
	Direct = "direct"
)

// The values of Config.Ack.
const (
	// AckCheckpoint acknowledges when a checkpoint holds the records.
	AckCheckpoint = "checkpoint"
	// AckAccepted acknowledges when the pipeline has taken the records.
	AckAccepted = "accepted"
)

// Config says how records are taken in. It is inlined into a source's
// configuration: `yaml:",inline"`.
type Config struct {
	// Intake is how records come in: `journal` writes them to a journal on disk, syncs it and
	// acknowledges them, so that what was acknowledged survives a crash and is counted once; `direct` gives them
	// to the pipeline without a copy on disk.
	Intake string `yaml:"intake"`
	// Ack is when records are acknowledged with `intake: direct`: `checkpoint`, when a checkpoint of the state
	// holds them, some second later; or `accepted`, when the pipeline has taken them, which a crash may undo.
	// A journal acknowledges when it is synced, whatever stands here.
	Ack string `yaml:"ack"`
	// Journal says where the journal is and how large it may grow; it serves `intake: journal` alone.
	Journal JournalConfig `yaml:"journal"`
}

// JournalConfig says where a journal is and how large it may grow.
type JournalConfig struct {
	// Dir is the folder of the journal, of this source alone. Left empty it is a folder beside
	// the state (`state.dir`), so that a backup of the one holds the other. A
	// relative path begins in the folder that `sluice` is started in.
	Dir string `yaml:"dir"`
	// MaxBytes is how much the journal may hold before senders have to wait, in bytes or with a unit. What a
	// checkpoint holds leaves the journal, so it fills only while the pipeline is behind.
	MaxBytes component.Bytes `yaml:"max_bytes"`
	// SegmentBytes is the size of one file of the journal. Files are removed as a whole, so at least this much
	// stays on disk. It may be at most half of `max_bytes`.
	SegmentBytes component.Bytes `yaml:"segment_bytes"`
	// Missing is what happens at the start when the journal does not reach to where the state stands, as after the
	// loss of either: `refuse` ends with an error that says what is missing; `fresh` warns and goes on with what is there.
	Missing string `yaml:"missing"`
}

// The values of JournalConfig.Missing.
const (
	missingRefuse = "refuse"
	missingFresh  = "fresh"
)

// Default returns the configuration with a mode, Journal or Direct.
func Default(mode string) Config {
	return Config{
		Intake: mode, Ack: AckCheckpoint,
		Journal: JournalConfig{MaxBytes: 1 << 30, SegmentBytes: 64 << 20, Missing: missingRefuse},
	}
}

// minSegment keeps a journal from being a heap of tiny files.
const minSegment = 64 << 10

// Validate checks the configuration. Call it from the source's own Validate.
func (c *Config) Validate() error {
	switch j := &c.Journal; {
	case c.Intake != Journal && c.Intake != Direct:
		return component.Invalid("intake", "%q is neither journal nor direct", c.Intake)
	case c.Ack != AckCheckpoint && c.Ack != AckAccepted:
		return component.Invalid("ack", "%q is neither checkpoint nor accepted", c.Ack)
	case j.SegmentBytes < minSegment || j.SegmentBytes > 1<<30:
		return component.Invalid("journal.segment_bytes", "%v is not between 64KiB and 1GiB", j.SegmentBytes)
	case j.MaxBytes < 2*j.SegmentBytes:
		return component.Invalid("journal.max_bytes", "%v is less than two segments of %v; raise it or lower segment_bytes", j.MaxBytes, j.SegmentBytes)
	case j.Missing != missingRefuse && j.Missing != missingFresh:
		return component.Invalid("journal.missing", "%q is neither refuse nor fresh", j.Missing)
	}
	return nil
}
