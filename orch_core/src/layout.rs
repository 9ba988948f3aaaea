//! What a run must know of a plan besides its edges: lanes, groups, limits, whose values to let go.
//!
//! A **lane** says who runs a node: the event loop, a thread, or nobody, for a *join* settles by itself
//! as soon as its predecessors are settled.
//!
//! A **scope** is a group of the definition. It covers a contiguous range of nodes, the ranges nest, and
//! scope 0 covers everything. A scope may have a limit, the most nodes in its range that run at one
//! time. It may have an **exit join**, the node right behind its range: that one waits for the whole
//! scope besides its own predecessors, and ends as badly as the worst member of the scope. Seen from
//! outside, the exit join *is* the group. A scope without one settles straight into its parent.
//!
//! Scopes come in preorder: a parent before its children, children from left to right.
//!
//! A **kept** node is one whose value stays. Of the others the schedule says when the last reader is
//! settled, see [`Schedule::drain`](crate::Schedule::drain).
//!
//! # Costs
//!
//! [`Layout::new`] checks everything in `O(n + s)`, with `s` scopes, and in `O(n + m)` where edges point
//! backwards and scopes have exits. It keeps one byte a node if there are several lanes, one if a value
//! is to be let go, four if there are several scopes, four if something has a limit, and 32 a scope.

#![forbid(unsafe_code)]

mod chains;

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::dag::Dag;
use crate::scope::{self, Scope, Scopes};
use crate::state::NONE;

/// Who runs a node.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The event loop.
    Loop = 0,
    /// A worker thread.
    Thread = 1,
}

/// What a node is: [`Lane`] as the schedule needs it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Loop = 0,
    Thread = 1,
    /// Settles by itself.
    Join = 2,
    /// Settles by itself, and waits for a scope. Not a number callers may use.
    Exit = 3,
}

impl Kind {
    pub(crate) const fn is_join(self) -> bool {
        matches!(self, Self::Join | Self::Exit)
    }

    /// The lane of a task. (A join has none, and nobody asks.)
    pub(crate) const fn lane(self) -> Lane {
        if matches!(self, Self::Thread) { Lane::Thread } else { Lane::Loop }
    }
}

/// Why [`Layout::new`] refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// A column has the wrong length.
    Length {
        /// Which column.
        column: &'static str,
        /// How long it is.
        got: usize,
        /// How long it must be.
        expected: usize,
    },
    /// A byte means nothing in its column.
    Value {
        /// Which column.
        column: &'static str,
        /// Whose byte it is.
        node: usize,
        /// What was given.
        got: u8,
    },
    /// A scope does not fit into the others.
    Scope {
        /// Which one.
        scope: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A node waits, over an exit join, for itself.
    Deadlock {
        /// The lowest node that could never be settled.
        node: u32,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { column, got, expected } => {
                write!(f, "{column} has {got} entries, expected {expected}")
            }
            Self::Value { column, node, got } => {
                write!(f, "{column}[{node}] is {got}, expected {}", expected(column))
            }
            Self::Scope { scope, problem } => write!(f, "scope {scope} {problem}"),
            Self::Deadlock { node } => {
                write!(f, "node {node} would wait for itself over the exit join of a scope")
            }
        }
    }
}

impl std::error::Error for LayoutError {}

fn expected(column: &str) -> &'static str {
    if column == "lanes" { "0 (loop), 1 (thread) or 2 (join)" } else { "0 or 1" }
}

/// A plan as a run sees it. Immutable, shared by all runs of the plan; see the [module](self).
#[derive(Debug)]
pub struct Layout {
    dag: Arc<Dag>,
    /// Empty if every node is in the loop lane.
    kinds: Box<[Kind]>,
    /// Empty if every value is kept.
    keeps: Box<[bool]>,
    /// The innermost scope around a node, but for an exit join the scope it waits for. Empty if
    /// there is one scope only.
    homes: Box<[u32]>,
    scopes: Box<[Scope]>,
    heights: OnceLock<Box<[u32]>>,
}

