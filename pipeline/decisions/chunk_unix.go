//go:build unix && !race

package decisions

import (
	"runtime"
	"syscall"
	"unsafe"
)

// outside is memory for values of type T, which hold no pointer, out of the
// garbage collector's heap: it lets as much garbage pile up as there is memory in
// use, and a million decisions would so take twice their size. Once it is
// unreachable itself, so is all that it gave, which the system then gets back.
type outside[T any] struct{ mapped *mappings[T] }

// mappings are what an outside has given.
type mappings[T any] struct{ all map[*T]struct{} }

// get returns an empty value.
func (o *outside[T]) get() *T {
	b, err := syscall.Mmap(-1, 0, int(unsafe.Sizeof(*new(T))), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return new(T) // the runtime says it better if there is no memory
	}
	if o.mapped == nil {
		o.mapped = &mappings[T]{make(map[*T]struct{})}
		runtime.AddCleanup(o, (*mappings[T]).free, o.mapped)
	}
	p := (*T)(unsafe.Pointer(&b[0]))
	o.mapped.all[p] = struct{}{}
	return p
}

// put gives a value back to the system. No pointer to it may be left: the
// runtime may find another's memory there, and stops the process.
func (o *outside[T]) put(p *T) {
	if o.mapped == nil {
		return
	}
	if _, ok := o.mapped.all[p]; ok { // else it is in the heap
		delete(o.mapped.all, p)
		unmap(p)
	}
}

func (m *mappings[T]) free() {
	for p := range m.all {
		unmap(p)
	}
}

func unmap[T any](p *T) {
	_ = syscall.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))) // what is not given back stays until the process ends
}
