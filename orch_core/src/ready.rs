//! The nodes that may be taken, lane by lane.
//!
//! Without any limit a lane is a plain queue: first ready, first taken. With one, what is started first
//! matters, so a lane is a heap: the node with the longest chain behind it comes first, and of equals
//! the one with the lower number.
//!
//! A node that leaves in another way than being taken (it is cancelled, say) stays in the queue as a
//! husk and is dropped when it comes up: its [`Cell`](crate::state::Cell) says that it is not queued any
//! more. Only a settled node can leave so, and it never comes back: no husk is mistaken for a node.
//!
//! | | without limits | with limits |
//! |---|---|---|
//! | [`Ready::push`], [`Ready::pop`] | `O(1)` | `O(log n)` |

#![forbid(unsafe_code)]

use std::collections::{BinaryHeap, VecDeque};

use crate::layout::{Lane, Layout};
use crate::nodes::Nodes;

/// A node in a heap: its height above, its number, upside down, below.
pub(crate) type Key = u64;

/// The rank of `node` among those that wait: the greatest is taken first.
pub(crate) fn key(layout: &Layout, node: u32) -> Key {
    u64::from(layout.heights()[node as usize]) << 32 | u64::from(!node)
}

/// The node that a key was made for.
pub(crate) const fn node_of(key: Key) -> u32 {
    !(key as u32)
}

#[derive(Debug)]
enum Queue {
    Fifo(VecDeque<u32>),
    Heap(BinaryHeap<Key>),
}

/// The queues of both lanes, and of those that need no lane.
#[derive(Debug)]
pub(crate) struct Ready {
    queues: [Queue; 2],
    /// How many of each queue are not husks.
    live: [u32; 2],
    /// Nodes that settle by themselves now: joins, and the doomed. Empty between calls.
    due: VecDeque<u32>,
}

impl Ready {
    pub(crate) fn new(by_height: bool) -> Self {
        let queue = || {
            if by_height { Queue::Heap(BinaryHeap::new()) } else { Queue::Fifo(VecDeque::new()) }
        };
        Self { queues: [queue(), queue()], live: [0, 0], due: VecDeque::new() }
    }

    /// How many nodes [`Ready::pop`] would give.
    #[inline]
    pub(crate) fn live(&self, lane: Lane) -> u32 {
        self.live[lane as usize]
    }

    /// A pending node has nothing left to wait for: it may be taken, unless it settles by itself.
    #[inline]
    pub(crate) fn admit(&mut self, layout: &Layout, nodes: &mut Nodes, node: u32) {
        if nodes.cell(node).is_doomed() || layout.kind(node).is_join() {
            self.due.push_back(node);
        } else {
            self.push(layout, nodes, node);
        }
    }

    /// Puts an open task into the queue of its lane.
    #[inline]
    pub(crate) fn push(&mut self, layout: &Layout, nodes: &mut Nodes, node: u32) {
        let lane = layout.kind(node).lane() as usize;
        nodes.set(node, nodes.cell(node).queued());
        self.live[lane] += 1;
        match &mut self.queues[lane] {
            Queue::Fifo(queue) => queue.push_back(node),
            Queue::Heap(heap) => heap.push(key(layout, node)),
        }
    }

    /// Takes the next node out of a queue. Its cell still says that it is there.
    #[inline]
    pub(crate) fn pop(&mut self, nodes: &Nodes, lane: Lane) -> Option<u32> {
        let queue = &mut self.queues[lane as usize];
        let next = || match queue {
            Queue::Fifo(queue) => queue.pop_front(),
            Queue::Heap(heap) => heap.pop().map(node_of),
        };
        let node = std::iter::from_fn(next).find(|node| nodes.cell(*node).is_queued())?;
        self.live[lane as usize] -= 1;
        Some(node)
    }

    /// A node leaves its queue in another way, and a husk remains.
    pub(crate) fn forget(&mut self, layout: &Layout, node: u32) {
        self.live[layout.kind(node).lane() as usize] -= 1;
    }

    /// The next node that settles by itself.
    #[inline]
    pub(crate) fn next_due(&mut self) -> Option<u32> {
        self.due.pop_front()
    }

    /// Puts the queues in order of number; a heap has an order of its own.
    pub(crate) fn sort(&mut self) {
        for queue in &mut self.queues {
            if let Queue::Fifo(queue) = queue {
                queue.make_contiguous().sort_unstable();
            }
        }
    }
}
