//! The longest chains of a plan: what to start first where not all can run at once.
//!
//! A chain runs along edges and from a member of a scope to its exit. Its length is the number of its
//! tasks. Joins are on the way but weigh nothing: that steps stand in a group is no reason to start them
//! earlier or later than others.

#![forbid(unsafe_code)]

use super::Layout;
use crate::state::NONE;

impl Layout {
    /// For every node how many tasks the longest chain behind it has. `O(n + m)` the first time.
    pub fn heights(&self) -> &[u32] {
        self.heights.get_or_init(|| self.measure().into_boxed_slice())
    }

    /// The tasks of a longest chain, in order; empty if there are none. `O(n + m)`.
    ///
    /// Of several chains it is the one that starts at the lowest number, and so on at every step, be
    /// it to a task or to a join.
    #[must_use]
    pub fn longest_path(&self) -> Vec<u32> {
        let exits = self.exits();
        let tasks = (0..self.dag.len() as u32).filter(|node| self.weight(*node) > 0);
        let mut left = tasks.clone().map(|node| self.length(node)).max().unwrap_or(0);
        let mut path = Vec::with_capacity(left as usize);
        let mut next = tasks.clone().find(|node| self.length(*node) == left);
        while let Some(node) = next {
            path.extend((self.weight(node) > 0).then_some(node));
            left -= self.weight(node);
            let after = self.after(node, &exits).filter(|_| left > 0);
            next = after.filter(|after| self.length(*after) == left).min();
        }
        path
    }

    fn measure(&self) -> Vec<u32> {
        if self.kinds.is_empty() {
            return self.dag.heights();
        }
        let exits = self.exits();
        let mut heights = vec![0; self.dag.len()];
        let order = if self.dag.goes_forward() { self.dag.order() } else { self.rehearse() };
        for node in order.into_iter().rev() {
            let after = self.after(node, &exits);
            let lengths = after.map(|after| heights[after as usize] + self.weight(after));
            heights[node as usize] = lengths.max().unwrap_or(0);
        }
        heights
    }

    /// How many tasks the longest chain has that begins with `node`.
    fn length(&self, node: u32) -> u32 {
        self.heights()[node as usize] + self.weight(node)
    }

    fn weight(&self, node: u32) -> u32 {
        u32::from(!self.kind(node).is_join())
    }

    /// What comes directly after a node: its successors, and the exit that waits for it.
    fn after<'a>(&'a self, node: u32, exits: &[u32]) -> impl Iterator<Item = u32> + use<'a> {
        let exit = self.member_of(node).map(|scope| exits[scope as usize]);
        let successors = self.dag.successors(node).iter().map(|edge| edge.node());
        successors.chain(exit.filter(|exit| *exit != NONE))
    }

    /// For each scope the nearest exit join at or above it.
    fn exits(&self) -> Vec<u32> {
        let mut exits: Vec<u32> = Vec::with_capacity(self.scopes.len());
        for scope in &self.scopes {
            let above = exits.get(scope.parent as usize).copied().unwrap_or(NONE);
            exits.push(if scope.join == NONE { above } else { scope.join });
        }
        exits
    }
}
