//! What a layout refuses, and what it says about it.

use std::sync::Arc;

use orch_core::{Dag, Lane, Layout, LayoutError, NONE, Schedule, Scopes};
use proptest::prelude::*;

type Scope = [u32; 5];

fn made(
    nodes: usize,
    edges: &[(u32, u32)],
    lanes: &[u8],
    scopes: &[Scope],
) -> Result<Layout, LayoutError> {
    let (sources, targets): (Vec<_>, Vec<_>) = edges.iter().copied().unzip();
    let dag = Arc::new(Dag::new(nodes, &sources, &targets, None).expect("a graph"));
    let columns =
        [0, 1, 2, 3, 4].map(|at| scopes.iter().map(|scope| scope[at]).collect::<Vec<_>>());
    let groups = Scopes {
        parents: &columns[0],
        starts: &columns[1],
        ends: &columns[2],
        joins: Some(&columns[3]),
        limits: Some(&columns[4]),
    };
    Layout::new(dag, Some(lanes), None, Some(groups))
}

/// Three tasks, then a join; the scopes besides the root as given.
fn problem(scopes: &[Scope]) -> String {
    let all = [&[[NONE, 0, 4, NONE, 0]], scopes].concat();
    made(4, &[], &[0, 0, 0, 2], &all).expect_err("does not fit").to_string()
}

#[test]
fn groups_beside_and_in_each_other_fit() {
    let scopes = [
        [NONE, 0, 6, NONE, 0],
        [0, 0, 2, 2, 3],
        [1, 1, 2, NONE, 0],
        [0, 3, 3, 3, 0],
        [0, 4, 6, NONE, 1],
    ];

    let layout = made(6, &[(5, 4)], &[0, 1, 2, 2, 0, 0], &scopes).expect("fits");

    assert_eq!(layout.scopes(), 5);
    assert!(layout.is_limited());
    assert_eq!(layout.heights(), [0, 0, 0, 0, 0, 1]);
    assert_eq!(layout.longest_path(), [5, 4]);
}

