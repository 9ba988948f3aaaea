//! What can be read off a graph before anything runs: orders, distances, a cycle, ancestors.
//!
//! All of it is iterative, linear, and the same on every machine: where there is a choice, the lower
//! number comes first. (The smallest order costs a factor `log64 n` where edges point backwards.)

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::dag::Dag;
use crate::minset::MinSet;

impl Dag {
    /// The lexicographically smallest topological order: of the nodes whose predecessors are all
    /// listed, the one with the lowest number comes next. `O(n)`: it was found when the graph was
    /// checked.
    #[must_use]
    pub fn order(&self) -> Vec<u32> {
        self.in_order().collect()
    }

    /// For every node the length, in edges, of the longest path that leads to it. `O(n + m)`.
    #[must_use]
    pub fn levels(&self) -> Vec<u32> {
        let mut levels = vec![0; self.len()];
        for node in self.in_order() {
            let before =
                self.predecessors(node).iter().map(|edge| levels[edge.node() as usize] + 1);
            levels[node as usize] = before.max().unwrap_or(0);
        }
        levels
    }

    /// For every node the length, in edges, of the longest path that starts there. `O(n + m)`.
    #[must_use]
    pub fn heights(&self) -> Vec<u32> {
        let mut heights = vec![0; self.len()];
        for node in self.in_order().rev() {
            let after = self.successors(node).iter().map(|edge| heights[edge.node() as usize] + 1);
            heights[node as usize] = after.max().unwrap_or(0);
        }
        heights
    }

    /// The nodes of a longest path, in order; empty for an empty graph. `O(n + m)`.
    ///
    /// Of several it is the one that starts at the lowest number, and so on at every step.
    #[must_use]
    pub fn longest_path(&self) -> Vec<u32> {
        let heights = self.heights();
        let Some(mut left) = heights.iter().copied().max() else { return Vec::new() };
        let mut path = Vec::with_capacity(left as usize + 1);
        let mut next = heights.iter().position(|height| *height == left).map(|node| node as u32);
        while let Some(node) = next {
            path.push(node);
            left = left.wrapping_sub(1);
            let mut after = self.successors(node).iter().map(|edge| edge.node());
            next = after.find(|after| heights[*after as usize] == left);
        }
        path
    }

    /// The given nodes and all they depend on, over edges of either kind, ascending. `O(n + m)`.
    ///
    /// # Panics
    ///
    /// If one of the nodes does not exist.
    #[must_use]
    pub fn ancestors(&self, nodes: &[u32]) -> Vec<u32> {
        let mut is_found = vec![false; self.len()];
        let mut work = nodes.to_vec();
        while let Some(node) = work.pop() {
            if !std::mem::replace(&mut is_found[node as usize], true) {
                work.extend(self.predecessors(node).iter().map(|edge| edge.node()));
            }
        }
        let found = is_found.iter().enumerate().filter(|(_, is_found)| **is_found);
        found.map(|(node, _)| node as u32).collect()
    }
}

/// The smallest topological order of a graph that may still have cycles, or one of them.
pub(crate) fn smallest(graph: &Dag) -> Result<Vec<u32>, Vec<u32>> {
    let count = graph.len() as u32;
    let mut waits: Vec<_> = (0..count).map(|node| graph.predecessors(node).len() as u32).collect();
    let mut ready = MinSet::new(graph.len());
    (0..count).filter(|node| waits[*node as usize] == 0).for_each(|node| ready.insert(node));
    let mut order = Vec::with_capacity(graph.len());
    while let Some(node) = ready.pop() {
        order.push(node);
        for edge in graph.successors(node) {
            let waits = &mut waits[edge.node() as usize];
            *waits -= 1;
            if *waits == 0 {
                ready.insert(edge.node());
            }
        }
    }
    if order.len() < graph.len() { Err(cycle(graph, &waits)) } else { Ok(order) }
}

/// A shortest cycle through one of the nodes that still wait, first node repeated at the end.
///
/// Every waiting node has a waiting predecessor, so walking backwards among them comes round. The
/// lowest node of that round is reported, and a search in breadth finds its shortest cycle.
fn cycle(graph: &Dag, waits: &[u32]) -> Vec<u32> {
    let waits = |node: &u32| waits[*node as usize] > 0;
    let mut is_seen = vec![false; graph.len()];
    let mut walk = Vec::new();
    let mut next = (0..graph.len() as u32).find(waits);
    while let Some(node) = next {
        walk.push(node);
        if std::mem::replace(&mut is_seen[node as usize], true) {
            break;
        }
        next = graph.predecessors(node).iter().map(|edge| edge.node()).find(waits);
    }
    let last = walk.last().copied();
    let round = walk.iter().rev().skip(1).take_while(|node| Some(**node) != last);
    let lowest = round.copied().chain(last).min();
    lowest.map_or_else(Vec::new, |lowest| shortest_cycle(graph, lowest))
}

/// The shortest cycle through `start`, which must lie on one.
fn shortest_cycle(graph: &Dag, start: u32) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let mut before = vec![UNSEEN; graph.len()];
    let mut queue = VecDeque::from([start]);
    while before[start as usize] == UNSEEN {
        let Some(node) = queue.pop_front() else { break };
        for target in graph.successors(node).iter().map(|edge| edge.node()) {
            if before[target as usize] == UNSEEN {
                before[target as usize] = node;
                queue.push_back(target);
            }
        }
    }
    let mut path = vec![start];
    let mut node = before[start as usize];
    while node != start && node != UNSEEN {
        path.push(node);
        node = before[node as usize];
    }
    path.push(start);
    path.reverse();
    path
}
