//! What can be asked of a run. Nothing here changes it.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::{Schedule, Tally};
use crate::journal::Entry;
use crate::layout::Lane;
use crate::scope::Scope;
use crate::state::{Cell, NONE, Refusal, State};

impl Schedule {
    /// How many nodes run, or are [held](Self::hold) because their bodies do.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Whether some node or some guarded scope is not settled.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.unsettled > 0
    }

    /// The state of a node.
    ///
    /// # Errors
    ///
    /// [`Refusal::Node`] if there is no such node.
    #[inline]
    pub fn state(&self, node: u32) -> Result<State, Refusal> {
        let nodes = self.nodes.len();
        self.nodes.get(node).map(Cell::state).ok_or(Refusal::Node { node, nodes })
    }

    /// The states of all nodes, by number.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.nodes.states()
    }

    /// How the run stands: RUNNING while it is active, but PAUSED if nothing happens until somebody
    /// resumes a node, no failure is unanswered and no guard awaited; then FAILED, CANCELLED or
    /// SUCCEEDED.
    #[must_use]
    pub fn outcome(&self) -> State {
        let is_busy = self.running + self.retrying > 0 || self.is_anything_due();
        match self.tallies[0].worst.state {
            _ if self.is_active() && !is_busy && self.paused > 0 => State::Paused,
            _ if self.is_active() => State::Running,
            _ if self.is_cancelled => State::Cancelled,
            State::Skipped => State::Succeeded,
            state => state,
        }
    }

    fn is_anything_due(&self) -> bool {
        self.waiting > 0
            || self.has_failures()
            || self.ready.live(Lane::Loop) + self.ready.live(Lane::Thread) > 0
    }

    /// How a group stands: as [`outcome`](Self::outcome), and SKIPPED if that is the worst in it.
    ///
    /// Looks at all nodes of an open scope.
    ///
    /// # Errors
    ///
    /// [`Refusal::Scope`] if there is no such scope.
    pub fn scope_outcome(&self, scope: u32) -> Result<State, Refusal> {
        self.check_scope(scope)?;
        let (tally, shape) = (self.tallies[scope as usize], self.layout.scope(scope));
        Ok(match shape.join {
            _ if scope == 0 => self.outcome(),
            NONE if tally.is_settled() => tally.worst.state,
            join if join != NONE && self.nodes.state(join).is_settled() => self.nodes.state(join),
            _ if self.is_stuck(scope) => State::Paused,
            _ => State::Running,
        })
    }

    /// Whether some node of the scope is PAUSED and none runs, is ready or may become so by what
    /// somebody owes an answer to.
    fn is_stuck(&self, scope: u32) -> bool {
        let Scope { start, end, after, .. } = *self.layout.scope(scope);
        if self.has_failures() || self.waits_for_guard(scope..after) {
            return false;
        }
        let lasts = self.held.range(start..end).next().is_some();
        if lasts || self.loans.range(start..end).next().is_some() {
            return false;
        }
        let mut paused = 0;
        for cell in (start..end).map(|node| self.nodes.cell(node)) {
            match cell.state() {
                _ if cell.is_queued() || cell.is_parked() => return false,
                State::Running | State::Retrying => return false,
                State::Paused => paused += 1,
                _ => {}
            }
        }
        paused > 0
    }

    fn waits_for_guard(&self, scopes: Range<u32>) -> bool {
        let tallies = &self.tallies[scopes.start as usize..scopes.end as usize];
        self.waiting > 0 && tallies.iter().any(Tally::is_waiting)
    }

    /// Nanoseconds since the schedule was made, or the time that was set.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// How many entries the journal has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.journal.len()
    }

    /// Whether the journal is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from `start` to before `stop`, as far as there are any. Joins leave none.
    pub fn journal(&self, start: usize, stop: usize) -> impl Iterator<Item = Entry> + '_ {
        let cause_of = |node| self.nodes.cause(node);
        (start..stop.min(self.len())).map(move |at| self.journal.entry(at, cause_of))
    }
}
