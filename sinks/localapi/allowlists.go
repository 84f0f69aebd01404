package localapi

import (
	"fmt"
	"net/http"

	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/store"
)

func shownList(l *store.Allowlist, content bool) lapi.GetAllowlistResponse {
	managed := false
	out := lapi.GetAllowlistResponse{
		Name: &l.Name, AllowlistId: &l.ID, Description: &l.Description, CreatedAt: &l.Created, UpdatedAt: &l.Updated, ConsoleManaged: &managed,
	}
	items := []lapi.AllowlistItem{}
	for i := range l.Items {
		it := &l.Items[i]
		value := it.Text() // the specification has no field for an expression: it stands where the address would
		item := lapi.AllowlistItem{Value: &value, Description: &it.Comment, CreatedAt: &it.Created}
		if !it.Until.IsZero() {
			item.Expiration = &it.Until
		}
		items = append(items, item)
	}
	if content {
		out.Items = &items
	}
	return out
}

// getAllowlists implements GET /allowlists.
func (s *Sink) getAllowlists(w http.ResponseWriter, r *http.Request, _ string) {
	content, err := truth(r.URL.Query(), "with_content", false)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	out := lapi.GetAllowlistsResponse{}
	for _, l := range s.store.Allowlists() {
		out = append(out, shownList(&l, content))
	}
	reply(w, http.StatusOK, out)
}

// getAllowlist implements GET /allowlists/{name}.
func (s *Sink) getAllowlist(w http.ResponseWriter, r *http.Request, _ string) {
	content, err := truth(r.URL.Query(), "with_content", true)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	l, ok := s.store.Allowlist(r.PathValue("name"))
	if !ok {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no allow-list %q", r.PathValue("name")))
		return
	}
	reply(w, http.StatusOK, shownList(&l, content))
}

// checkAllowlist implements GET and HEAD /allowlists/check/{ip_or_range}.
func (s *Sink) checkAllowlist(w http.ResponseWriter, r *http.Request, _ string) {
	p, err := parsePrefix(r.PathValue("target"))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	m, ok := s.store.Allows(p)
	if r.Method == http.MethodHead {
		if !ok {
			w.WriteHeader(http.StatusNoContent)
		}
		return
	}
	out := lapi.CheckAllowlistResponse{Allowlisted: &ok}
	if ok {
		reason := m.String()
		out.Reason = &reason
	}
	reply(w, http.StatusOK, out)
}

// checkAllowlists implements POST /allowlists/check: it answers those that are allowed.
func (s *Sink) checkAllowlists(w http.ResponseWriter, r *http.Request, _ string) {
	var body lapi.BulkCheckAllowlistRequest
	if !s.decodeAs(w, r, "Targets", &body) {
		return
	}
	out := lapi.BulkCheckAllowlistResponse{Results: []lapi.BulkCheckAllowlistResult{}}
	for _, target := range body.Targets {
		p, err := parsePrefix(target)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		if m, ok := s.store.Allows(p); ok {
			out.Results = append(out.Results, lapi.BulkCheckAllowlistResult{Target: target, Allowlists: []string{m.String()}})
		}
	}
	reply(w, http.StatusOK, out)
}
