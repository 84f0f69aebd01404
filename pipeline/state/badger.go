package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// valueBytes is the largest value of one entry in Badger; larger ones are cut
// into pieces. A chunk of state fits, unless it holds one very large record.
// Badger puts values from its threshold on into its value log, which is to
// stay empty, and takes no threshold above 15 % of the memtable.
const (
	valueBytes     = chunkBytes + 64<<10
	valueThreshold = valueBytes + 16<<10
	leastMemTable  = 4 << 20
)

// externalMagic keeps other programs' Badger databases, and ours from them, apart.
const externalMagic = 0x5375 // "Su"

// badgerOptions sets Badger up for few, large values that are compressed already.
func badgerOptions(dir string, memtable int64, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLog{log}).
		WithExternalMagic(externalMagic).
		WithBypassLockGuard(true). // lockDir has locked the folder
		// Each write is synced before it is acknowledged: an explicit Sync
		// would pass over the log of a memtable that was full in between.
		WithSyncWrites(true).
		WithDetectConflicts(false). // blind writes only
		WithNumVersionsToKeep(1).
		WithMemTableSize(memtable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(8).
		WithNumLevelZeroTablesStall(24).
		WithNumCompactors(2).
		WithBaseTableSize(8 << 20).
		WithBaseLevelSize(128 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(8 << 20).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(true).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(1 << 20)
}

// badgerLog gives Badger's messages to slog. What Badger calls information is
// of no interest to whoever runs Sluice.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) write(level slog.Level, format string, args []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, args...)), "component", "badger")
	}
}

func (l badgerLog) Errorf(f string, a ...any) { l.write(slog.LevelError, f, a) }

// Warningf passes over Badger's advice to make its cache of blocks larger,
// every minute: it is small on purpose, since hardly any block is read twice.
func (l badgerLog) Warningf(f string, a ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(f, "%s might be too small") || strings.HasPrefix(f, "Cache life expectancy") {
		level = slog.LevelDebug
	}
	l.write(level, f, a)
}

func (l badgerLog) Infof(f string, a ...any)  { l.write(slog.LevelDebug, f, a) }
func (l badgerLog) Debugf(f string, a ...any) { l.write(slog.LevelDebug-4, f, a) }

// batch gathers writes into transactions of the size that Badger takes, each
// written and synced before the next. What a batch holds is not atomic, but
// it is in order: a later write is never there without the earlier ones.
type batch struct {
	s     *Store
	txn   *badger.Txn
	bytes int64
	count int64
	wrote int64 // bytes, by all transactions
}

func (s *Store) newBatch() *batch { return &batch{s: s} }

// room makes sure that the next entry fits.
func (b *batch) room(size int) error {
	n := int64(size) + 64
	if b.txn != nil && (b.bytes+n >= b.s.db.MaxBatchSize() || b.count+1 >= b.s.db.MaxBatchCount()) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if b.txn == nil {
		b.txn = b.s.db.NewTransaction(true)
	}
	b.bytes += n
	b.count++
	b.wrote += n
	return nil
}

// set writes a sealed value, which the batch keeps until it is flushed.
func (b *batch) set(key, value []byte) error {
	if len(value) > valueBytes {
		var err error
		if value, err = b.cut(key, value); err != nil {
			return err
		}
	}
	return b.raw(key, value)
}

func (b *batch) raw(key, value []byte) error {
	if err := b.room(len(key) + len(value)); err != nil {
		return err
	}
	return b.txn.Set(key, value)
}

// cut writes the pieces of a large value and returns what stands in its place.
func (b *batch) cut(key, value []byte) ([]byte, error) {
	content := value[sealBytes:]
	head := append(make([]byte, 0, 32), value[:sealBytes]...)
	head[8] = formPieces
	blob := binary.LittleEndian.Uint64(value)
	head = binary.AppendUvarint(head, uint64(len(content)))
	for i := 0; len(content) > 0; i++ {
		n := min(len(content), valueBytes)
		if err := b.raw(pieceKey(blob, i), content[:n]); err != nil {
			return nil, err
		}
		content = content[n:]
	}
	return head, nil
}

func (b *batch) delete(key []byte) error {
	if err := b.room(len(key)); err != nil {
		return err
	}
	return b.txn.Delete(key)
}

// deleteLeftover removes an entry that a scan came across, unless the state is only looked at.
func (b *batch) deleteLeftover(key []byte) error {
	if b.s.viewing {
		return nil
	}
	return b.delete(append([]byte(nil), key...))
}

// flush writes what is left and returns once it is synced.
func (b *batch) flush() error {
	if b.txn == nil {
		return nil
	}
	err := b.txn.Commit()
	b.s.logged.Add(b.bytes)
	b.txn, b.bytes, b.count = nil, 0, 0
	if err != nil {
		return fmt.Errorf("writing to the state in %q: %w", b.s.options.Dir, err)
	}
	return nil
}

