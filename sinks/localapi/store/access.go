package store

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/crypto/bcrypt"
)

// ErrUnknown says that there is no bouncer, machine or allow-list of a name.
var ErrUnknown = errors.New("there is none of that name")

// ErrExists says that a name, or a key, is taken.
var ErrExists = errors.New("it is there already")

// unknown says that there is no bouncer or machine of a name, and which command shows those that there are.
func unknown(what, name string) error {
	return fmt.Errorf("%s %q: %w; `sluice %ss list` shows those that there are", what, name, ErrUnknown, what)
}

// ErrManyWait says that no machine more may wait to become valid.
var ErrManyWait = errors.New("too many machines wait to be validated")

// Bouncer is a program that may ask for decisions.
type Bouncer struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// KeyHash is the SHA-256 of its key in hexadecimal: the key itself is not
	// kept. Keys are random and long, so that a slow hash would protect nothing.
	KeyHash string `json:"key_hash"`
	// Kind, Version and Address are what it told last; LastPull is when it asked last.
	Kind     string    `json:"kind,omitempty"`
	Version  string    `json:"version,omitempty"`
	Address  string    `json:"address,omitempty"`
	LastPull time.Time `json:"last_pull,omitzero"`
	Reported Reported  `json:"reported"`
	// Seen is the number of the last change that it was told of.
	Seen int64 `json:"-"`
	// Sure is what it had been told of when it asked last, and so has got. It is what
	// a crash goes back to: whether an answer arrived before it nobody knows.
	Sure int64 `json:"seen"`
	// First is the number of the first change that its first answer may lack; 0 before that.
	First int64 `json:"first,omitempty"`
	// Place is the last of what it was told again (see decisions.Index.Again), Told when it was told of changes last.
	Place int64     `json:"-"`
	Told  time.Time `json:"told"`
	// Doubt says that it may have been told of more than Seen, before a restart.
	Doubt bool `json:"-"`
}

// bouncers are all bouncers, by name and by the hash of their keys. Whoever
// signs in takes mu, so that nothing is written to the disk under it.
type bouncers struct {
	changing sync.Mutex // one who adds, deletes or gives a key at a time; taken before a bouncer's own
	mu       sync.RWMutex
	byName   map[string]*keptBouncer
	byKey    map[[sha256.Size]byte]*keptBouncer
}

// keptBouncer is a bouncer, and what puts its changes in order: whoever changes
// it holds writing until that is on the disk, and takes mu to be seen.
type keptBouncer struct {
	writing sync.Mutex // taken before the mu of all bouncers
	Bouncer
}

// named returns the bouncer of a name, nil for none.
func (b *bouncers) named(name string) *keptBouncer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byName[name]
}

// look returns a bouncer as it is now.
func (b *bouncers) look(one *keptBouncer) Bouncer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return one.Bouncer
}

// hold returns a bouncer that neither changes nor goes until unlock is called.
func (b *bouncers) hold(name string) (one *keptBouncer, unlock func(), err error) {
	if one = b.named(name); one != nil {
		one.writing.Lock()
		if b.named(name) == one {
			return one, one.writing.Unlock, nil
		}
		one.writing.Unlock() // it was deleted meanwhile
	}
	return nil, nil, unknown("bouncer", name)
}

// replace makes a bouncer that is held another.
func (b *bouncers) replace(one *keptBouncer, by Bouncer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one.Bouncer = by
}

// NewKey returns a random key or password.
func NewKey() string { return rand.Text() + rand.Text() }

func (s *Store) loadBouncers() error {
	b := &s.bouncers
	b.byName, b.byKey = make(map[string]*keptBouncer), make(map[[sha256.Size]byte]*keptBouncer)
	return s.scan(keyBouncer, func(_, value []byte) error {
		var one keptBouncer
		if err := json.Unmarshal(value, &one.Bouncer); err != nil {
			return err
		}
		one.Seen, one.Doubt = one.Sure, true
		b.byName[one.Name] = &one
		return b.learn(&one)
	})
}

