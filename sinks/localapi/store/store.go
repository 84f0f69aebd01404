package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/crypto/bcrypt"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/decisions"
	"sluice/pipeline/dirlock"
)

// Options say where a store is, and how long it remembers.
type Options struct {
	// Dir is the folder; it is made when it is not there.
	Dir string
	// MaxAlerts bounds the alerts that are kept, beside those with decisions in
	// force; 0 keeps all.
	MaxAlerts int
	// MaxWaiting bounds the machines that are not valid, which anyone may make
	// where machines register themselves; 0 bounds none.
	MaxWaiting int
	// Remember is how long removals of decisions are kept for bouncers that ask seldom.
	Remember time.Duration
	// Wait is how long Open waits for another process that has the folder: the
	// command line has it for moments where no sluice runs.
	Wait time.Duration
	// PasswordCost is how much work bcrypt makes of a password; its default when 0. Tests have it do the least.
	PasswordCost int
	// Now and After are the wall clock when nil.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	// Condition compiles an expression of an allow-list; without it there can be none.
	Condition func(expression string) (func(*pipeline.Alert) (bool, error), error)
	// Allowlists returns the lists that hold beside the store's own; nil for none.
	Allowlists func() *allowlist.Set
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
}

// Store is an open store. Any goroutine may use it.
type Store struct {
	opts  Options
	lock  *dirlock.Lock
	db    *badger.DB
	index decisions.Index

	update func(change func(txn *badger.Txn) error) error // the database's; tests have their own

	reading sync.RWMutex // held by all that read the database, and to close it; taken after mu

	forgetting sync.Mutex // one who forgets at a time; taken before mu

	mu     sync.Mutex // one writer at a time
	alerts int64      // id of the newest alert
	kept   int        // alerts that are kept
	trim   trim       // of them
	failed atomic.Pointer[error]

	changed    bell
	bouncers   bouncers
	machines   machines
	allowlists allowlists
	decoy      func() string // a password hash that is nobody's
}

// The keys begin with a letter for what they hold.
const (
	keyAlert     = 'a' // id → alert
	keyUUID      = 'u' // an alert's id of the sender → id
	keyDecision  = 'd' // id → block of decisions
	keyRemoval   = 'x' // number → removals
	keyLast      = 'n' // → number of the last change
	keyBouncer   = 'b' // name → bouncer
	keyMachine   = 'm' // name → machine
	keyAllowlist = 'l' // name → allow-list
	keySecret    = 's' // → key that tokens are signed with
	keyReport    = 'r' // who → what it reported of itself last
	keyList      = 'k' // name → block list
	keyFollower  = 'f' // name → how far it has followed
	keyID        = 'i' // → the store's own id
	keyNewest    = 'w' // → id of the newest alert, where that is deleted
)

func key(kind byte, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(n))
}

func named(kind byte, name string) []byte { return append([]byte{kind}, name...) }

// Open opens a store, or makes it. One process at a time can have it open.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.PasswordCost == 0 {
		o.PasswordCost = bcrypt.DefaultCost
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the store of decisions: %w", err)
	}
	lock, err := lockDir(&o)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, lock: lock, decoy: sync.OnceValue(func() string { return decoy(o.PasswordCost) })}
	if s.db, err = badger.Open(badgerOptions(o.Dir)); err == nil {
		s.update = s.db.Update
		if err = s.load(); err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the store of decisions in %q cannot be opened: %w", filepath.Clean(o.Dir), err), lock.Release())
	}
	return s, nil
}

// ErrHeld says that another process has the store.
var ErrHeld = errors.New("another sluice is using it; stop that, or give this one a folder of its own")

// lockDir takes the folder, and waits for it as long as the options say.
func lockDir(o *Options) (*dirlock.Lock, error) {
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		lock, err := dirlock.Take(o.Dir, "LOCK")
		var held *dirlock.HeldError
		switch {
		case err == nil:
			return lock, nil
		case !errors.As(err, &held):
			return nil, fmt.Errorf("the store of decisions: %w", err)
		case waited >= o.Wait:
			return nil, fmt.Errorf("the store of decisions in %q cannot be opened: %w", filepath.Clean(o.Dir), ErrHeld)
		}
		<-o.After(step)
	}
}

// maxWrite is about how much one transaction holds, in bytes, and maxKeys how
// many keys: Badger takes no more than 15 % of a memory table, each key with the node that it needs there.
const maxWrite, maxKeys = 128 << 10, 1_000

