//! Who still reads the value of a node, so that it can be let go after the last reader.
//!
//! The readers of a task are its data successors, until they are settled. A join has no value of its own
//! and hands on what comes in: it reads until its own readers are done.
//!
//! Nothing is counted if every value is kept. Otherwise it is four bytes a node, and each data edge is
//! visited once more in the course of a run.

#![forbid(unsafe_code)]

use crate::dag::Edge;
use crate::layout::Layout;
use crate::nodes::Nodes;
use crate::state::State;

/// Open readers by node; empty if every value is kept.
#[derive(Debug)]
pub(crate) struct Readers {
    open: Vec<u32>,
    work: Vec<u32>,
}

impl Readers {
    pub(crate) fn new(layout: &Layout) -> Self {
        let nodes = if layout.keeps_all() { 0 } else { layout.dag().len() as u32 };
        let readers = |node| layout.dag().successors(node).iter().filter(|edge| edge.is_data());
        let open = (0..nodes).map(|node| readers(node).count() as u32).collect();
        Self { open, work: Vec::new() }
    }

    /// `node` has just been settled; appends to `released` whatever nobody reads any more.
    pub(crate) fn settled(
        &mut self,
        layout: &Layout,
        nodes: &Nodes,
        node: u32,
        released: &mut Vec<u32>,
    ) {
        let Some(&open) = self.open.get(node as usize) else { return };
        if open == 0 {
            self.unread(layout, nodes, node, released);
        }
        if !layout.kind(node).is_join() {
            self.work.push(node);
        }
        while let Some(reader) = self.work.pop() {
            let sources = layout.dag().predecessors(reader).iter();
            for source in sources.filter(|edge| edge.is_data()).map(|edge: &Edge| edge.node()) {
                self.open[source as usize] -= 1;
                if self.open[source as usize] == 0 && nodes.state(source).is_settled() {
                    self.unread(layout, nodes, source, released);
                }
            }
        }
    }

    /// A settled node has lost its last reader: a join reads no more, a value goes.
    fn unread(&mut self, layout: &Layout, nodes: &Nodes, node: u32, released: &mut Vec<u32>) {
        let has_value = matches!(nodes.state(node), State::Succeeded | State::Compensated);
        if layout.kind(node).is_join() {
            self.work.push(node);
        } else if has_value && !layout.keeps(node) {
            released.push(node);
        }
    }
}
