//! Scopes that wait for their guards, scopes that fail by themselves, and bodies that outlive their nodes.

#![forbid(unsafe_code)]

use super::Schedule;
use crate::state::{Refusal, State, Verb, Verdict};

impl Schedule {
    /// Guards a scope: once nothing else in it is open it is handed out by
    /// [`settling`](Self::settling), and settles when [`settle`](Self::settle) says so.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such scope, it is guarded already, or nothing in it is open.
    pub fn guard(&mut self, scope: u32) -> Result<(), Refusal> {
        self.check_scope(scope)?;
        let tally = &mut self.tallies[scope as usize];
        if tally.is_guarded {
            return Err(Refusal::Guard { scope, problem: "is guarded already" });
        }
        if tally.is_settled() {
            return Err(Refusal::Guard { scope, problem: "has nothing open to wait for" });
        }
        tally.is_guarded = true;
        self.unsettled += 1;
        Ok(())
    }

    /// The guarded scopes in which since the last call the last member was settled, in that order, each
    /// with the worst end in it: SUCCEEDED, SKIPPED, CANCELLED or FAILED.
    ///
    /// Of two scopes in each other the outer one comes only when the inner one was let settle.
    pub fn settling(&mut self) -> Vec<(u32, State)> {
        let worst = |scope: u32| (scope, self.tallies[scope as usize].worst.state);
        let scopes = self.settling.iter().copied().map(worst).collect();
        self.settling.clear();
        scopes
    }

    /// Lets a scope settle that waits for nothing but its guard, whether or not
    /// [`settling`](Self::settling) has given it already. Returns whether there is
    /// [news](super#news).
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such scope, it has no guard, or something in it is open.
    pub fn settle(&mut self, scope: u32) -> Result<bool, Refusal> {
        self.check_scope(scope)?;
        let tally = &mut self.tallies[scope as usize];
        if !tally.is_guarded {
            return Err(Refusal::Guard { scope, problem: "has no guard that could let it settle" });
        }
        if !tally.is_waiting() {
            return Err(Refusal::Guard { scope, problem: "has members that are not settled" });
        }
        tally.is_guarded = false;
        self.waiting -= 1;
        self.unsettled -= 1;
        self.settling.retain(|other| *other != scope);
        self.pass_guard(scope);
        Ok(self.has_news())
    }

    /// Nobody guards a scope any more in which nothing is open.
    fn pass_guard(&mut self, scope: u32) {
        let verdict = self.tallies[scope as usize].worst;
        if let Some(parent) = self.close_scope(scope) {
            self.leave_scope(parent, verdict);
        }
        self.settle_due(self.clock.now());
    }

    /// Fails a scope by itself, say because its time is up: it will end as FAILED, and everything
    /// PENDING in it is skipped, as by [`abort`](Self::abort), with its exit join as the cause.
    ///
    /// The join is also to blame for the end of the scope, unless a member failed before. A scope
    /// without one has [`NONE`](crate::NONE) in its place.
    ///
    /// Returns the tasks in it that are RUNNING, RETRYING or PAUSED, ascending; [`None`] if nothing in
    /// it is open, whether it is guarded or not, and then nothing changes.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such scope.
    pub fn fail_scope(&mut self, scope: u32) -> Result<Option<Vec<u32>>, Refusal> {
        self.check_scope(scope)?;
        let join = self.layout.scope(scope).join;
        let tally = &mut self.tallies[scope as usize];
        if tally.open == 0 {
            return Ok(None);
        }
        tally.worst = tally.worst.worst(Verdict::failed(join));
        self.abort(scope, join).map(Some)
    }

    /// Keeps the slots of a RUNNING node when it leaves that state, until [`let_go`](Self::let_go).
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such node, it does not run, or it is held already.
    pub fn hold(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Hold, node)?;
        let is_new = self.held.insert(node);
        if is_new { Ok(()) } else { Err(Refusal::Held { node, verb: Verb::Hold }) }
    }

    /// Gives back what a held node has kept, if it runs no more. A RETRYING or PAUSED one may be queued
    /// again.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such node, or nobody holds it.
    pub fn let_go(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::LetGo, node)?;
        if !self.held.remove(&node) {
            return Err(Refusal::Held { node, verb: Verb::LetGo });
        }
        if !self.nodes.cell(node).is(State::Running) {
            self.give_back(node);
        }
        Ok(())
    }

    /// The slots of a node that does not run any more.
    pub(super) fn give_back(&mut self, node: u32) {
        self.running -= 1;
        if self.slots.has_gates() {
            self.slots.vacate(&self.layout, node);
            self.call_in(node);
        }
    }

    /// Asked at every end: it must cost nothing where nobody is held.
    #[inline]
    pub(super) fn is_held(&self, node: u32) -> bool {
        !self.held.is_empty() && self.is_among_held(node)
    }

    #[cold]
    fn is_among_held(&self, node: u32) -> bool {
        self.held.contains(&node)
    }
}
