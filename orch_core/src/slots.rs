//! Limits: how many nodes of a scope may run at one time, and where the others wait.
//!
//! A *gate* is a scope with a limit. (Scope 0 and the run itself are not gates: while they are full
//! nothing is taken at all.) A node runs if every gate around it has a free slot, and then takes one of
//! each. Otherwise it is *parked* at the outermost full gate and leaves the queue of ready nodes, so that
//! it does not stand in the way of others.
//!
//! # Nobody sleeps while a slot is free
//!
//! For every gate `G` and lane: if nodes are parked at `G`, then at least as many nodes from within `G`
//! as `G` has free slots are *further out*, that is in the queue or parked at a gate around `G`. So as
//! long as something parked could run, something in the queue leads there. The rule is kept thus:
//!
//! * a slot of `G` becomes free: one node parked at `G` goes into the queue;
//! * a ready node is parked at `G`, which is full: the gates around `G` are not (`G` is the outermost
//!   full one), and each sends one of its own into the queue instead;
//! * a waiting node is cancelled, skipped or restored: each gate around it with a free slot sends one.
//!
//! Parking moves a node inwards and a freed slot moves one node a step outwards, so each event costs at
//! most `O(d log n)` in the long run, with `d` gates around a node. Lanes are kept apart so that a node
//! waiting for a busy thread does not hold a slot that the event loop could use.

#![forbid(unsafe_code)]

use std::collections::BinaryHeap;

use crate::layout::{Lane, Layout};
use crate::nodes::Nodes;
use crate::ready::{Key, key, node_of};

/// The gates of one run.
#[derive(Debug)]
pub(crate) struct Slots {
    /// By scope, what it has given out and who waits; empty if there are no gates.
    gates: Vec<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    used: u32,
    /// By lane. May hold husks, as queues do.
    parked: [BinaryHeap<Key>; 2],
}

impl Slots {
    pub(crate) fn new(layout: &Layout) -> Self {
        let has_gates = layout.all_scopes().iter().any(|scope| scope.gate != crate::NONE);
        let count = if has_gates { layout.scopes() } else { 0 };
        Self { gates: std::iter::repeat_with(Gate::default).take(count).collect() }
    }

    pub(crate) fn has_gates(&self) -> bool {
        !self.gates.is_empty()
    }

    fn is_full(&self, layout: &Layout, gate: u32) -> bool {
        self.gates[gate as usize].used >= layout.scope(gate).limit
    }

    /// The outermost full gate around `node`.
    pub(crate) fn obstacle(&self, layout: &Layout, node: u32) -> Option<u32> {
        layout.gates(node).filter(|gate| self.is_full(layout, *gate)).last()
    }

    /// Parks a node at a gate that is full.
    pub(crate) fn park(&mut self, layout: &Layout, nodes: &mut Nodes, gate: u32, node: u32) {
        let lane = layout.kind(node).lane();
        nodes.set(node, nodes.cell(node).parked());
        self.gates[gate as usize].parked[lane as usize].push(key(layout, node));
    }

    /// Takes a slot of every gate around `node`.
    pub(crate) fn occupy(&mut self, layout: &Layout, node: u32) {
        layout.gates(node).for_each(|gate| self.gates[gate as usize].used += 1);
    }

    /// Gives them back.
    pub(crate) fn vacate(&mut self, layout: &Layout, node: u32) {
        layout.gates(node).for_each(|gate| self.gates[gate as usize].used -= 1);
    }

    /// Takes the best node of a lane that is parked at `gate` out, if there is a slot for it.
    pub(crate) fn unpark(
        &mut self,
        layout: &Layout,
        nodes: &Nodes,
        gate: u32,
        lane: Lane,
    ) -> Option<u32> {
        if self.is_full(layout, gate) {
            return None;
        }
        let parked = &mut self.gates[gate as usize].parked[lane as usize];
        let next = || parked.pop().map(node_of);
        std::iter::from_fn(next).find(|node| nodes.cell(*node).is_parked())
    }
}
