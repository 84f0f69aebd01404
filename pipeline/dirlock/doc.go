// Package dirlock lets one process have the use of a folder, or several that
// only read it. The lock is on the folder itself and ends with the process,
// however that ends; it is the one that Badger and its tools take.
package dirlock