impl Layout {
    /// Checks that everything fits together.
    ///
    /// `lanes` has the number of a [`Lane`], or 2 for a join, for each node; without it all are in the
    /// loop. `kept` has 0 for each node whose value may go; without it all stay. Without `scopes`
    /// there is one scope.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] names the first thing that does not fit.
    pub fn new(
        dag: Arc<Dag>,
        lanes: Option<&[u8]>,
        kept: Option<&[u8]>,
        scopes: Option<Scopes<'_>>,
    ) -> Result<Self, LayoutError> {
        let nodes = dag.len();
        let mut kinds =
            lanes.map_or(Ok(Vec::new()), |lanes| column("lanes", lanes, nodes, kind))?;
        let keeps = kept.map_or(Ok(Vec::new()), |kept| column("retained", kept, nodes, flag))?;
        let ends = [nodes as u32];
        let one = Scopes { parents: &[NONE], starts: &[0], ends: &ends, joins: None, limits: None };
        let (scopes, homes) = scope::nest(scopes.unwrap_or(one), nodes, &mut kinds)?;
        let layout = Self {
            dag,
            kinds: squeeze(kinds, Kind::Loop),
            keeps: squeeze(keeps, true),
            homes: squeeze(homes, 0),
            scopes: scopes.into_boxed_slice(),
            heights: OnceLock::new(),
        };
        layout.check_for_deadlock().map(|()| layout)
    }

    /// The graph it belongs to.
    #[must_use]
    pub fn dag(&self) -> &Arc<Dag> {
        &self.dag
    }

    /// How many scopes there are, at least one.
    #[must_use]
    pub fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// Whether some scope has a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.scopes.iter().any(|scope| scope.limit > 0)
    }

    pub(crate) fn kind(&self, node: u32) -> Kind {
        self.kinds.get(node as usize).copied().unwrap_or(Kind::Loop)
    }

    pub(crate) fn keeps(&self, node: u32) -> bool {
        self.keeps.get(node as usize).copied().unwrap_or(true)
    }

    /// Whether no value may ever go.
    pub(crate) fn keeps_all(&self) -> bool {
        self.keeps.is_empty()
    }

    pub(crate) fn home(&self, node: u32) -> u32 {
        self.homes.get(node as usize).copied().unwrap_or(0)
    }

    pub(crate) fn scope(&self, scope: u32) -> &Scope {
        &self.scopes[scope as usize]
    }

    pub(crate) fn all_scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The limited scopes around a task, innermost first, scope 0 left out.
    pub(crate) fn gates(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let limited = |gate: u32| (gate != NONE).then_some(gate);
        std::iter::successors(limited(self.scope(self.home(node)).gate), move |gate| {
            match self.scope(*gate).parent {
                NONE => None,
                parent => limited(self.scope(parent).gate),
            }
        })
    }

    /// The scope that waits for a node: of an exit join the one outside, of other joins none.
    pub(crate) fn member_of(&self, node: u32) -> Option<u32> {
        match self.kind(node) {
            Kind::Loop | Kind::Thread => Some(self.home(node)),
            Kind::Exit => Some(self.scope(self.home(node)).parent),
            Kind::Join => None,
        }
    }

    fn has_exits(&self) -> bool {
        self.scopes.iter().any(|scope| scope.join != NONE)
    }

    /// Exit joins add waiting that the graph has not seen. Where all edges go forward, so do these.
    fn check_for_deadlock(&self) -> Result<(), LayoutError> {
        if self.dag.goes_forward() || !self.has_exits() {
            return Ok(());
        }
        let mut order = self.rehearse();
        if order.len() == self.dag.len() {
            return Ok(());
        }
        order.sort_unstable();
        let gap = order.iter().zip(0..).find(|(node, at)| *node != at).map(|(_, at)| at);
        Err(LayoutError::Deadlock { node: gap.unwrap_or(order.len() as u32) })
    }

    /// The nodes in an order in which they can be settled: all of them, unless some wait for themselves.
    fn rehearse(&self) -> Vec<u32> {
        let mut run = Rehearsal::new(self);
        let mut order: Vec<u32> = Vec::with_capacity(self.dag.len());
        order.extend((0..self.dag.len() as u32).filter(|node| run.waits[*node as usize] == 0));
        let mut at = 0;
        while let Some(&node) = order.get(at) {
            for edge in self.dag.successors(node) {
                order.extend(run.arrive(edge.node()));
            }
            if let Some(scope) = self.member_of(node) {
                order.extend(run.leave(self, scope));
            }
            at += 1;
        }
        order
    }

    /// How many predecessors each node has, and an exit join one more: its scope.
    pub(crate) fn waits(&self) -> Vec<u32> {
        let count = |node| self.dag.predecessors(node).len() as u32;
        let mut waits: Vec<_> = (0..self.dag.len() as u32).map(count).collect();
        let exits = self.scopes.iter().filter(|scope| scope.join != NONE);
        exits.for_each(|scope| waits[scope.join as usize] += 1);
        waits
    }
}

