//! `Dag` against definitions that are obviously right, and slow.

use orch_core::{Dag, DagError};
use proptest::prelude::*;

const NOTHING: [u32; 0] = [];

/// Edges as they come in: source, target, whether it is an order edge.
type Edges = Vec<(u32, u32, bool)>;

fn make(nodes: usize, edges: &[(u32, u32, bool)]) -> Result<Dag, DagError> {
    let sources: Vec<_> = edges.iter().map(|edge| edge.0).collect();
    let targets: Vec<_> = edges.iter().map(|edge| edge.1).collect();
    let kinds: Vec<_> = edges.iter().map(|edge| u8::from(edge.2)).collect();
    Dag::new(nodes, &sources, &targets, Some(&kinds))
}

fn data(pairs: &[(u32, u32)]) -> Edges {
    pairs.iter().map(|(source, target)| (*source, *target, false)).collect()
}

/// Any edges over up to ten nodes: loops, duplicates and cycles included.
fn any_graph() -> impl Strategy<Value = (usize, Edges)> {
    (1_usize..10).prop_flat_map(|nodes| {
        let node = 0..nodes as u32;
        let edges = prop::collection::vec((node.clone(), node, any::<bool>()), 0..20);
        (Just(nodes), edges)
    })
}

/// Edges that follow a hidden order of the nodes, so that there is no cycle.
fn acyclic() -> impl Strategy<Value = (usize, Edges)> {
    (any_graph(), prop::collection::vec(any::<u8>(), 10)).prop_map(|((nodes, edges), rank)| {
        let rank = |node: u32| (rank[node as usize], node);
        let ordered = edges.into_iter().filter(|(source, target, _)| source != target);
        let ordered = ordered.map(|(one, other, kind)| {
            let is_forward = rank(one) < rank(other);
            if is_forward { (one, other, kind) } else { (other, one, kind) }
        });
        (nodes, ordered.collect())
    })
}

/// Whether there is a way of `steps` edges from `source` to `target`.
fn reaches(nodes: usize, edges: &Edges, source: u32, target: u32, steps: usize) -> bool {
    let mut here = vec![false; nodes];
    here[source as usize] = true;
    for _ in 0..steps {
        let mut next = vec![false; nodes];
        edges
            .iter()
            .filter(|edge| here[edge.0 as usize])
            .for_each(|edge| next[edge.1 as usize] = true);
        here = next;
    }
    here[target as usize]
}

fn length_of_shortest_cycle(nodes: usize, edges: &Edges, node: u32) -> Option<usize> {
    (1..=nodes).find(|steps| reaches(nodes, edges, node, node, *steps))
}

/// Always the lowest node all of whose predecessors are listed.
fn naive_order(nodes: usize, edges: &Edges) -> Vec<u32> {
    let mut order: Vec<u32> = Vec::new();
    while order.len() < nodes {
        let is_next = |node: &u32| {
            let mut before = edges.iter().filter(|edge| edge.1 == *node);
            !order.contains(node) && before.all(|edge| order.contains(&edge.0))
        };
        let next = (0..nodes as u32).find(is_next).expect("no cycle");
        order.push(next);
    }
    order
}

/// The length of the longest way from `node`, by trying all lengths.
fn naive_height(nodes: usize, edges: &Edges, node: u32) -> u32 {
    let goes = |steps| (0..nodes as u32).any(|end| reaches(nodes, edges, node, end, steps));
    (0..=nodes).rev().find(|steps| goes(*steps)).expect("at least 0") as u32
}