// discard drops what was not flushed.
func (b *batch) discard() {
	if b.txn != nil {
		b.txn.Discard()
		b.txn = nil
	}
}

// errSeal says that a value is not what was written under its key.
var errSeal = errors.New("its checksum is wrong")

// unseal returns the content of a value, which aliases it unless it lies in pieces.
func (s *Store) unseal(txn *badger.Txn, key, value []byte) ([]byte, error) {
	if len(value) < sealBytes {
		return nil, errTorn
	}
	sum, form, content := binary.LittleEndian.Uint64(value), value[8], value[sealBytes:]
	if form == formPieces {
		var err error
		if content, err = join(txn, sum, content); err != nil {
			return nil, err
		}
	}
	if form > formPieces || sealSum(key, content) != sum {
		return nil, errSeal
	}
	return content, nil
}

// blobOf returns what names the pieces of a value, and how many there are: 0
// when the value is whole.
func blobOf(value []byte) (blob uint64, pieces int) {
	if len(value) < sealBytes || value[8] != formPieces {
		return 0, 0
	}
	r := reader{b: value[sealBytes:]}
	return binary.LittleEndian.Uint64(value), piecesOf(r.uvarint())
}

// piecesOf returns into how many pieces content of a size is cut.
func piecesOf(size uint64) int { return int((min(size, maxRaw) + valueBytes - 1) / valueBytes) }

// deletePieces removes the pieces of a value that nothing refers to any more.
func (b *batch) deletePieces(blob uint64, pieces int) error {
	for i := range pieces {
		if err := b.delete(pieceKey(blob, i)); err != nil {
			return err
		}
	}
	return nil
}

// deleteBlob removes an entry and its pieces, if it has any.
func (b *batch) deleteBlob(txn *badger.Txn, key []byte) error {
	blob, pieces, err := blobAt(txn, key)
	if err != nil {
		return err
	}
	if err := b.delete(key); err != nil {
		return err
	}
	return b.deletePieces(blob, pieces)
}

// blobAt is blobOf for what is stored under a key.
func blobAt(txn *badger.Txn, key []byte) (blob uint64, pieces int, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	err = item.Value(func(v []byte) error {
		blob, pieces = blobOf(v)
		return nil
	})
	return blob, pieces, err
}

// join reads a value that lies in pieces.
func join(txn *badger.Txn, blob uint64, head []byte) ([]byte, error) {
	r := reader{b: head}
	total := r.uvarint()
	if r.bad || total > maxRaw {
		return nil, errTorn
	}
	var content []byte
	for i := 0; uint64(len(content)) < total; i++ {
		item, err := txn.Get(pieceKey(blob, i))
		if err != nil {
			return nil, fmt.Errorf("its piece %d: %w", i, err)
		}
		piece, err := item.ValueCopy(nil)
		if err != nil {
			return nil, err
		}
		if len(piece) == 0 {
			return nil, errTorn
		}
		content = append(content, piece...)
	}
	return content, nil
}

// view calls f with an entry's content, which is valid during the call, and
// with the checksum that it has; ok is false when there is no such entry.
func (s *Store) view(txn *badger.Txn, key []byte, f func(sum uint64, content []byte) error) (ok bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, item.Value(func(value []byte) error {
		content, err := s.unseal(txn, key, value)
		if err != nil {
			return err
		}
		return f(binary.LittleEndian.Uint64(value), content)
	})
}

// get returns an entry's content; ok is false when there is none. The slice is the caller's.
func (s *Store) get(txn *badger.Txn, key []byte) (content []byte, ok bool, err error) {
	ok, err = s.view(txn, key, func(_ uint64, c []byte) error {
		content = append([]byte(nil), c...)
		return nil
	})
	return content, ok, err
}

// scanFrom calls f for the entries of a kind from a key on, in order, as long
// as it wants more. Both slices are valid during the call.
func scanFrom(txn *badger.Txn, from []byte, f func(key, value []byte) (more bool, err error)) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // a goroutine a value
	o.Prefix = from[:1]
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item, more := it.Item(), false
		err := item.Value(func(v []byte) (err error) {
			more, err = f(item.Key(), v)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// scan calls f for all entries under a prefix, in order. Both slices are valid
// during the call; value is nil with keysOnly.
func scan(txn *badger.Txn, prefix []byte, keysOnly bool, f func(key, value []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // a goroutine a value
	o.Prefix = prefix
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		var err error
		if keysOnly {
			err = f(item.Key(), nil)
		} else {
			err = item.Value(func(v []byte) error { return f(item.Key(), v) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}
