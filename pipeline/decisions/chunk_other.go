//go:build !unix || race

package decisions

// outside is memory in the heap where there is no other, and where the race
// detector is to see it: see chunk_unix.go.
type outside[T any] struct{}

func (*outside[T]) get() *T { return new(T) }
func (*outside[T]) put(*T)  {}
