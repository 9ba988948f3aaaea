//! The graph of a plan: fixed, dense, checked, and shared by every run of the plan.
//!
//! A [`Dag`] has nodes `0..n` and edges of two kinds. A **data** edge says that the target needs the
//! source to succeed, an **order** edge that it needs the source to be settled, however it ended.
//! Whoever holds a `Dag` holds a graph without cycles, without duplicate edges and without edges that
//! lead outside: [`Dag::new`] is the only way to get one.
//!
//! # How it lies in memory
//!
//! Two compressed adjacency lists, one for each direction. `starts[v]..starts[v + 1]` is the range of
//! node `v` in `edges`, where every list is ascending. An [`Edge`] packs the neighbour and the kind
//! into 32 bits, the kind lowest, so that sorting a list brings duplicates together and puts the data
//! edge, which wins, in front.
//!
//! That makes 8 bytes an edge and 8 bytes a node, and 4 more a node unless every edge points to a
//! higher number (then the numbers themselves are the topological order and none is kept).
//!
//! # Costs
//!
//! | operation | cost |
//! |---|---|
//! | [`Dag::new`] | `O(n + m log d)`, with `d` the largest number of edges of one node |
//! | [`Dag::successors`], [`Dag::predecessors`] | `O(1)`, a borrowed slice |

#![forbid(unsafe_code)]

use std::fmt;

use crate::order;

/// The largest number of nodes of a [`Dag`]: a number and the kind of an edge share 32 bits.
pub const MAX_NODES: usize = 1 << 31;

/// One end of an edge, as the adjacency list of the other end holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge(u32);

impl Edge {
    fn new(node: u32, is_order: bool) -> Self {
        Self(node << 1 | u32::from(is_order))
    }

    /// The neighbour: the target in a list of successors, the source in a list of predecessors.
    #[must_use]
    pub const fn node(self) -> u32 {
        self.0 >> 1
    }

    /// Whether the target needs the source to succeed, not merely to be settled.
    #[must_use]
    pub const fn is_data(self) -> bool {
        self.0 & 1 == 0
    }

    /// The same edge, seen from its other end.
    fn reversed(self, from: u32) -> Self {
        Self(from << 1 | self.0 & 1)
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_data() { "data" } else { "order" };
        write!(f, "{}:{kind}", self.node())
    }
}

/// Why [`Dag::new`] refused a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DagError {
    /// More than [`MAX_NODES`] nodes, or more edges than 32 bits can count.
    TooLarge,
    /// The lists of sources, targets and kinds are not equally long.
    Lengths {
        /// How many sources there are.
        sources: usize,
        /// How many targets there are.
        targets: usize,
        /// How many kinds there are, if kinds were given.
        order: Option<usize>,
    },
    /// An edge leads to a node that does not exist.
    Endpoint {
        /// Its position in the lists.
        edge: usize,
        /// Where it starts.
        source: u32,
        /// Where it ends.
        target: u32,
        /// How many nodes there are.
        nodes: usize,
    },
    /// The kind of an edge is neither 0 (data) nor 1 (order).
    Kind {
        /// Its position in the lists.
        edge: usize,
        /// What was given.
        kind: u8,
    },
    /// The graph has a cycle. The path runs along the edges, its first node repeated at the end.
    Cycle(Vec<u32>),
}

impl fmt::Display for DagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => {
                write!(f, "a graph has at most {MAX_NODES} nodes and {} edges", u32::MAX)
            }
            Self::Lengths { sources, targets, order: None } => {
                write!(f, "sources and targets differ in length: {sources} and {targets}")
            }
            Self::Lengths { sources, targets, order: Some(order) } => write!(
                f,
                "sources, targets and order differ in length: {sources}, {targets} and {order}"
            ),
            Self::Endpoint { edge, source, target, nodes } => {
                write!(f, "edge {edge} ({source} -> {target}) leaves the graph of {nodes} nodes")
            }
            Self::Kind { edge, kind } => {
                write!(f, "edge {edge} has kind {kind}: expected 0 (data) or 1 (order)")
            }
            Self::Cycle(path) => write!(f, "cycle {path:?}"),
        }
    }
}

impl std::error::Error for DagError {}

/// An immutable directed graph without cycles. See the [module](self) for its shape and costs.
#[derive(Clone, Debug)]
pub struct Dag {
    successors: Lists,
    predecessors: Lists,
    /// The smallest topological order, or `None` if that is `0, 1, 2, …`.
    order: Option<Box<[u32]>>,
}

impl Dag {
    /// Builds and checks a graph of `nodes` nodes with an edge from each source to its target.
    ///
    /// `order` gives the kind of each edge, 1 for order and 0 for data; without it all are data
    /// edges. Duplicates collapse into one edge, and a data edge wins over an order edge.
    ///
    /// # Errors
    ///
    /// [`DagError`] says what is wrong with the lists, or shows a cycle.
    ///
    /// ```
    /// use orch_core::dag::{Dag, DagError};
    ///
    /// let dag = Dag::new(3, &[0, 0, 1], &[1, 2, 2], None)?;
    /// assert_eq!(dag.order(), [0, 1, 2]);
    ///
    /// let error = Dag::new(2, &[0, 1], &[1, 0], None).unwrap_err();
    /// assert_eq!(error, DagError::Cycle(vec![0, 1, 0]));
    /// # Ok::<(), DagError>(())
    /// ```
    pub fn new(
        nodes: usize,
        sources: &[u32],
        targets: &[u32],
        order: Option<&[u8]>,
    ) -> Result<Self, DagError> {
        check(nodes, sources, targets, order)?;
        let goes_forward = sources.iter().zip(targets).all(|(source, target)| source < target);
        let successors = Lists::of_pairs(nodes, sources, targets, order);
        let predecessors = successors.reversed();
        let mut dag = Self { successors, predecessors, order: None };
        if !goes_forward {
            dag.order = Some(order::smallest(&dag).map_err(DagError::Cycle)?.into_boxed_slice());
        }
        Ok(dag)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.successors.len()
    }

