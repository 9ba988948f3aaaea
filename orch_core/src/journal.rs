//! What happened, in order: one entry for every change of a task's state.
//!
//! Three columns, 13 bytes an entry. The cause of a skip is not among them: a node is skipped once, so
//! its cause lies with the node.

#![forbid(unsafe_code)]

use crate::state::{Reason, State};

/// The state number of an entry that the caller wrote with [`Schedule::note`](crate::Schedule::note).
pub const NOTE: u8 = 15;

/// One line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is about.
    pub node: u32,
    /// The number of the [`State`] that was entered, or [`NOTE`].
    pub state: u8,
    /// The number of the [`Reason`] of a skip.
    pub reason: u8,
    /// The node to blame for a skip, or [`NONE`](crate::NONE).
    pub cause: u32,
    /// When, in nanoseconds since the schedule was made (or by the manual clock).
    pub time: u64,
}

/// The columns. A tag is the number of the state, and the reason four bits above it.
#[derive(Debug)]
pub(crate) struct Journal {
    times: Vec<u64>,
    nodes: Vec<u32>,
    tags: Vec<u8>,
}

impl Journal {
    /// An empty journal with room for an undisturbed run: each node starts and ends once.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            times: Vec::with_capacity(2 * nodes),
            nodes: Vec::with_capacity(2 * nodes),
            tags: Vec::with_capacity(2 * nodes),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, node: u32, state: State, reason: Reason, time: u64) {
        self.write(node, state as u8 | (reason as u8) << 4, time);
    }

    pub(crate) fn note(&mut self, node: u32, time: u64) {
        self.write(node, NOTE, time);
    }

    #[inline]
    fn write(&mut self, node: u32, tag: u8, time: u64) {
        self.times.push(time);
        self.nodes.push(node);
        self.tags.push(tag);
    }

    /// The entry at a position that exists. `cause_of` is asked only for skips.
    pub(crate) fn entry(&self, at: usize, cause_of: impl Fn(u32) -> u32) -> Entry {
        let (node, tag) = (self.nodes[at], self.tags[at]);
        let (state, reason) = (tag & 0b1111, tag >> 4);
        let cause = if reason == 0 { crate::NONE } else { cause_of(node) };
        Entry { node, state, reason, cause, time: self.times[at] }
    }
}