proptest! {
    #[test]
    fn a_graph_is_refused_exactly_if_it_has_a_cycle((nodes, edges) in any_graph()) {
        let has_cycle = (0..nodes as u32).any(|node| length_of_shortest_cycle(nodes, &edges, node).is_some());

        let made = make(nodes, &edges);

        prop_assert_eq!(has_cycle, matches!(made, Err(DagError::Cycle(_))));
    }

    #[test]
    fn the_cycle_is_real_and_shortest_through_its_first_node((nodes, edges) in any_graph()) {
        let Err(DagError::Cycle(path)) = make(nodes, &edges) else { return Ok(()) };

        prop_assert_eq!(path.first(), path.last());
        for step in path.windows(2) {
            prop_assert!(edges.iter().any(|edge| (edge.0, edge.1) == (step[0], step[1])));
        }
        prop_assert_eq!(Some(path.len() - 1), length_of_shortest_cycle(nodes, &edges, path[0]));
    }

    #[test]
    fn the_order_is_the_smallest((nodes, edges) in acyclic()) {
        let dag = make(nodes, &edges).expect("no cycle");

        prop_assert_eq!(naive_order(nodes, &edges), dag.order());
        let is_identity = dag.order().iter().zip(0..).all(|(node, at)| *node == at);
        prop_assert_eq!(dag.goes_forward(), edges.iter().all(|edge| edge.0 < edge.1));
        prop_assert!(!dag.goes_forward() || is_identity);
    }

    #[test]
    fn neighbours_are_listed_once_ascending_and_data_wins((nodes, edges) in acyclic()) {
        let dag = make(nodes, &edges).expect("no cycle");

        let mut count = 0;
        for source in 0..nodes as u32 {
            let mut expected: Vec<_> = edges.iter().filter(|edge| edge.0 == source).map(|edge| edge.1).collect();
            expected.sort_unstable();
            expected.dedup();
            count += expected.len();
            let listed: Vec<_> = dag.successors(source).iter().map(|edge| edge.node()).collect();
            prop_assert_eq!(expected, listed);
            for edge in dag.successors(source) {
                prop_assert_eq!(edges.contains(&(source, edge.node(), false)), edge.is_data());
                let back = dag.predecessors(edge.node()).iter().find(|back| back.node() == source);
                prop_assert_eq!(Some(edge.is_data()), back.map(|back| back.is_data()));
            }
        }
        prop_assert_eq!(count, dag.edges());
        prop_assert_eq!(count, (0..nodes as u32).map(|node| dag.predecessors(node).len()).sum::<usize>());
    }

    #[test]
    fn levels_and_heights_measure_the_longest_ways((nodes, edges) in acyclic()) {
        let dag = make(nodes, &edges).expect("no cycle");
        let reversed = edges.iter().map(|edge| (edge.1, edge.0, edge.2)).collect();

        for node in 0..nodes as u32 {
            prop_assert_eq!(naive_height(nodes, &edges, node), dag.heights()[node as usize]);
            prop_assert_eq!(naive_height(nodes, &reversed, node), dag.levels()[node as usize]);
        }
    }

    #[test]
    fn the_longest_path_is_a_way_and_no_way_is_longer((nodes, edges) in acyclic()) {
        let dag = make(nodes, &edges).expect("no cycle");

        let path = dag.longest_path();

        for step in path.windows(2) {
            prop_assert!(dag.successors(step[0]).iter().any(|edge| edge.node() == step[1]));
        }
        prop_assert_eq!(dag.heights().into_iter().max(), Some(path.len() as u32 - 1));
    }

    #[test]
    fn ancestors_are_those_that_lead_here((nodes, edges) in acyclic(), picks in prop::collection::vec(0_u32..10, 0..4)) {
        let dag = make(nodes, &edges).expect("no cycle");
        let picks: Vec<_> = picks.into_iter().filter(|pick| (*pick as usize) < nodes).collect();
        let leads = |node: &u32| {
            picks.iter().any(|pick| (0..=nodes).any(|steps| reaches(nodes, &edges, *node, *pick, steps)))
        };

        let expected: Vec<_> = (0..nodes as u32).filter(leads).collect();

        prop_assert_eq!(expected, dag.ancestors(&picks));
    }
}

#[test]
fn an_empty_graph_answers_everything() {
    let dag = make(0, &[]).expect("no cycle");

    assert!(dag.is_empty());
    assert_eq!(dag.order(), NOTHING);
    assert_eq!(dag.levels(), NOTHING);
    assert_eq!(dag.heights(), NOTHING);
    assert_eq!(dag.longest_path(), NOTHING);
    assert_eq!(dag.ancestors(&[]), NOTHING);
}

#[test]
fn a_node_that_waits_for_itself_is_a_cycle() {
    assert_eq!(make(2, &data(&[(0, 1), (1, 1)])).unwrap_err(), DagError::Cycle(vec![1, 1]));
}

#[test]
fn a_detour_is_left_out_of_the_cycle() {
    // 0 -> 1 -> 2 -> 3 -> 0, and the short way 1 -> 0
    let edges = data(&[(0, 1), (1, 2), (2, 3), (3, 0), (1, 0)]);

    assert_eq!(make(4, &edges).unwrap_err(), DagError::Cycle(vec![0, 1, 0]));
}

#[test]
fn what_only_leads_to_or_from_a_cycle_is_not_reported() {
    // 0 -> (1 <-> 2) -> 3
    let edges = data(&[(0, 1), (1, 2), (2, 1), (2, 3)]);

    assert_eq!(make(4, &edges).unwrap_err(), DagError::Cycle(vec![1, 2, 1]));
}

#[test]
fn wrong_columns_are_named() {
    let lengths = |sources, targets, order| DagError::Lengths { sources, targets, order };

    assert_eq!(Dag::new(2, &[0], &[], None).unwrap_err(), lengths(1, 0, None));
    assert_eq!(Dag::new(2, &[0], &[1], Some(&[])).unwrap_err(), lengths(1, 1, Some(0)));
    let outside = DagError::Endpoint { edge: 1, source: 1, target: 2, nodes: 2 };
    assert_eq!(make(2, &data(&[(0, 1), (1, 2)])).unwrap_err(), outside);
    assert_eq!(
        Dag::new(2, &[0], &[1], Some(&[2])).unwrap_err(),
        DagError::Kind { edge: 0, kind: 2 }
    );
    assert_eq!(Dag::new(usize::MAX, &[], &[], None).unwrap_err(), DagError::TooLarge);
}

#[test]
fn errors_read_as_sentences() {
    let text = |made: Result<Dag, DagError>| made.unwrap_err().to_string();

    assert_eq!(text(Dag::new(2, &[0], &[], None)), "sources and targets differ in length: 1 and 0");
    assert_eq!(
        text(make(2, &data(&[(0, 1), (1, 2)]))),
        "edge 1 (1 -> 2) leaves the graph of 2 nodes"
    );
    assert_eq!(
        text(Dag::new(2, &[0], &[1], Some(&[7]))),
        "edge 0 has kind 7: expected 0 (data) or 1 (order)"
    );
    assert_eq!(text(make(2, &data(&[(0, 1), (1, 0)]))), "cycle [0, 1, 0]");
}
