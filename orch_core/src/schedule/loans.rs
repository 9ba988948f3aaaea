//! Nodes that are not simply started and ended: starts of which nobody is told, and more slots than one.

#![forbid(unsafe_code)]

use super::Schedule;
use crate::state::{Reason, Refusal, State, Verb};

impl Schedule {
    /// Has the first start of a PENDING node leave no entry in the journal.
    ///
    /// If it succeeds or is cancelled without [`begin`](Self::begin), it has never run, as far as the
    /// journal says. What only a node that runs can do (fail, retry, pause) says so by itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as for every verb, if there is no such node or its state does not allow it.
    pub fn hush(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Hush, node)?;
        self.hushed.insert(node);
        Ok(())
    }

    /// Says that a hushed node that was taken does run: its RUNNING is entered now.
    ///
    /// # Errors
    ///
    /// As [`hush`](Self::hush), and if that was said already.
    pub fn begin(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Begin, node)?;
        if !self.is_hushed(node) {
            return Err(Refusal::Absent { node, verb: Verb::Begin });
        }
        self.surface(node);
        Ok(())
    }

    /// Enters the start of a node that runs, if that was not done.
    #[inline]
    pub(super) fn surface(&mut self, node: u32) {
        if self.is_hushed(node) && self.nodes.state(node) == State::Running {
            self.hushed.remove(&node);
            self.journal.push(node, State::Running, Reason::None, self.clock.now());
        }
    }

    /// Takes one more slot for a RUNNING node, of the run and of every scope around it. Returns whether
    /// there was one.
    ///
    /// It is kept until [`repay`](Self::repay), also after the end of the node.
    ///
    /// # Errors
    ///
    /// As [`hush`](Self::hush).
    pub fn borrow(&mut self, node: u32) -> Result<bool, Refusal> {
        self.check(Verb::Borrow, node)?;
        let has_gates = self.slots.has_gates();
        if self.running >= self.limit
            || has_gates && self.slots.obstacle(&self.layout, node).is_some()
        {
            return Ok(false);
        }
        self.running += 1;
        if has_gates {
            self.slots.occupy(&self.layout, node);
        }
        *self.loans.entry(node).or_insert(0) += 1;
        Ok(true)
    }

    /// Gives back one slot that a node has borrowed.
    ///
    /// # Errors
    ///
    /// As [`hush`](Self::hush), and if the node has borrowed nothing.
    pub fn repay(&mut self, node: u32) -> Result<(), Refusal> {
        self.check(Verb::Repay, node)?;
        let Some(count) = self.loans.get_mut(&node) else {
            return Err(Refusal::Absent { node, verb: Verb::Repay });
        };
        *count -= 1;
        if *count == 0 {
            self.loans.remove(&node);
        }
        self.give_back(node);
        Ok(())
    }

    /// Asked at every start: it must cost nothing where nobody is hushed.
    #[inline]
    pub(super) fn is_hushed(&self, node: u32) -> bool {
        !self.hushed.is_empty() && self.is_among_hushed(node)
    }

    #[cold]
    fn is_among_hushed(&self, node: u32) -> bool {
        self.hushed.contains(&node)
    }
}