// ownTable is the length from which on a value is in the value log, and weighs nothing in a transaction.
const ownTable = 256 << 10

// maxName is the longest name or id, and maxRecord the longest value in bytes:
// Badger takes keys of 65 000 bytes and values of 64 MiB, and an alert of half of that is nobody's.
const maxName, maxRecord = 255, 32 << 20

// badgerOptions keep Badger small: all that is looked up is in memory of our
// own, so that its tables are only written, and read once at a start. It keeps
// the memory that it builds tables in for a while, which grows with their
// sizes. Most of a block is random and does not compress. Values that no memory
// table takes, alerts with a great many events, go to its value log.
func badgerOptions(dir string) badger.Options {
	return badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil).WithMetricsEnabled(false).WithCompression(options.None).
		WithMemTableSize(2 << 20).WithNumMemtables(2).WithNumLevelZeroTables(2).WithBaseTableSize(1 << 20).WithBlockSize(16 << 10).WithBlockCacheSize(0).WithIndexCacheSize(1 << 20).
		WithNumCompactors(2).WithValueThreshold(ownTable).WithValueLogFileSize(64 << 20).WithDetectConflicts(false).
		WithBypassLockGuard(true) // lockDir has locked the folder
}

// Index is where decisions are looked up. Only the store changes it.
func (s *Store) Index() *decisions.Index { return &s.index }

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.opts.Now() }

// Close frees the folder.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.failed.Load() == nil {
		err = s.settleBouncers()
	}
	s.reading.Lock() // an answer that was not over in time may be read still, of memory that would be gone
	defer s.reading.Unlock()
	if err = errors.Join(err, s.db.Close(), s.lock.Release()); err != nil {
		return fmt.Errorf("closing the store of decisions: %w", err)
	}
	return nil
}

// write runs one durable change. An error of the disk ends the store: what is
// on the disk is not known then. A change that Badger refuses, or that has an
// error itself, is not written at all, and the store goes on.
func (s *Store) write(change func(txn *badger.Txn) error) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	refused := error(nil)
	err := s.update(func(txn *badger.Txn) error { refused = change(txn); return refused })
	switch {
	case refused != nil:
		return fmt.Errorf("the store of decisions does not take it: %w", refused)
	case err != nil:
		return s.fail(err)
	}
	return nil
}

// fail ends the store, and returns what every later call returns.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("the store of decisions cannot write, and takes nothing more until it is started again: %w", err)
	if !s.failed.CompareAndSwap(nil, &err) {
		return *s.failed.Load()
	}
	return err
}

// ErrTooLarge says that something is larger than what is kept. Whoever sends it again is told so again.
var ErrTooLarge = errors.New("it is larger than what is kept")

// view reads the database, which is not closed meanwhile. read must not call it again.
func (s *Store) view(read func(txn *badger.Txn) error) error {
	s.reading.RLock()
	defer s.reading.RUnlock()
	return s.db.View(read)
}

// scan calls visit with every key of a kind and its value, valid during the call.
func (s *Store) scan(kind byte, visit func(key, value []byte) error) error {
	return s.scanFrom(kind, []byte{kind}, visit)
}

// scanFrom is scan from a key on.
func (s *Store) scanFrom(kind byte, from []byte, visit func(key, value []byte) error) error {
	return s.view(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchSize = []byte{kind}, 1000
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			if err := item.Value(func(value []byte) error { return visit(item.Key()[1:], value) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// load reads everything that lives in memory.
func (s *Store) load() error {
	if err := s.loadDecisions(); err != nil {
		return err
	}
	err := s.scan(keyAlert, func(key, _ []byte) error {
		s.alerts, s.kept = int64(binary.BigEndian.Uint64(key)), s.kept+1
		return nil
	})
	if err != nil {
		return err
	}
	err = s.scan(keyNewest, func(_, value []byte) error {
		if len(value) != 8 {
			return errTorn
		}
		s.alerts = max(s.alerts, int64(binary.BigEndian.Uint64(value)))
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(s.loadBouncers(), s.loadMachines(), s.loadAllowlists())
}

func decoy(cost int) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(NewKey()[:52]), cost)
	if err != nil { // a password that is too long is all that it errs on
		return ""
	}
	return string(hash)
}
