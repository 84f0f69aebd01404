package app

import (
	"errors"
	"fmt"
	"testing"

	"sluice/pipeline"
	"sluice/sources"
)

const stateHere = "state: {dir: state, interval: 1h, min_interval: 1h"

// assign gives the rig a partition and returns where it is read from; ok is
// false when it is not.
func (r *rig) assign(id int32, committed int64, history ...sources.Tenure) (from int64, ok bool) {
	r.t.Helper()
	positions, err := r.member.keeper.Assigned(r.t.Context(), []sources.Assignment{
		{Partition: r.member.part(id), Committed: committed, History: history},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	from, ok = positions[r.member.part(id)]
	return from, ok
}

func own(began int64) sources.Tenure    { return sources.Tenure{Began: began, Member: "a", Own: true} }
func others(began int64) sources.Tenure { return sources.Tenure{Began: began, Member: "b"} }

func TestAnAlertWaitsUntilTheGroupAcceptsItsRecords(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.env.Clock = still{}
	r.start()
	defer r.end()
	if from, ok := r.assign(0, -1); from != -1 || !ok {
		t.Fatalf("a partition that nobody has read begins at %d, %v", from, ok)
	}
	r.member.set(errors.New("the broker is away"))
	r.fail(0, 0, 6)
	r.checkpoint()
	r.none(1)
	r.member.set(nil)
	r.fail(0, 6, 7)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" || r.member.at(0) != 7 {
		t.Errorf("alert %s with %d committed, want sluice/ssh-bf@5 with 7", got, r.member.at(0))
	}
}

func TestWhatWasReleasedIsInNoDoubtAfterARestart(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.env.Clock = still{}
	r.start()
	r.assign(0, -1)
	r.fail(0, 0, 6)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
	r.end()
	r.start()
	defer r.end()
	r.none(0)
}

func TestACommitThatFailedIsTriedAgainThoughNoEpochFollows(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.member.set(errors.New("the broker is away"))
	r.fail(0, 0, 6)
	r.checkpoint()
	r.none(1)
	r.member.set(nil)
	if got := r.alert(); got != "sluice/ssh-bf@5" || r.member.at(0) != 6 {
		t.Errorf("alert %s with %d committed, want sluice/ssh-bf@5 with 6", got, r.member.at(0))
	}
}

func TestAFencedMemberReleasesNothing(t *testing.T) {
	r := newRig(t, stateHere+", missing: fresh}")
	r.env.Clock = still{}
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.fail(0, 0, 3)
	r.checkpoint()
	r.member.set(fmt.Errorf("generation 7: %w", sources.ErrFenced))
	r.fail(0, 3, 6)
	r.checkpoint()
	r.none(1)
	r.member.set(nil)
	// Another member has gone on from 3, and found what these records made.
	if from, ok := r.assign(0, 8, others(3), own(-1)); from != 8 || !ok {
		t.Errorf("the partition goes on at %d, %v; want 8 with empty state", from, ok)
	}
	r.none(0)
	if n := r.p.durable.members.discarded.Load(); n != 1 {
		t.Errorf("%d alerts were discarded, want 1", n)
	}
	r.fail(0, 8, 14) // the state is empty: it takes six again
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@13" {
		t.Errorf("alert %s, want sluice/ssh-bf@13", got)
	}
}

func TestAMemberThatWasStoppedGoesOnWhereNobodyElseHas(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.env.Clock = still{}
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.fail(0, 0, 3)
	r.checkpoint()
	r.member.set(sources.ErrFenced)
	r.fail(0, 3, 6)
	r.checkpoint()
	r.none(1)
	r.member.set(nil)
	if from, ok := r.assign(0, 3, own(-1)); from != 6 || !ok {
		t.Fatalf("the partition goes on at %d, %v; want 6, where the state stands", from, ok)
	}
	r.none(1) // until the group has heard of it
	r.fail(0, 6, 7)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
}

