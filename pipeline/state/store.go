package state

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"sluice/pipeline/dirlock"
)

// Clock is the time that markers and reports carry; nothing is decided by it.
type Clock interface{ Now() time.Time }

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

// Options say where a store is and how large it lets things grow. Dir alone
// must be set; the zero value of the others stands for a default.
type Options struct {
	// Dir is the folder; it is made when it is not there.
	Dir string
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
	// Clock is the wall clock when nil.
	Clock Clock
	// Reserve is how many bytes of the disk must stay free; below it Space
	// reports Low. 0 computes it from the sizes of memtables, tables and epochs.
	Reserve int64
	// MemTable is the size in bytes of Badger's memtable for a new state, at
	// least 4 MB (default 32 MB). A state keeps the size it was made with.
	MemTable int64
	// FoldBytes and FoldEpochs say when epochs are folded: when so many
	// compressed bytes (default 128 MB) or epochs (default 256) have gathered.
	FoldBytes  int64
	FoldEpochs int
	// FoldShare delays folds of a large state until what gathered is this
	// share of what is folded (default 1), since a fold may write all of it anew.
	FoldShare float64
	// Workers is how many goroutines compress, and load (default: one a core).
	Workers int
}

func (o Options) complete() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = wallClock{}
	}
	if o.MemTable == 0 {
		o.MemTable = 32 << 20
	}
	o.MemTable = max(o.MemTable, leastMemTable)
	if o.FoldBytes == 0 {
		o.FoldBytes = 128 << 20
	}
	if o.FoldEpochs == 0 {
		o.FoldEpochs = 256
	}
	if o.FoldShare == 0 {
		o.FoldShare = 1
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

// Store keeps the records, the outbox and the cursors of one pipeline in one
// folder. Its life: Open, Load once, then Commit again and again beside the
// calls for the outbox, and Close. All methods are safe for concurrent use,
// but there is one Commit at a time, and none before Load has returned.
type Store struct {
	options    Options
	db         *badger.DB
	dictionary *Dictionary
	identity   string

	committing sync.Mutex // held by Commit and Load
	gather     gatherer   // scratch of Commit

	mu       sync.Mutex // guards what follows
	last     marker     // the last whole epoch; chunks unset
	folded   uint64
	unfolded []*marker // folded+1 .. last
	loaded   bool
	failed   error // of a fold: nothing can be committed any more
	spent    counters

	free         func(dir string) (int64, error) // how much the disk has left
	logged       atomic.Int64                    // bytes that went to Badger since Open
	tablesBefore int64                           // tableBytes at Open

	pages  pageIndex
	outbox outbox

	wake    chan struct{} // a fold may be due
	folding sync.Mutex    // held by a fold
	lock    *dirlock.Lock
	// viewing says that nothing is written; shadow is the folder that Badger
	// reads then, and problems what it could not read.
	viewing  bool
	shadow   string
	problems []error
	using    sync.RWMutex // held for reading by calls that need neither of the other two
	stop     context.CancelFunc
	done     sync.WaitGroup
	closed   atomic.Bool
}

// Open opens the state in a folder, making it if the folder is empty or
// absent. It returns a *LockedError when it is in use, a *VersionError when it
// is too new, a *DamagedError when it cannot be what was written. Epochs that
// are not whole are removed.
func Open(o Options) (*Store, error) {
	o = o.complete()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the state: %w", err)
	}
	lock, err := lockDir(o.Dir, false)
	if err != nil {
		return nil, err
	}
	s, err := open(o)
	if err != nil {
		_ = lock.Release() // err says more
		return nil, err
	}
	s.lock = lock
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.done.Go(func() { s.foldLoop(ctx) })
	return s, nil
}

// open opens a folder that is locked.
func open(o Options) (*Store, error) {
	format, err := openFormat(o.Dir, o.MemTable)
	if err != nil {
		return nil, err
	}
	o.MemTable = format.memTable
	if err := roomToOpen(o); err != nil {
		return nil, err
	}
	files, err := checkFiles(o.Dir, o.Workers)
	if err != nil {
		return nil, err
	}
	if len(files.problems) > 0 {
		return nil, files.problems[0]
	}
	if err := files.mend(o); err != nil {
		return nil, err
	}
	db, err := badger.Open(badgerOptions(o.Dir, o.MemTable, o.Log))
	if err != nil {
		return nil, &DamagedError{Dir: o.Dir, Place: "its database", What: "Badger cannot open it", Err: err}
	}
	s := &Store{options: o, db: db, dictionary: NewDictionary(), wake: make(chan struct{}, 1), tablesBefore: tableBytes(), free: freeBytes}
	if s.identity, err = openIdentity(o.Dir); err != nil {
		_ = db.Close() // err says more
		return nil, err
	}
	if err := s.recover(format); err != nil {
		_ = db.Close() // err says more
		return nil, err
	}
	return s, nil
}

// Dictionary returns the dictionary, which Open has loaded.
func (s *Store) Dictionary() *Dictionary { return s.dictionary }

// Last returns the last whole epoch, 0 when there is none.
func (s *Store) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.epoch
}

// Folded returns the epoch up to which Get finds records.
func (s *Store) Folded() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.folded
}

// enter begins a call that must not see the files closed under it; leave ends it.
func (s *Store) enter() error {
	s.using.RLock()
	if s.closed.Load() {
		s.using.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.using.RUnlock() }

// enterToChange is enter for calls that write.
func (s *Store) enterToChange() error {
	if s.viewing {
		return errView
	}
	return s.enter()
}

// Close waits for a running fold to stop and closes the files. What was
// committed is there at the next Open; nothing is folded on the way out.
func (s *Store) Close() error {
	s.stop()
	if s.closed.Swap(true) {
		return nil
	}
	s.done.Wait()
	for _, l := range []sync.Locker{&s.committing, &s.folding, &s.using} {
		l.Lock() // whoever is at it, ends first
		defer l.Unlock()
	}
	var err error
	if !s.viewing {
		err = writeFloor(s.options.Dir, s.options.MemTable, s.Last()) // while the folder is ours
	}
	if cerr := s.db.Close(); err == nil {
		err = cerr
	}
	if s.viewing {
		if rerr := os.RemoveAll(s.shadow); err == nil {
			err = rerr
		}
	}
	if lerr := s.lock.Release(); err == nil {
		err = lerr
	}
	if err != nil {
		return fmt.Errorf("closing the state in %q: %w", filepath.Clean(s.options.Dir), err)
	}
	return nil
}
