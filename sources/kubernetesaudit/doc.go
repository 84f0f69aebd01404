// Package kubernetesaudit is the source of Kubernetes audit events, as the API
// server's webhook backend posts them.
//
// The server, its limits and its answers are package httpd's; here is what is
// in a body: an EventList of audit.k8s.io/v1, each event of which is a record.
package kubernetesaudit
