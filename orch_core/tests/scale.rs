//! Deep, wide and large: nothing recurses, and nothing is quadratic (or these would not end).

use std::sync::Arc;

use orch_core::{Dag, Lane, Layout, NONE, Next, Schedule, Scopes, State};

fn run(dag: Dag, limit: u32) -> Schedule {
    Schedule::new(Arc::new(Layout::new(Arc::new(dag), None, None, None).expect("a layout")), limit)
}

fn chain(nodes: u32) -> Dag {
    let (sources, targets): (Vec<_>, Vec<_>) = (1..nodes).map(|node| (node - 1, node)).unzip();
    Dag::new(nodes as usize, &sources, &targets, None).expect("a graph")
}

/// Takes and ends everything; returns how many nodes there were.
fn play(run: &mut Schedule) -> u32 {
    let mut count = 0;
    let mut next = run.take(Lane::Loop);
    loop {
        next = match next {
            Next::Node(node) => {
                count += 1;
                run.done_take(node, Lane::Loop).expect("it runs")
            }
            Next::Breathe => {
                run.breathe();
                run.take(Lane::Loop)
            }
            Next::React => panic!("nothing fails"),
            Next::Idle => return count,
        };
    }
}

#[test]
fn a_chain_of_a_million() {
    let dag = chain(1_000_000);
    assert_eq!(dag.longest_path().len(), 1_000_000);
    assert_eq!(dag.ancestors(&[999_999]).len(), 1_000_000);

    assert_eq!(play(&mut run(dag, 0)), 1_000_000);
}

#[test]
fn a_million_are_skipped_when_the_first_fails() {
    let mut run = run(chain(1_000_000), 0);
    run.take(Lane::Loop);

    run.fail(0).expect("it runs");
    run.drain();
    run.drain();

    assert!(!run.is_active());
    let last = run.journal(1_000_000, usize::MAX).last().expect("an entry");
    assert_eq!((last.node, last.cause), (999_999, 0));
}

#[test]
fn a_ring_of_a_million_is_a_cycle() {
    let (sources, targets): (Vec<_>, Vec<_>) =
        (0..1_000_000_u32).map(|node| (node, (node + 1) % 1_000_000)).unzip();

    assert!(Dag::new(1_000_000, &sources, &targets, None).is_err());
}

#[test]
fn a_thousand_by_a_thousand() {
    let edges = (0..1000).flat_map(|source| (1000..2000).map(move |target| (source, target)));
    let (sources, targets): (Vec<u32>, Vec<u32>) = edges.unzip();
    let dag = Dag::new(2000, &sources, &targets, None).expect("a graph");

    assert_eq!(dag.edges(), 1_000_000);
    assert_eq!(play(&mut run(dag, 7)), 2000);
}

#[test]
fn a_chain_numbered_backwards() {
    let (sources, targets): (Vec<_>, Vec<_>) =
        (1..300_000_u32).map(|node| (node, node - 1)).unzip();
    let dag = Dag::new(300_000, &sources, &targets, None).expect("a graph");

    assert!(dag.order().into_iter().eq((0..300_000).rev()));
    assert_eq!(play(&mut run(dag, 0)), 300_000);
}

/// Scopes in each other: each has a step, the group inside it, that group's exit, and a step that
/// needs the exit.
struct Nest {
    depth: u32,
    limit: u32,
}

impl Nest {
    fn nodes(&self) -> u32 {
        3 * self.depth - 2
    }

    /// The exit of a scope, which is also its end.
    fn exit(&self, scope: u32) -> u32 {
        self.nodes() - 2 * scope
    }

    fn column(&self, of: impl Fn(u32) -> u32) -> Vec<u32> {
        (0..self.depth).map(of).collect()
    }

    fn run(&self) -> Schedule {
        let is_join = |node: u32| node >= self.depth && (node - self.depth) % 2 == 0;
        let lanes: Vec<_> =
            (0..self.nodes()).map(|node| if is_join(node) { 2 } else { 0 }).collect();
        let groups = Scopes {
            parents: &self.column(|scope| scope.wrapping_sub(1)),
            starts: &self.column(|scope| scope),
            ends: &self.column(|scope| self.exit(scope)),
            joins: Some(&self.column(|scope| if scope == 0 { NONE } else { self.exit(scope) })),
            limits: Some(&self.column(|_| self.limit)),
        };
        let pairs = (1..self.depth).map(|scope| (self.exit(scope), self.exit(scope) + 1));
        let (sources, targets): (Vec<_>, Vec<_>) = pairs.unzip();
        let dag = Dag::new(lanes.len(), &sources, &targets, None).expect("a graph");
        let layout =
            Layout::new(Arc::new(dag), Some(&lanes), None, Some(groups)).expect("a layout");
        Schedule::new(Arc::new(layout), 0)
    }
}

#[test]
fn a_hundred_thousand_groups_in_each_other() {
    let mut run = Nest { depth: 100_000, limit: 0 }.run();

    assert_eq!(play(&mut run), 199_999);
    assert_eq!(run.outcome(), State::Succeeded);
}

#[test]
fn a_thousand_limits_in_each_other() {
    let mut run = Nest { depth: 1000, limit: 1 }.run();

    assert_eq!(play(&mut run), 1999);
}