    /// Whether there are no nodes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many edges there are, duplicates counted once.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.successors.edges.len()
    }

    /// Whether every edge points to a higher number, so that the numbers are a topological order.
    #[must_use]
    pub fn goes_forward(&self) -> bool {
        self.order.is_none()
    }

    /// The edges that leave `node`, ascending by target.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    #[must_use]
    pub fn successors(&self, node: u32) -> &[Edge] {
        self.successors.of(node)
    }

    /// The edges that enter `node`, ascending by source.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    #[must_use]
    pub fn predecessors(&self, node: u32) -> &[Edge] {
        self.predecessors.of(node)
    }

    /// The nodes in the order that [`Dag::order`](Self::order) promises.
    pub(crate) fn in_order(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let order = self.order.as_deref();
        (0..self.len()).map(move |at| order.map_or(at as u32, |order| order[at]))
    }
}

/// Everything about the lists that can be wrong before they are looked at as a graph.
fn check(
    nodes: usize,
    sources: &[u32],
    targets: &[u32],
    order: Option<&[u8]>,
) -> Result<(), DagError> {
    let kinds = order.map(<[u8]>::len);
    if sources.len() != targets.len() || kinds.is_some_and(|kinds| kinds != sources.len()) {
        let (sources, targets) = (sources.len(), targets.len());
        return Err(DagError::Lengths { sources, targets, order: kinds });
    }
    if nodes > MAX_NODES || u32::try_from(sources.len()).is_err() {
        return Err(DagError::TooLarge);
    }
    let leaves = |(&source, &target): (&u32, &u32)| source.max(target) as usize >= nodes;
    if let Some(edge) = sources.iter().zip(targets).position(leaves) {
        let (source, target) = (sources[edge], targets[edge]);
        return Err(DagError::Endpoint { edge, source, target, nodes });
    }
    match order.and_then(|order| order.iter().enumerate().find(|(_, kind)| **kind > 1)) {
        Some((edge, &kind)) => Err(DagError::Kind { edge, kind }),
        None => Ok(()),
    }
}

/// The adjacency lists of one direction.
#[derive(Clone, Debug)]
struct Lists {
    /// Where the list of each node starts, and at the end how many edges there are.
    starts: Box<[u32]>,
    /// All lists, one after another, each ascending and without duplicates.
    edges: Box<[Edge]>,
}

impl Lists {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, node: u32) -> &[Edge] {
        let node = node as usize;
        &self.edges[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    /// The lists of successors, from edges in any order.
    fn of_pairs(nodes: usize, sources: &[u32], targets: &[u32], order: Option<&[u8]>) -> Self {
        let is_order = |edge: usize| order.is_some_and(|order| order[edge] == 1);
        let pairs =
            (0..sources.len()).map(|at| (sources[at], Edge::new(targets[at], is_order(at))));
        let (mut starts, mut edges) = group(nodes, sources.iter().copied(), pairs);
        sort_and_collapse(&mut starts, &mut edges);
        Self { starts: starts.into_boxed_slice(), edges: edges.into_boxed_slice() }
    }

    /// The same edges, listed at their other end. Ascending sources make ascending lists.
    fn reversed(&self) -> Self {
        let targets = self.edges.iter().map(|edge| edge.node());
        let pairs = (0..self.len() as u32).flat_map(|source| {
            self.of(source).iter().map(move |edge| (edge.node(), edge.reversed(source)))
        });
        let (starts, edges) = group(self.len(), targets, pairs);
        Self { starts: starts.into_boxed_slice(), edges: edges.into_boxed_slice() }
    }
}

/// A counting sort of `pairs` by their first half, which `keys` gives a second time.
///
/// Counts lie two places ahead, so that summing them leaves each start one place ahead, and filling
/// moves it to where it belongs.
fn group(
    nodes: usize,
    keys: impl Iterator<Item = u32>,
    pairs: impl Iterator<Item = (u32, Edge)>,
) -> (Vec<u32>, Vec<Edge>) {
    let mut starts = vec![0_u32; nodes + 2];
    keys.for_each(|key| starts[key as usize + 2] += 1);
    let mut total = 0;
    for start in &mut starts {
        total += *start;
        *start = total;
    }
    let mut edges = vec![Edge(0); total as usize];
    for (key, edge) in pairs {
        let next = &mut starts[key as usize + 1];
        edges[*next as usize] = edge;
        *next += 1;
    }
    starts.truncate(nodes + 1);
    (starts, edges)
}

/// Sorts every list, keeps the first edge to each neighbour, and closes the gaps.
fn sort_and_collapse(starts: &mut [u32], edges: &mut Vec<Edge>) {
    let (mut begin, mut kept) = (0, 0);
    for end in starts.iter_mut().skip(1) {
        let first = kept;
        edges[begin..*end as usize].sort_unstable();
        for at in begin..*end as usize {
            let edge = edges[at];
            if kept == first || edges[kept - 1].node() != edge.node() {
                edges[kept] = edge;
                kept += 1;
            }
        }
        begin = *end as usize;
        *end = kept as u32;
    }
    edges.truncate(kept);
}
