//! Small plans of any shape: groups in groups, lanes, limits, edges of both kinds, values to let go.

use std::sync::Arc;

use orch_core::{Dag, Layout, NONE, Scopes};
use proptest::prelude::*;

/// What is in a group.
#[derive(Clone, Debug)]
enum Item {
    /// A node: its lane (2 for a join) and whether its value stays.
    Node(u8, bool),
    /// A group: its limit, whether it has an exit join, what is in it.
    Group(u32, bool, Vec<Item>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) parent: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) join: u32,
    pub(crate) limit: u32,
}

impl Scope {
    pub(crate) fn covers(&self, node: u32) -> bool {
        (self.start..self.end).contains(&node)
    }
}

/// A plan as plain columns, and as a [`Layout`].
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lanes: Vec<u8>,
    pub(crate) kept: Vec<bool>,
    pub(crate) scopes: Vec<Scope>,
    /// Source, target, whether it is a data edge; no duplicates.
    pub(crate) edges: Vec<(u32, u32, bool)>,
    /// The limit of the run.
    pub(crate) limit: u32,
    pub(crate) layout: Arc<Layout>,
}

impl Plan {
    pub(crate) fn len(&self) -> u32 {
        self.lanes.len() as u32
    }

    pub(crate) fn nodes(&self) -> std::ops::Range<u32> {
        0..self.len()
    }

    pub(crate) fn is_join(&self, node: u32) -> bool {
        self.lanes[node as usize] == 2
    }

    /// The scope whose exit join this is.
    pub(crate) fn exit_of(&self, node: u32) -> Option<usize> {
        self.scopes.iter().position(|scope| scope.join == node)
    }

    /// The scopes around a node, innermost first.
    pub(crate) fn around(&self, node: u32) -> Vec<usize> {
        let scopes = (0..self.scopes.len()).rev();
        scopes.filter(|scope| self.scopes[*scope].covers(node)).collect()
    }

    /// Whether a scope is another or lies in it.
    pub(crate) fn is_inside(&self, inner: usize, scope: usize) -> bool {
        let parent = self.scopes[inner].parent;
        inner == scope || parent != NONE && self.is_inside(parent as usize, scope)
    }

    /// What a scope waits for: its own tasks, and the scopes directly inside it.
    pub(crate) fn members(&self, scope: usize) -> (Vec<u32>, Vec<usize>) {
        let is_own = |node: &u32| !self.is_join(*node) && self.around(*node)[0] == scope;
        let is_child = |inner: &usize| self.scopes[*inner].parent == scope as u32;
        (self.nodes().filter(is_own).collect(), (0..self.scopes.len()).filter(is_child).collect())
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limit > 0 || self.scopes.iter().any(|scope| scope.limit > 0)
    }
}

/// Columns while they are being laid out.
#[derive(Default)]
struct Columns {
    lanes: Vec<u8>,
    kept: Vec<bool>,
    scopes: Vec<Scope>,
    /// Edges go from lower to higher rank. Exits rank behind everything in their scope.
    ranks: Vec<(u32, u32)>,
}

impl Columns {
    fn lay(&mut self, items: &[Item], parent: u32, dice: &mut impl Iterator<Item = u32>) -> u32 {
        let mut highest = 0;
        for item in items {
            highest = highest.max(match item {
                Item::Node(lane, kept) => self.node(*lane, *kept, dice.next().unwrap_or(0)),
                Item::Group(limit, has_exit, items) => {
                    self.group(parent, *limit, *has_exit, items, dice)
                }
            });
        }
        highest
    }

    fn node(&mut self, lane: u8, kept: bool, rank: u32) -> u32 {
        self.ranks.push((rank, self.lanes.len() as u32));
        self.lanes.push(lane);
        self.kept.push(kept);
        rank
    }