// TestAlertsInDoubtOutliveACrash: the commit's answer was never heard.
func TestAlertsInDoubtOutliveACrash(t *testing.T) {
	for _, tc := range []struct {
		name      string
		committed int64
		history   []sources.Tenure
		released  bool
		doubts    int
		from      int64
	}{
		{"accepted, and nobody went on", 6, []sources.Tenure{own(-1)}, true, 0, 6},
		{"accepted, and another went on from there", 9, []sources.Tenure{others(6), own(-1)}, true, 0, 9},
		{"refused, and another went on from before", 9, []sources.Tenure{others(3), own(-1)}, false, 0, 9},
		{"lost, and nobody went on", 3, []sources.Tenure{own(-1)}, false, 1, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, stateHere+", missing: fresh}")
			r.env.Clock = still{}
			r.start()
			r.assign(0, -1)
			r.fail(0, 0, 3)
			r.checkpoint()
			r.member.set(errors.New("the broker does not answer"))
			r.fail(0, 3, 6)
			r.checkpoint()
			r.end()
			r.member.set(nil)
			r.start()
			defer r.end()
			r.none(1)
			if from, ok := r.assign(0, tc.committed, tc.history...); from != tc.from || !ok {
				t.Errorf("the partition goes on at %d, %v; want %d", from, ok, tc.from)
			}
			if tc.released {
				if got := r.alert(); got != "sluice/ssh-bf@5" {
					t.Errorf("alert %s, want sluice/ssh-bf@5", got)
				}
			}
			r.none(tc.doubts)
		})
	}
}

func TestAPartitionWhoseStateIsElsewhereFollowsTheConfiguration(t *testing.T) {
	for _, tc := range []struct {
		missing string
		from    int64
		read    bool
	}{
		{"wait", 0, false}, {"fresh", 20, true}, {"rebuild", 16, true},
	} {
		t.Run(tc.missing, func(t *testing.T) {
			r := newRig(t, stateHere+", missing: "+tc.missing+"}")
			r.env.Clock = still{}
			r.member.rewound = 4
			r.start()
			defer r.end()
			from, ok := r.assign(0, 20, others(-1))
			if ok != tc.read || from != tc.from {
				t.Fatalf("it is read %v from %d, want %v from %d", ok, from, tc.read, tc.from)
			}
			m := r.p.durable.members
			counted := m.waiting.Load() + m.fresh.Load() + m.rebuilt.Load()
			if counted != 1 {
				t.Errorf("it was counted %d times, want once", counted)
			}
			if tc.missing != "rebuild" {
				return
			}
			// Four records are read again to fill the bucket, two are new.
			r.fail(0, 16, 20)
			r.checkpoint()
			if at := r.member.at(0); at != 20 && at != 0 {
				t.Errorf("the group was taken back to %d", at)
			}
			r.fail(0, 20, 22)
			r.checkpoint()
			if got := r.alert(); got != "sluice/ssh-bf@21" {
				t.Errorf("alert %s, want sluice/ssh-bf@21", got)
			}
		})
	}
}

func TestWhatARebuildFindsAgainIsNotReleased(t *testing.T) {
	r := newRig(t, stateHere+", missing: rebuild}")
	r.env.Clock = still{}
	r.member.rewound = 10
	r.start()
	defer r.end()
	r.assign(0, 20, others(-1))
	r.fail(0, 10, 20) // the alert at 15 is the other member's
	r.checkpoint()
	r.none(0)
	if n := r.p.stats.muted.Load(); n != 1 {
		t.Errorf("%d alerts were muted, want 1", n)
	}
}

func TestARevokedPartitionIsCommittedBeforeItLeaves(t *testing.T) {
	r := newRig(t, stateHere+"}")
	r.env.Clock = still{}
	r.start()
	defer r.end()
	r.assign(0, -1)
	r.fail(0, 0, 4)
	if err := r.member.keeper.Revoked(t.Context(), []pipeline.Partition{r.member.part(0)}); err != nil {
		t.Fatal(err)
	}
	if at := r.member.at(0); at != 4 {
		t.Errorf("the group stands at %d, want 4", at)
	}
	if held := r.member.keeper.Held(); held[r.member.part(0)] != 4 {
		t.Errorf("the state holds %v, want 4", held)
	}
	// It comes back, and the state is whole: two more make six.
	if from, ok := r.assign(0, 4, own(4), own(-1)); from != 4 || !ok {
		t.Fatalf("it goes on at %d, %v", from, ok)
	}
	r.fail(0, 4, 6)
	r.checkpoint()
	if got := r.alert(); got != "sluice/ssh-bf@5" {
		t.Errorf("alert %s, want sluice/ssh-bf@5", got)
	}
}