/// The counters of a run in which everything succeeds.
struct Rehearsal {
    waits: Vec<u32>,
    open: Vec<u32>,
}

impl Rehearsal {
    fn new(layout: &Layout) -> Self {
        let open = layout.scopes.iter().map(|scope| scope.members).collect();
        let mut run = Self { waits: layout.waits(), open };
        for (at, scope) in layout.scopes.iter().enumerate().filter(|(_, scope)| scope.members == 0)
        {
            if scope.join != NONE {
                run.waits[scope.join as usize] -= 1;
            } else if at > 0 {
                run.leave(layout, scope.parent);
            }
        }
        run
    }

    fn arrive(&mut self, node: u32) -> Option<u32> {
        self.waits[node as usize] -= 1;
        (self.waits[node as usize] == 0).then_some(node)
    }

    /// A member of `scope` is settled; returns an exit join that has nothing left to wait for.
    fn leave(&mut self, layout: &Layout, mut scope: u32) -> Option<u32> {
        loop {
            self.open[scope as usize] -= 1;
            let here = layout.scope(scope);
            if self.open[scope as usize] > 0 || (here.join == NONE && here.parent == NONE) {
                return None;
            }
            if here.join != NONE {
                return self.arrive(here.join);
            }
            scope = here.parent;
        }
    }
}

fn kind(lane: u8) -> Option<Kind> {
    [Kind::Loop, Kind::Thread, Kind::Join].get(usize::from(lane)).copied()
}

fn flag(byte: u8) -> Option<bool> {
    [false, true].get(usize::from(byte)).copied()
}

/// One column of bytes, read with `parse`.
fn column<T>(
    name: &'static str,
    bytes: &[u8],
    expected: usize,
    parse: impl Fn(u8) -> Option<T>,
) -> Result<Vec<T>, LayoutError> {
    check_length(name, bytes.len(), expected)?;
    let parsed = bytes
        .iter()
        .enumerate()
        .map(|(node, &got)| parse(got).ok_or(LayoutError::Value { column: name, node, got }));
    parsed.collect()
}

pub(crate) fn check_length(
    column: &'static str,
    got: usize,
    expected: usize,
) -> Result<(), LayoutError> {
    if got == expected { Ok(()) } else { Err(LayoutError::Length { column, got, expected }) }
}

/// The column, or nothing if it says nothing but `usual`.
fn squeeze<T: PartialEq + Copy>(column: Vec<T>, usual: T) -> Box<[T]> {
    if column.iter().all(|value| *value == usual) {
        return Box::default();
    }
    column.into_boxed_slice()
}
