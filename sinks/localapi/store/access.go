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

// ErrExists says that a name is taken.
var ErrExists = errors.New("the name is taken")

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
	LastPull time.Time `json:"last_pull"`
	// Seen is the number of the last change that it was told of, and what it asked for then.
	Seen int64 `json:"seen"`
}

// bouncers are all bouncers, by name and by the hash of their keys.
type bouncers struct {
	mu     sync.RWMutex
	byName map[string]*Bouncer
	byKey  map[[sha256.Size]byte]*Bouncer
}

// NewKey returns a random key or password.
func NewKey() string { return rand.Text() + rand.Text() }

func (s *Store) loadBouncers() error {
	b := &s.bouncers
	b.byName, b.byKey = make(map[string]*Bouncer), make(map[[sha256.Size]byte]*Bouncer)
	return s.scan(keyBouncer, func(_, value []byte) error {
		var one Bouncer
		if err := json.Unmarshal(value, &one); err != nil {
			return err
		}
		b.byName[one.Name] = &one
		return b.learn(&one)
	})
}

func (b *bouncers) learn(one *Bouncer) error {
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
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" || len(name) > 255 {
		return "", errors.New("a bouncer's name has between 1 and 255 characters")
	}
	if b.byName[name] != nil {
		return "", fmt.Errorf("bouncer %q: %w", name, ErrExists)
	}
	if key == "" {
		key = NewKey()
	}
	if len(key) < 16 {
		return "", errors.New("a bouncer's key has at least 16 characters: it must not be guessed")
	}
	return key, s.setKey(&Bouncer{Name: name, Created: s.Now().UTC()}, key)
}

// setKey gives a bouncer a key and keeps it.
func (s *Store) setKey(one *Bouncer, key string) error {
	b := &s.bouncers
	hash := sha256.Sum256([]byte(key))
	if other := b.byKey[hash]; other != nil {
		return fmt.Errorf("the key is that of bouncer %q: %w", other.Name, ErrExists)
	}
	old := one.KeyHash
	one.KeyHash = hex.EncodeToString(hash[:])
	if err := s.putBouncer(one); err != nil {
		one.KeyHash = old
		return err
	}
	maps.DeleteFunc(b.byKey, func(_ [sha256.Size]byte, o *Bouncer) bool { return o.Name == one.Name })
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
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.byName[name]
	if one == nil {
		return "", fmt.Errorf("bouncer %q: %w", name, ErrUnknown)
	}
	key = NewKey()
	return key, s.setKey(one, key)
}

// DeleteBouncer forgets a bouncer: its key is worth nothing from then on.
func (s *Store) DeleteBouncer(name string) error {
	b := &s.bouncers
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byName[name] == nil {
		return fmt.Errorf("bouncer %q: %w", name, ErrUnknown)
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Delete(named(keyBouncer, name)) }); err != nil {
		return err
	}
	delete(b.byName, name)
	maps.DeleteFunc(b.byKey, func(_ [sha256.Size]byte, o *Bouncer) bool { return o.Name == name })
	return nil
}

// Bouncers returns all bouncers, sorted by name.
func (s *Store) Bouncers() []Bouncer {
	b := &s.bouncers
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Bouncer, 0, len(b.byName))
	for _, one := range b.byName {
		out = append(out, *one)
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
	return *one, true
}

// BouncerNamed returns the bouncer of a name, as a client certificate gives
// it; one that is not known yet is made, without a key that anyone has.
func (s *Store) BouncerNamed(name string) (Bouncer, error) {
	b := &s.bouncers
	b.mu.RLock()
	one := b.byName[name]
	b.mu.RUnlock()
	if one == nil {
		if _, err := s.AddBouncer(name, ""); err != nil && !errors.Is(err, ErrExists) {
			return Bouncer{}, err
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return *b.byName[name], nil
}

// Pulled notes what a bouncer told of itself and was told. It is written down
// when it was told of changes, so that a restart repeats nothing and skips nothing.
func (s *Store) Pulled(name string, note func(*Bouncer)) error {
	b := &s.bouncers
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.byName[name]
	if one == nil {
		return nil // it was deleted meanwhile
	}
	before := *one
	note(one)
	if one.Seen == before.Seen && one.Kind == before.Kind && one.Version == before.Version && one.LastPull.Sub(before.LastPull) < time.Minute {
		return nil
	}
	return s.putBouncer(one)
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
	LastPush  time.Time `json:"last_push"`
	LastLogin time.Time `json:"last_login"`
	LastBeat  time.Time `json:"last_beat"`
}

type machines struct {
	mu     sync.RWMutex
	byName map[string]*Machine
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
// sign in until ValidateMachine.
func (s *Store) AddMachine(name, password string, valid bool) error {
	if name == "" || len(name) > 255 {
		return errors.New("a machine's name has between 1 and 255 characters")
	}
	if password == "" || len(password) > 72 {
		return errors.New("a machine's password has between 1 and 72 bytes")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return fmt.Errorf("hashing a password: %w", err)
	}
	m := &s.machines
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName[name] != nil {
		return fmt.Errorf("machine %q: %w", name, ErrExists)
	}
	return s.putMachine(&Machine{Name: name, Created: s.Now().UTC(), PasswordHash: string(hash), Valid: valid})
}

// putMachine keeps a machine.
func (s *Store) putMachine(one *Machine) error {
	text, err := json.Marshal(one)
	if err != nil {
		return err
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Set(named(keyMachine, one.Name), text) }); err != nil {
		return err
	}
	s.machines.byName[one.Name] = one
	return nil
}

// ChangeMachine changes a machine: change gets a copy, and what it makes of it is kept.
func (s *Store) ChangeMachine(name string, change func(*Machine)) error {
	m := &s.machines
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.byName[name]
	if one == nil {
		return fmt.Errorf("machine %q: %w", name, ErrUnknown)
	}
	changed := *one
	change(&changed)
	return s.putMachine(&changed)
}

// DeleteMachine forgets a machine: its tokens are worth nothing from then on.
func (s *Store) DeleteMachine(name string) error {
	m := &s.machines
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName[name] == nil {
		return fmt.Errorf("machine %q: %w", name, ErrUnknown)
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Delete(named(keyMachine, name)) }); err != nil {
		return err
	}
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

// PutMetrics keeps what somebody reported last of itself.
func (s *Store) PutMetrics(who string, report []byte) error {
	return s.write(func(txn *badger.Txn) error { return txn.Set(named(keyMetrics, who), report) })
}

// Metrics calls visit with what each reported last; the report is valid during the call.
func (s *Store) Metrics(visit func(who string, report []byte) error) error {
	return s.scan(keyMetrics, func(key, value []byte) error { return visit(string(key), value) })
}