func (b *bouncers) learn(one *keptBouncer) error {
	var hash [sha256.Size]byte
	if n, err := hex.Decode(hash[:], []byte(one.KeyHash)); err != nil || n != len(hash) {
		return errTorn
	}
	b.byKey[hash] = one
	return nil
}

// AddBouncer makes a bouncer with a key: a random one when empty. It returns
// the key, which nobody can learn later.
func (s *Store) AddBouncer(name, key string) (string, error) {
	b := &s.bouncers
	b.changing.Lock()
	defer b.changing.Unlock()
	if name == "" || len(name) > 255 {
		return "", errors.New("a bouncer's name has between 1 and 255 characters")
	}
	if b.named(name) != nil {
		return "", fmt.Errorf("bouncer %q: %w; `sluice bouncers rotate` gives it a new key", name, ErrExists)
	}
	if key == "" {
		key = NewKey()
	}
	if len(key) < 16 {
		return "", errors.New("a bouncer's key has at least 16 characters: it must not be guessed")
	}
	return key, s.setKey(&keptBouncer{Bouncer: Bouncer{Name: name, Created: s.Now().UTC()}}, key)
}

// setKey gives a bouncer a key and keeps it. The lock of changes must be held.
func (s *Store) setKey(one *keptBouncer, key string) error {
	b := &s.bouncers
	if other, taken := s.BouncerOf(key); taken {
		return fmt.Errorf("the key of bouncer %q: %w, and each bouncer needs one of its own", other.Name, ErrExists)
	}
	one.writing.Lock()
	defer one.writing.Unlock()
	hash, changed := sha256.Sum256([]byte(key)), b.look(one)
	changed.KeyHash = hex.EncodeToString(hash[:])
	if err := s.putBouncer(&changed); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.byKey, func(_ [sha256.Size]byte, o *keptBouncer) bool { return o == one })
	one.Bouncer = changed
	b.byName[one.Name], b.byKey[hash] = one, one
	return nil
}

func (s *Store) putBouncer(one *Bouncer) error {
	text, err := json.Marshal(one)
	if err != nil {
		return err
	}
	return s.write(func(txn *badger.Txn) error { return txn.Set(named(keyBouncer, one.Name), text) })
}

// RotateBouncer gives a bouncer a new key, and returns it.
func (s *Store) RotateBouncer(name string) (key string, err error) {
	b := &s.bouncers
	b.changing.Lock()
	defer b.changing.Unlock()
	one := b.named(name)
	if one == nil {
		return "", unknown("bouncer", name)
	}
	key = NewKey()
	return key, s.setKey(one, key)
}

// DeleteBouncer forgets a bouncer and its report: its key is worth nothing from then on.
func (s *Store) DeleteBouncer(name string) error {
	b := &s.bouncers
	b.changing.Lock()
	defer b.changing.Unlock()
	one := b.named(name)
	if one == nil {
		return unknown("bouncer", name)
	}
	one.writing.Lock() // what it was told is not written down behind this
	defer one.writing.Unlock()
	if err := s.write(func(txn *badger.Txn) error {
		return errors.Join(txn.Delete(named(keyBouncer, name)), txn.Delete(reportOf(reporterBouncer, name)))
	}); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byName, name)
	maps.DeleteFunc(b.byKey, func(_ [sha256.Size]byte, o *keptBouncer) bool { return o == one })
	return nil
}