#[test]
fn a_longest_path_counts_the_tasks_and_leads_over_exits() {
    // (0 ((1) 2) 3) 4 -> 5 and 6 -> 7: in nested groups with exits 2, 3 and 4
    let scopes = [[NONE, 0, 8, NONE, 0], [0, 0, 4, 4, 0], [1, 1, 3, 3, 0], [2, 1, 2, 2, 0]];
    let lanes = [0, 0, 2, 2, 2, 0, 0, 0];

    let layout = made(8, &[(4, 5), (6, 7)], &lanes, &scopes).expect("fits");

    assert_eq!(layout.heights(), [1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(layout.longest_path(), [0, 5], "two tasks as 6 -> 7, and 0 is lower");
    let empty = made(1, &[], &[2], &[[NONE, 0, 1, NONE, 0]]).expect("fits");
    assert_eq!(empty.longest_path(), [0; 0], "a join is no task");
}

#[test]
fn the_root_is_the_root() {
    let root = |scope: Scope| made(1, &[], &[2], &[scope]).expect_err("does not fit").to_string();

    assert_eq!(root([0, 0, 1, NONE, 0]), "scope 0 is the root and has a parent");
    assert_eq!(root([NONE, 0, 0, NONE, 0]), "scope 0 is the root and does not cover all nodes");
    assert_eq!(root([NONE, 0, 1, 0, 0]), "scope 0 is the root and has an exit join");
}

#[test]
fn scopes_lie_in_each_other_in_preorder() {
    let order = "has a parent that does not stand before it in preorder";
    let begin = "begins before its parent or before the end of its left sibling";
    let end = "does not end inside its parent";

    assert_eq!(problem(&[[NONE, 0, 1, NONE, 0]]), format!("scope 1 {order}"));
    assert_eq!(problem(&[[1, 0, 1, NONE, 0]]), format!("scope 1 {order}"));
    assert_eq!(
        problem(&[[0, 0, 1, NONE, 0], [0, 1, 2, NONE, 0], [1, 2, 3, NONE, 0]]),
        format!("scope 3 {order}")
    );
    assert_eq!(problem(&[[0, 1, 2, NONE, 0], [1, 0, 1, NONE, 0]]), format!("scope 2 {begin}"));
    assert_eq!(problem(&[[0, 0, 2, NONE, 0], [0, 1, 3, NONE, 0]]), format!("scope 2 {begin}"));
    assert_eq!(problem(&[[0, 0, 3, 3, 0], [0, 3, 4, NONE, 0]]), format!("scope 2 {begin}"));
    assert_eq!(problem(&[[0, 2, 1, NONE, 0]]), format!("scope 1 {end}"));
    assert_eq!(problem(&[[0, 0, 5, NONE, 0]]), format!("scope 1 {end}"));
    assert_eq!(problem(&[[0, 0, 2, NONE, 0], [1, 1, 3, NONE, 0]]), format!("scope 2 {end}"));
}

#[test]
fn an_exit_lies_right_behind_its_scope_and_is_a_join() {
    let place = "has an exit join that does not lie right behind it, inside its parent";
    let lane = "has an exit join that is not in the lane of joins";

    assert_eq!(problem(&[[0, 0, 2, 3, 0]]), format!("scope 1 {place}"));
    assert_eq!(problem(&[[0, 0, 4, 4, 0]]), format!("scope 1 {place}"));
    assert_eq!(problem(&[[0, 0, 3, NONE, 0], [1, 0, 3, 3, 0]]), format!("scope 2 {place}"));
    assert_eq!(problem(&[[0, 0, 2, 2, 0]]), format!("scope 1 {lane}"));
}

#[test]
fn columns_have_a_length_and_a_meaning() {
    let dag = Arc::new(Dag::new(2, &[], &[], None).expect("a graph"));
    let made =
        |lanes, kept| Layout::new(Arc::clone(&dag), lanes, kept, None).expect_err("does not fit");

    let length = LayoutError::Length { column: "lanes", got: 1, expected: 2 };
    assert_eq!(made(Some(&[0]), None), length);
    assert_eq!(length.to_string(), "lanes has 1 entries, expected 2");
    assert_eq!(
        made(Some(&[0, 3]), None).to_string(),
        "lanes[1] is 3, expected 0 (loop), 1 (thread) or 2 (join)"
    );
    assert_eq!(made(None, Some(&[2, 0])).to_string(), "retained[0] is 2, expected 0 or 1");
    let scopes = |parents, starts| {
        let groups = Scopes { parents, starts, ends: &[2], joins: None, limits: None };
        Layout::new(Arc::clone(&dag), None, None, Some(groups))
            .expect_err("does not fit")
            .to_string()
    };
    assert_eq!(scopes(&[NONE], &[]), "starts has 0 entries, expected 1");
    assert_eq!(scopes(&[], &[]), "parents has 0 entries, expected 1");
}

#[test]
fn an_exit_that_its_own_group_waits_for_is_found() {
    // 0 is in the group with exit 1, and waits for it: directly, then over 2
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 1, 1, 0]];
    let waits = |edges: &[(u32, u32)]| made(3, edges, &[0, 2, 0], &scopes);

    assert_eq!(waits(&[(1, 0)]).expect_err("a deadlock"), LayoutError::Deadlock { node: 0 });
    let over = waits(&[(1, 2), (2, 0)]).expect_err("a deadlock");
    assert_eq!(over.to_string(), "node 0 would wait for itself over the exit join of a scope");
    assert!(waits(&[(2, 0)]).is_ok());
}

/// A row of the table of scopes that may or may not make sense.
fn any_scope() -> impl Strategy<Value = Scope> {
    let number = || prop_oneof![8 => 0_u32..7, 1 => Just(NONE)];
    [number(), number(), number(), number(), number()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn any_columns_are_refused_or_can_be_run(
        nodes in 0_usize..7,
        edges in prop::collection::vec((0_u32..7, 0_u32..7), 0..5),
        lanes in prop::collection::vec(0_u8..4, 7),
        mut scopes in prop::collection::vec(any_scope(), 0..4),
    ) {
        scopes.insert(0, [NONE, 0, nodes as u32, NONE, 0]);
        let (sources, targets): (Vec<_>, Vec<_>) = edges.into_iter().unzip();
        if Dag::new(nodes, &sources, &targets, None).is_err() {
            return Ok(());
        }
        let edges: Vec<_> = sources.into_iter().zip(targets).collect();
        let Ok(layout) = made(nodes, &edges, &lanes[..nodes], &scopes) else { return Ok(()) };
        let mut run = Schedule::new(Arc::new(layout), 0);

        for _ in 0..=nodes {
            for lane in [Lane::Loop, Lane::Thread] {
                for node in run.get_ready(lane) {
                    prop_assert!(run.done(node).is_ok());
                }
            }
        }

        prop_assert!(!run.is_active());
    }
}
