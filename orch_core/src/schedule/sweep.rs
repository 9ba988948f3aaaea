//! Whole scopes at once: what is pending in them ends, what is under way is named.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::Schedule;
use crate::state::{NONE, Reason, Refusal, State, Verdict};

impl Schedule {
    /// Skips every PENDING task of `scope` and the scopes inside it, because of `cause`, and returns
    /// the tasks that are RUNNING, RETRYING or PAUSED there, ascending.
    ///
    /// Joins settle through their scopes. One whose scope has nothing open, but which waits for other
    /// predecessors, is settled as well. `cause` may be [`NONE`].
    ///
    /// # Errors
    ///
    /// [`Refusal`] if there is no such scope or cause.
    pub fn abort(&mut self, scope: u32, cause: u32) -> Result<Vec<u32>, Refusal> {
        self.check_scope(scope)?;
        if cause != NONE {
            self.state(cause)?;
        }
        let now = self.clock.now();
        let (tasks, scopes) = self.open_part(scope);
        let skip = Verdict::skipped(Reason::Aborted, cause);
        self.settle_pending(&tasks, now, |_| skip);
        for inner in scopes.into_iter().rev() {
            self.give_up_exit(inner, skip, now);
        }
        Ok(self.in_flight(&tasks))
    }

    /// Cancels every PENDING task and returns those that are RUNNING, RETRYING or PAUSED, ascending.
    ///
    /// From now on the run ends as CANCELLED. A run that is finished already is left as it is.
    pub fn cancel_all(&mut self) -> Vec<u32> {
        if !self.is_active() {
            return Vec::new();
        }
        self.is_cancelled = true;
        let (tasks, _) = self.open_part(0);
        self.settle_pending(&tasks, self.clock.now(), Verdict::cancelled);
        self.in_flight(&tasks)
    }

    /// The tasks of `scope` that lie in open scopes, ascending, and the scopes inside it that are
    /// open or lie directly in an open one. What is closed is stepped over, not walked through.
    fn open_part(&self, scope: u32) -> (Vec<u32>, Vec<u32>) {
        let (mut tasks, mut scopes) = (Vec::new(), Vec::new());
        let outer = self.layout.scope(scope);
        let (mut at, mut next) = (outer.start, scope + 1);
        if self.tallies[scope as usize].open == 0 {
            return (tasks, scopes);
        }
        while next < outer.after {
            let inner = self.layout.scope(next);
            self.open_tasks(at..inner.start, &mut tasks);
            scopes.push(next);
            let is_open = self.tallies[next as usize].open > 0;
            (at, next) = if is_open { (inner.start, next + 1) } else { (inner.end, inner.after) };
        }
        self.open_tasks(at..outer.end, &mut tasks);
        (tasks, scopes)
    }

    fn open_tasks(&self, range: Range<u32>, tasks: &mut Vec<u32>) {
        let is_open = |node: &u32| !self.nodes.state(*node).is_settled();
        let is_task = |node: &u32| !self.layout.kind(*node).is_join();
        tasks.extend(range.filter(is_open).filter(is_task));
    }

    /// All first change their state and only then tell others, so that each is told of one end only.
    fn settle_pending(&mut self, tasks: &[u32], now: u64, verdict: impl Fn(u32) -> Verdict) {
        let is_pending = |node: &u32| self.nodes.cell(*node).is(State::Pending);
        let pending: Vec<u32> = tasks.iter().copied().filter(is_pending).collect();
        for &node in &pending {
            self.leave(node);
            self.close(node, verdict(node), now);
        }
        for &node in &pending {
            self.spread(node, verdict(node));
        }
        self.settle_due(now);
    }

    fn give_up_exit(&mut self, scope: u32, skip: Verdict, now: u64) {
        let join = self.layout.scope(scope).join;
        let is_closed = self.tallies[scope as usize].is_settled();
        if is_closed && join != NONE && self.nodes.cell(join).is(State::Pending) {
            let verdict = self.own_verdict(join).worst(skip);
            self.close(join, verdict, now);
            self.spread(join, verdict);
            self.settle_due(now);
        }
    }

    fn in_flight(&self, tasks: &[u32]) -> Vec<u32> {
        tasks.iter().copied().filter(|node| !self.nodes.state(*node).is_settled()).collect()
    }
}