// Bouncers returns all bouncers, sorted by name.
func (s *Store) Bouncers() []Bouncer {
	b := &s.bouncers
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Bouncer, 0, len(b.byName))
	for _, one := range b.byName {
		out = append(out, one.Bouncer)
	}
	slices.SortFunc(out, func(x, y Bouncer) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// BouncerOf returns the bouncer of a key. What is compared is the key's hash,
// so that the time that it takes says nothing of the key.
func (s *Store) BouncerOf(key string) (Bouncer, bool) {
	hash := sha256.Sum256([]byte(key))
	b := &s.bouncers
	b.mu.RLock()
	defer b.mu.RUnlock()
	one := b.byKey[hash]
	if one == nil {
		return Bouncer{}, false
	}
	return one.Bouncer, true
}

// BouncerNamed returns the bouncer of a name, as a client certificate gives
// it; one that is not known yet is made, without a key that anyone has.
func (s *Store) BouncerNamed(name string) (Bouncer, error) {
	b := &s.bouncers
	one := b.named(name)
	if one == nil {
		if _, err := s.AddBouncer(name, ""); err != nil && !errors.Is(err, ErrExists) {
			return Bouncer{}, err
		}
		if one = b.named(name); one == nil { // it was deleted meanwhile
			return Bouncer{}, unknown("bouncer", name)
		}
	}
	return b.look(one), nil
}

// Begins notes, before a bouncer's first answer, how far changes have come. Should
// a crash leave nothing else known of it, that is where it may have been told of what is in force.
func (s *Store) Begins(name string) error {
	b := &s.bouncers
	one, unlock, err := b.hold(name)
	if err != nil {
		return nil // it was deleted meanwhile
	}
	defer unlock()
	after := b.look(one)
	if after.First > 0 || after.Sure > 0 {
		return nil
	}
	after.First = s.index.Seq() + 1
	b.replace(one, after)
	return s.putBouncer(&after)
}

// Pulled notes what a bouncer told of itself and was told. It is written down
// when more is sure, so that a crash repeats the last answer at most and skips
// nothing. That makes this bouncer wait for the disk, and nobody else.
func (s *Store) Pulled(name string, note func(*Bouncer)) error {
	b := &s.bouncers
	one, unlock, err := b.hold(name)
	if err != nil {
		return nil // it was deleted meanwhile
	}
	defer unlock()
	before := b.look(one)
	after := before
	note(&after)
	after.Sure = before.Seen
	b.replace(one, after)
	if after.Sure == before.Sure && after.Kind == before.Kind && after.Version == before.Version && after.LastPull.Sub(before.LastPull) < time.Minute {
		return nil
	}
	return s.putBouncer(&after)
}

// settleBouncers writes down what bouncers were told of, when all answers are written.
func (s *Store) settleBouncers() error {
	for _, one := range s.Bouncers() {
		if one.Sure == one.Seen {
			continue
		}
		if err := s.Pulled(one.Name, func(*Bouncer) {}); err != nil {
			return err
		}
	}
	return nil
}

// Machine is a program that may push alerts and manage decisions: an agent, or cscli.
type Machine struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// PasswordHash is bcrypt's; empty for machines with a certificate.
	PasswordHash string `json:"password_hash,omitempty"`
	// Valid machines may sign in; others registered and wait for a person.
	Valid     bool      `json:"valid"`
	Version   string    `json:"version,omitempty"`
	Address   string    `json:"address,omitempty"`
	LastPush  time.Time `json:"last_push,omitzero"`
	LastLogin time.Time `json:"last_login,omitzero"`
	LastBeat  time.Time `json:"last_beat,omitzero"`
	Reported  Reported  `json:"reported"`
}

// machines are all machines by name; none of them is ever changed, but another
// put in its place. Whoever signs in takes mu, so that nothing is written to the disk under it.
type machines struct {
	changing sync.Mutex // one who adds, changes or deletes at a time; taken before mu
	mu       sync.RWMutex
	byName   map[string]*Machine
}

func (s *Store) loadMachines() error {
	s.machines.byName = make(map[string]*Machine)
	return s.scan(keyMachine, func(_, value []byte) error {
		var one Machine
		if err := json.Unmarshal(value, &one); err != nil {
			return err
		}
		s.machines.byName[one.Name] = &one
		return nil
	})
}

