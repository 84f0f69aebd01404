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
	"golang.org/x/crypto/bcrypt"

	"sluice/pipeline/decisions"
)

// Options say where a store is, and how long it remembers.
type Options struct {
	// Dir is the folder; it is made when it is not there.
	Dir string
	// MaxAlerts bounds the alerts that are kept, beside those with decisions in
	// force; 0 keeps all.
	MaxAlerts int
	// Remember is how long removals of decisions are kept for bouncers that ask seldom.
	Remember time.Duration
	// Now is the wall clock when nil.
	Now func() time.Time
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
}

// Store is an open store. Any goroutine may use it.
type Store struct {
	opts  Options
	db    *badger.DB
	index decisions.Index

	mu     sync.Mutex // one writer at a time
	alerts int64      // id of the newest alert
	kept   int        // alerts that are kept
	failed atomic.Pointer[error]

	bouncers   bouncers
	machines   machines
	allowlists allowlists
	decoy      func() string // a password hash that is nobody's
}

// The keys begin with a letter for what they hold.
const (
	keyAlert     = 'a' // id → alert
	keyUUID      = 'u' // an alert's id of the sender → id
	keyDecision  = 'd' // id → decision
	keyRemoval   = 'x' // number → removal
	keyLast      = 'n' // → number of the last change
	keyBouncer   = 'b' // name → bouncer
	keyMachine   = 'm' // name → machine
	keyAllowlist = 'l' // name → allow-list
	keySecret    = 's' // → key that tokens are signed with
	keyMetrics   = 'r' // who → what it reported of itself
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the store of decisions: %w", err)
	}
	db, err := badger.Open(badger.DefaultOptions(o.Dir).WithSyncWrites(true).WithLogger(nil).WithMetricsEnabled(false).
		WithMemTableSize(32 << 20).WithNumMemtables(2).WithNumLevelZeroTables(2).WithBlockCacheSize(8 << 20).WithIndexCacheSize(8 << 20).
		WithNumCompactors(2).WithValueLogFileSize(64 << 20).WithDetectConflicts(false))
	if err != nil {
		return nil, fmt.Errorf("the store of decisions in %q cannot be opened; is another sluice using it? %w", filepath.Clean(o.Dir), err)
	}
	s := &Store{opts: o, db: db, decoy: sync.OnceValue(decoy)}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("the store of decisions in %q: %w", filepath.Clean(o.Dir), err), db.Close())
	}
	return s, nil
}

// Index is where decisions are looked up. Only the store changes it.
func (s *Store) Index() *decisions.Index { return &s.index }

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.opts.Now() }

// Close frees the folder.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the store of decisions: %w", err)
	}
	return nil
}

// write runs one durable change. An error of the disk ends the store: memory
// may then know what the disk does not.
func (s *Store) write(change func(txn *badger.Txn) error) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	if err := s.db.Update(change); err != nil {
		err = fmt.Errorf("the store of decisions cannot write, and takes nothing more until it is started again: %w", err)
		s.failed.Store(&err)
		return err
	}
	return nil
}

// scan calls visit with every key of a kind and its value, valid during the call.
func (s *Store) scan(kind byte, visit func(key, value []byte) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchSize = []byte{kind}, 1000
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
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
	var inForce []decisions.Decision
	var removals []decisions.Change
	last, behind := int64(0), int64(0)
	err := s.scan(keyDecision, func(key, value []byte) error {
		d, err := decodeDecision(value)
		d.ID = int64(binary.BigEndian.Uint64(key))
		inForce, last = append(inForce, d), max(last, d.ID)
		return err
	})
	if err != nil {
		return err
	}
	err = s.scan(keyRemoval, func(key, value []byte) error {
		c, err := decodeRemoval(value)
		c.Seq = int64(binary.BigEndian.Uint64(key))
		removals, last = append(removals, c), max(last, c.Seq)
		return err
	})
	if err != nil {
		return err
	}
	err = s.scan(keyLast, func(_, value []byte) error {
		if len(value) != 16 {
			return errTorn
		}
		last = max(last, int64(binary.BigEndian.Uint64(value)))
		behind = int64(binary.BigEndian.Uint64(value[8:]))
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.index.Restore(inForce, removals, behind, last); err != nil {
		return err
	}
	err = s.scan(keyAlert, func(key, _ []byte) error {
		s.alerts, s.kept = int64(binary.BigEndian.Uint64(key)), s.kept+1
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(s.loadBouncers(), s.loadMachines(), s.loadAllowlists())
}

func decoy() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(NewKey()[:52]), bcrypt.DefaultCost)
	if err != nil { // a password that is too long is all that it errs on
		return ""
	}
	return string(hash)
}
