//! What a run knows of each node: one byte of state and doom, and how many it waits for.
//!
//! Nine bytes a node at most: the causes are only kept once something did not succeed.

#![forbid(unsafe_code)]

use crate::dag::Edge;
use crate::layout::Layout;
use crate::state::{Cell, NONE, Reason, State, Verdict};

/// Columns by node.
#[derive(Debug)]
pub(crate) struct Nodes {
    cells: Vec<Cell>,
    /// Predecessors that are not settled; for an exit join its scope counts as one.
    waits: Vec<u32>,
    /// For a doomed or badly ended node whom to blame. Empty until there is one.
    causes: Vec<u32>,
}

impl Nodes {
    pub(crate) fn new(layout: &Layout) -> Self {
        let cells = vec![Cell::PENDING; layout.dag().len()];
        Self { cells, waits: layout.waits(), causes: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn get(&self, node: u32) -> Option<Cell> {
        self.cells.get(node as usize).copied()
    }

    pub(crate) fn cell(&self, node: u32) -> Cell {
        self.cells[node as usize]
    }

    pub(crate) fn set(&mut self, node: u32, cell: Cell) {
        self.cells[node as usize] = cell;
    }

    pub(crate) fn state(&self, node: u32) -> State {
        self.cell(node).state()
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.cells.iter().map(|cell| cell.state())
    }

    pub(crate) fn cause(&self, node: u32) -> u32 {
        self.causes.get(node as usize).copied().unwrap_or(NONE)
    }

    /// Whether a pending node has nothing left to wait for.
    pub(crate) fn is_free(&self, node: u32) -> bool {
        self.waits[node as usize] == 0 && self.cell(node).is(State::Pending)
    }

    /// One thing less to wait for; says whether that was the last.
    pub(crate) fn arrive(&mut self, node: u32) -> bool {
        self.waits[node as usize] -= 1;
        self.is_free(node)
    }

    /// The same, along an edge from a node that ended with `verdict`. The first bad news counts.
    pub(crate) fn arrive_along(&mut self, edge: Edge, verdict: Verdict) -> bool {
        let node = edge.node();
        let cell = self.cell(node);
        let is_doom = verdict.reason != Reason::None && edge.is_data();
        if is_doom && cell.is(State::Pending) && !cell.is_doomed() {
            self.blame(node, verdict);
        }
        self.arrive(node)
    }

    /// Dooms a pending node to be cancelled when its turn comes: it is itself to blame.
    pub(crate) fn withdraw(&mut self, node: u32) {
        if !self.cell(node).is_doomed() {
            self.blame(node, Verdict::cancelled(node));
        }
    }

    /// What doom there is for a node that is about to settle by itself.
    pub(crate) fn doom(&self, node: u32) -> Verdict {
        match self.cell(node).reason() {
            Reason::None => Verdict::SUCCESS,
            Reason::UpstreamCancelled if self.cause(node) == node => Verdict::cancelled(node),
            reason => Verdict::skipped(reason, self.cause(node)),
        }
    }

    /// The end of a node.
    pub(crate) fn close(&mut self, node: u32, verdict: Verdict) {
        if verdict.reason != Reason::None {
            self.blame(node, verdict);
        }
        self.set(node, self.cell(node).with_state(verdict.state));
    }

    #[cold]
    fn blame(&mut self, node: u32, verdict: Verdict) {
        if self.causes.is_empty() {
            self.causes = vec![NONE; self.cells.len()];
        }
        self.set(node, self.cell(node).with_reason(verdict.reason));
        self.causes[node as usize] = verdict.cause;
    }
}