// AddMachine makes a machine with a password. One that is not valid cannot
// sign in until ChangeMachine makes it so, and only so many may wait for that.
func (s *Store) AddMachine(name, password string, valid bool) error {
	if name == "" || len(name) > 255 {
		return errors.New("a machine's name has between 1 and 255 characters")
	}
	if password == "" || len(password) > 72 {
		return errors.New("a machine's password has between 1 and 72 bytes")
	}
	if err := s.roomFor(name, valid); err != nil {
		return err // a hash is dear, and whoever is refused gets none
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), s.opts.PasswordCost)
	if err != nil {
		return fmt.Errorf("hashing a password: %w", err)
	}
	s.machines.changing.Lock()
	defer s.machines.changing.Unlock()
	if err := s.roomFor(name, valid); err != nil {
		return err
	}
	return s.putMachine(&Machine{Name: name, Created: s.Now().UTC(), PasswordHash: string(hash), Valid: valid})
}

// roomFor tells why there cannot be a machine of a name more, nil when there can.
func (s *Store) roomFor(name string, valid bool) error {
	m := &s.machines
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.byName[name] != nil {
		return fmt.Errorf("machine %q: %w; `sluice machines delete` frees it", name, ErrExists)
	}
	if valid || s.opts.MaxWaiting == 0 {
		return nil
	}
	waiting := 0
	for _, one := range m.byName {
		if !one.Valid {
			waiting++
		}
	}
	if waiting >= s.opts.MaxWaiting {
		return fmt.Errorf("machine %q: %w", name, ErrManyWait)
	}
	return nil
}

// putMachine keeps a machine. The lock of changes must be held.
func (s *Store) putMachine(one *Machine) error {
	text, err := json.Marshal(one)
	if err != nil {
		return err
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Set(named(keyMachine, one.Name), text) }); err != nil {
		return err
	}
	s.machines.mu.Lock()
	defer s.machines.mu.Unlock()
	s.machines.byName[one.Name] = one
	return nil
}

// ChangeMachine changes a machine: change gets a copy, and what it makes of it is kept.
func (s *Store) ChangeMachine(name string, change func(*Machine)) error {
	s.machines.changing.Lock()
	defer s.machines.changing.Unlock()
	changed, ok := s.Machine(name)
	if !ok {
		return unknown("machine", name)
	}
	change(&changed)
	return s.putMachine(&changed)
}

// DeleteMachine forgets a machine and its report: its tokens are worth nothing from then on.
func (s *Store) DeleteMachine(name string) error {
	m := &s.machines
	m.changing.Lock()
	defer m.changing.Unlock()
	if _, ok := s.Machine(name); !ok {
		return unknown("machine", name)
	}
	if err := s.write(func(txn *badger.Txn) error {
		return errors.Join(txn.Delete(named(keyMachine, name)), txn.Delete(reportOf(reporterMachine, name)))
	}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byName, name)
	return nil
}

// Machine returns a machine.
func (s *Store) Machine(name string) (Machine, bool) {
	s.machines.mu.RLock()
	defer s.machines.mu.RUnlock()
	if one := s.machines.byName[name]; one != nil {
		return *one, true
	}
	return Machine{}, false
}

// Machines returns all machines, sorted by name.
func (s *Store) Machines() []Machine {
	s.machines.mu.RLock()
	defer s.machines.mu.RUnlock()
	out := make([]Machine, 0, len(s.machines.byName))
	for _, one := range s.machines.byName {
		out = append(out, *one)
	}
	slices.SortFunc(out, func(x, y Machine) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// CheckPassword tells whether a password is that of a machine. Where there is
// no such machine a hash is compared all the same, so that the time of an
// answer does not tell which names there are.
func (s *Store) CheckPassword(name, password string) bool {
	one, ok := s.Machine(name)
	hash := one.PasswordHash
	if !ok || hash == "" {
		hash, ok = s.decoy(), false
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && ok
}

// SigningKey returns the key that tokens are signed with: made once, and kept.
func (s *Store) SigningKey() ([]byte, error) {
	var secret []byte
	if err := s.scan(keySecret, func(_, value []byte) error { secret = append(secret, value...); return nil }); err != nil || len(secret) == 32 {
		return secret, err
	}
	secret = make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	return secret, s.write(func(txn *badger.Txn) error { return txn.Set([]byte{keySecret}, secret) })
}