#[test]
fn a_failure_climbs_out_of_a_hundred_thousand_groups() {
    let depth = 100_000;
    let nest = Nest { depth, limit: 0 };
    let mut run = nest.run();
    assert_eq!(run.get_ready(Lane::Loop).len(), depth as usize);
    run.fail(depth - 1).expect("it runs");
    assert_eq!(run.drain().failed, [depth - 1, nest.exit(depth - 1)]);

    for scope in (0..depth - 1).rev() {
        assert_eq!(run.abort(scope, nest.exit(scope + 1)), Ok(vec![scope]));
        run.cancel(scope).expect("it runs");
        let failed = run.drain().failed;
        assert_eq!(failed, if scope == 0 { vec![] } else { vec![nest.exit(scope)] });
    }

    assert!(!run.is_active());
    assert_eq!(run.outcome(), State::Failed);
}

#[test]
fn waiting_for_two_limits_is_not_quadratic() {
    // the lower half in a group with one slot, inside a run with two, and two nodes run at any time
    let half = 50_000;
    let groups = Scopes {
        parents: &[NONE, 0, 1],
        starts: &[0, 0, 0],
        ends: &[2 * half, 2 * half, half],
        joins: None,
        limits: Some(&[0, 2, 1]),
    };
    let dag = Dag::new(2 * half as usize, &[], &[], None).expect("a graph");
    let layout = Layout::new(Arc::new(dag), None, None, Some(groups)).expect("a layout");
    let mut run = Schedule::new(Arc::new(layout), 0);

    let mut running = run.get_ready(Lane::Loop);
    for turn in 0..2 * half {
        let at = turn as usize % running.len();
        run.done(running.swap_remove(at)).expect("it runs");
        running.extend(run.get_ready(Lane::Loop));
        assert!(
            running.len() == 2 || turn > half,
            "both slots are used while there is work for them"
        );
    }

    assert!(!run.is_active());
}

/// A run of so many nodes without edges, half of them in a group with an exit, all taken.
fn crowd(nodes: u32) -> Schedule {
    let half = nodes / 2;
    let groups = Scopes {
        parents: &[NONE, 0],
        starts: &[0, 0],
        ends: &[nodes + 1, half],
        joins: Some(&[NONE, half]),
        limits: Some(&[nodes, half]),
    };
    let lanes: Vec<_> = (0..=nodes).map(|node| if node == half { 2 } else { 0 }).collect();
    let dag = Dag::new(lanes.len(), &[], &[], None).expect("a graph");
    let layout = Layout::new(Arc::new(dag), Some(&lanes), None, Some(groups)).expect("a layout");
    let mut run = Schedule::new(Arc::new(layout), 0);
    assert_eq!(run.get_ready(Lane::Loop).len(), nodes as usize);
    run
}

#[test]
fn a_hundred_thousand_are_cancelled_one_by_one() {
    let mut run = crowd(100_000);

    for node in run.cancel_all() {
        run.cancel(node).expect("it runs");
    }

    assert_eq!((run.is_active(), run.running(), run.outcome()), (false, 0, State::Cancelled));
}

#[test]
fn a_hundred_thousand_bodies_outlive_their_nodes() {
    let mut run = crowd(100_000);
    let nodes = run.cancel_all();
    for &node in &nodes {
        run.hold(node).expect("it runs");
        run.cancel(node).expect("it runs");
    }
    assert_eq!((run.is_active(), run.running()), (false, 100_000));

    for node in nodes {
        run.let_go(node).expect("it is held");
    }

    assert_eq!(run.running(), 0);
}

#[test]
fn a_hundred_thousand_guards_around_each_other() {
    let depth = 100_000;
    let mut run = Nest { depth, limit: 0 }.run();
    (0..depth).for_each(|scope| run.guard(scope).expect("it is open"));
    run.cancel_all();

    for scope in (0..depth).rev() {
        assert_eq!(run.settling(), [(scope, State::Cancelled)]);
        assert_eq!(run.settle(scope), Ok(scope > 0));
    }

    assert_eq!((run.is_active(), run.outcome()), (false, State::Cancelled));
}

#[test]
fn a_hundred_thousand_guards_beside_each_other() {
    let count = 100_000;
    let column = |of: fn(u32) -> u32| std::iter::once(0).chain((0..count).map(of));
    let parents: Vec<_> = std::iter::once(NONE).chain((0..count).map(|_| 0)).collect();
    let mut ends: Vec<_> = column(|at| 2 * at + 1).collect();
    ends[0] = 2 * count;
    let mut joins: Vec<_> = column(|at| 2 * at + 1).collect();
    joins[0] = NONE;
    let starts: Vec<_> = column(|at| 2 * at).collect();
    let lanes: Vec<_> = (0..2 * count).map(|node| (node % 2 * 2) as u8).collect();
    let groups = Scopes {
        parents: &parents,
        starts: &starts,
        ends: &ends,
        joins: Some(&joins),
        limits: None,
    };
    let dag = Dag::new(lanes.len(), &[], &[], None).expect("a graph");
    let layout = Layout::new(Arc::new(dag), Some(&lanes), None, Some(groups)).expect("a layout");
    let mut run = Schedule::new(Arc::new(layout), 0);
    (1..=count).for_each(|scope| run.guard(scope).expect("it is open"));

    run.cancel_all();
    let settling = run.settling();
    assert_eq!(settling.len(), count as usize);
    for (scope, _) in settling {
        assert_eq!(run.settle(scope), Ok(false));
    }

    assert!(!run.is_active());
}