    fn group(
        &mut self,
        parent: u32,
        limit: u32,
        has_exit: bool,
        items: &[Item],
        dice: &mut impl Iterator<Item = u32>,
    ) -> u32 {
        let (at, start) = (self.scopes.len(), self.lanes.len() as u32);
        self.scopes.push(Scope { parent, start, end: 0, join: NONE, limit });
        let mut highest = self.lay(items, at as u32, dice);
        self.scopes[at].end = self.lanes.len() as u32;
        if has_exit {
            self.scopes[at].join = self.lanes.len() as u32;
            highest = self.node(2, true, highest + 1);
        }
        highest
    }

    fn finish(self, pairs: Vec<(u32, u32, bool)>, limit: u32) -> Plan {
        let Self { lanes, kept, scopes, ranks } = self;
        let mut edges: Vec<(u32, u32, bool)> = Vec::new();
        for (one, other, is_data) in pairs {
            let count = lanes.len().max(1) as u32;
            let (one, other) = (one % count, other % count);
            let is_new = !edges
                .iter()
                .any(|edge| [edge.0, edge.1] == [one, other] || [edge.1, edge.0] == [one, other]);
            if one != other && is_new {
                let is_forward = ranks[one as usize] < ranks[other as usize];
                edges.push(if is_forward { (one, other, is_data) } else { (other, one, is_data) });
            }
        }
        let layout = Arc::new(layout(&lanes, &kept, &scopes, &edges));
        Plan { lanes, kept, scopes, edges, limit, layout }
    }
}

fn layout(lanes: &[u8], kept: &[bool], scopes: &[Scope], edges: &[(u32, u32, bool)]) -> Layout {
    let sources: Vec<_> = edges.iter().map(|edge| edge.0).collect();
    let targets: Vec<_> = edges.iter().map(|edge| edge.1).collect();
    let kinds: Vec<_> = edges.iter().map(|edge| u8::from(!edge.2)).collect();
    let dag =
        Dag::new(lanes.len(), &sources, &targets, Some(&kinds)).expect("edges follow the ranks");
    let column = |of: fn(&Scope) -> u32| scopes.iter().map(of).collect::<Vec<_>>();
    let (parents, starts, ends) =
        (column(|it| it.parent), column(|it| it.start), column(|it| it.end));
    let (joins, limits) = (column(|it| it.join), column(|it| it.limit));
    let groups = Scopes {
        parents: &parents,
        starts: &starts,
        ends: &ends,
        joins: Some(&joins),
        limits: Some(&limits),
    };
    let kept: Vec<_> = kept.iter().map(|kept| u8::from(*kept)).collect();
    Layout::new(Arc::new(dag), Some(lanes), Some(&kept), Some(groups))
        .expect("laid out by the rules")
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let lane = prop_oneof![6 => Just(0_u8), 3 => Just(1), 1 => Just(2)];
    let node = (lane, any::<bool>()).prop_map(|(lane, kept)| Item::Node(lane, kept));
    let item = node.prop_recursive(4, 16, 4, |item| {
        (0_u32..4, prop::bool::weighted(0.8), prop::collection::vec(item, 0..5))
            .prop_map(|(limit, has_exit, items)| Item::Group(limit, has_exit, items))
    });
    prop::collection::vec(item, 0..7)
}

/// Any plan. With limits it has fewer edges: many nodes are to be ready at one time.
pub(crate) fn any_plan(limited: bool) -> impl Strategy<Value = Plan> {
    let limit = || prop_oneof![2 => Just(0_u32), 1 => 1_u32..4];
    let dice = prop::collection::vec(0_u32..12, 64);
    let edges = if limited { 0..6 } else { 0..30 };
    let pairs = prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), edges);
    (items(), limit(), limit(), dice, pairs).prop_map(move |(items, root, run, dice, pairs)| {
        let mut columns = Columns::default();
        columns.scopes.push(Scope { parent: NONE, start: 0, end: 0, join: NONE, limit: root });
        columns.lay(&items, 0, &mut dice.into_iter());
        columns.scopes[0].end = columns.lanes.len() as u32;
        if !limited {
            columns.scopes.iter_mut().for_each(|scope| scope.limit = 0);
        }
        columns.finish(pairs, if limited { run } else { 0 })
    })
}
