//! What a run does, one rule at a time. (That the rules hold together is shown in `model/`.)

use std::sync::Arc;

use orch_core::{
    Dag, Drained, Lane, Layout, NONE, NOTE, Next, Refusal, Schedule, Scopes, State, Verb,
};

const NOTHING: [u32; 0] = [];

/// A plan with the usual things left out.
#[derive(Default)]
struct Plan<'a> {
    nodes: usize,
    /// Edges that need success.
    data: &'a [(u32, u32)],
    /// Edges that need an end, whatever it is.
    order: &'a [(u32, u32)],
    lanes: Option<&'a [u8]>,
    kept: Option<&'a [u8]>,
    /// Parent, start, end, exit join, limit.
    scopes: &'a [[u32; 5]],
    limit: u32,
}

impl Plan<'_> {
    fn run(&self) -> Schedule {
        let edges: Vec<_> = self.data.iter().chain(self.order).copied().collect();
        let (sources, targets): (Vec<_>, Vec<_>) = edges.into_iter().unzip();
        let is_order: Vec<_> =
            (0..sources.len()).map(|at| u8::from(at >= self.data.len())).collect();
        let dag =
            Arc::new(Dag::new(self.nodes, &sources, &targets, Some(&is_order)).expect("a graph"));
        let column = |at: usize| self.scopes.iter().map(|scope| scope[at]).collect::<Vec<_>>();
        let columns = [0, 1, 2, 3, 4].map(column);
        let groups = (!self.scopes.is_empty()).then_some(Scopes {
            parents: &columns[0],
            starts: &columns[1],
            ends: &columns[2],
            joins: Some(&columns[3]),
            limits: Some(&columns[4]),
        });
        let layout = Layout::new(dag, self.lanes, self.kept, groups).expect("a layout");
        let mut run = Schedule::new(Arc::new(layout), self.limit);
        run.set_time(0);
        run
    }
}

/// Everything the event loop can take at once.
fn take_all(run: &mut Schedule) -> Vec<u32> {
    let next = || match run.take(Lane::Loop) {
        Next::Node(node) => Some(node),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

fn states(run: &Schedule) -> Vec<State> {
    run.states().collect()
}

/// State, reason and cause of the last entry about a node.
fn last_word(run: &Schedule, node: u32) -> (u8, u8, u32) {
    let last = run.journal(0, usize::MAX).filter(|entry| entry.node == node).last();
    last.map(|entry| (entry.state, entry.reason, entry.cause)).expect("an entry")
}

/// Drains until there is nothing, without an answer to anything; returns who failed.
fn drain_all(run: &mut Schedule) -> Vec<u32> {
    let drain = || Some(run.drain()).filter(|drained| *drained != Drained::default());
    std::iter::from_fn(drain).flat_map(|drained| drained.failed).collect()
}

const SKIPPED: u8 = State::Skipped as u8;

// -- readiness ----------------------------------------------------------------------------------

#[test]
fn a_diamond_joins_once_after_both_sides() {
    //   0 -> 1 -> 3
    //    `-> 2 -´
    let mut run =
        Plan { nodes: 4, data: &[(0, 1), (0, 2), (1, 3), (2, 3)], ..Plan::default() }.run();

    assert_eq!(take_all(&mut run), [0]);
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)));
    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::Node(2)));
    assert_eq!(run.done_take(2, Lane::Loop), Ok(Next::Node(3)));
    assert_eq!(run.done_take(3, Lane::Loop), Ok(Next::Idle));
    assert_eq!(run.outcome(), State::Succeeded);
}

#[test]
fn an_empty_run_has_succeeded() {
    let mut run = Plan::default().run();

    assert!(!run.is_active());
    assert_eq!(run.outcome(), State::Succeeded);
    assert_eq!(run.take(Lane::Loop), Next::Idle);
    assert_eq!(run.cancel_all(), NOTHING);
    assert_eq!(run.outcome(), State::Succeeded);
}

#[test]
fn without_limits_the_first_ready_is_taken_first() {
    // 2 is ready from the beginning, 1 only after 0
    let mut run = Plan { nodes: 3, data: &[(0, 1)], ..Plan::default() }.run();

    assert_eq!(run.take(Lane::Loop), Next::Node(0));
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(2)));
    assert_eq!(run.take(Lane::Loop), Next::Node(1));
}

#[test]
fn with_a_limit_the_longest_chain_is_taken_first() {
    // 2 -> 3 is longer than 0 and 1
    let mut run = Plan { nodes: 4, data: &[(2, 3)], limit: 1, ..Plan::default() }.run();

    assert_eq!(run.take(Lane::Loop), Next::Node(2));
    assert_eq!(run.done_take(2, Lane::Loop), Ok(Next::Node(0)));
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)));
    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::Node(3)));
}

#[test]
fn what_follows_a_group_counts_for_the_chains_in_it() {
    // 0, and in a group 1 with exit 2, which 3 needs
    let scopes = [[NONE, 0, 4, NONE, 0], [0, 1, 2, 2, 0]];
    let lanes = [0, 0, 2, 0];
    let plan = Plan {
        nodes: 4,
        data: &[(2, 3)],
        lanes: Some(&lanes),
        scopes: &scopes,
        limit: 1,
        ..Plan::default()
    };

    assert_eq!(plan.run().take(Lane::Loop), Next::Node(1));
}

#[test]
fn to_be_in_a_group_is_no_reason_to_overtake() {
    // 0, 1, and 2 in a group with exit 3 in a group with exit 4
    let scopes = [[NONE, 0, 5, NONE, 0], [0, 2, 4, 4, 0], [1, 2, 3, 3, 0]];
    let lanes = [0, 0, 0, 2, 2];
    let mut run =
        Plan { nodes: 5, lanes: Some(&lanes), scopes: &scopes, limit: 1, ..Plan::default() }.run();

    assert_eq!(run.take(Lane::Loop), Next::Node(0));
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)));
    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::Node(2)));
}

#[test]
fn lanes_are_served_apart() {
    let mut run = Plan { nodes: 3, lanes: Some(&[0, 1, 0]), ..Plan::default() }.run();

    assert_eq!((run.ready(Lane::Loop), run.ready(Lane::Thread)), (2, 1));
    assert_eq!(run.take(Lane::Thread), Next::Node(1));
    assert_eq!(run.take(Lane::Thread), Next::Idle);
    assert_eq!(take_all(&mut run), [0, 2]);
}

#[test]
fn get_ready_is_what_graphlib_has() {
    let mut run = Plan { nodes: 3, data: &[(0, 2), (1, 2)], ..Plan::default() }.run();

    assert_eq!(run.get_ready(Lane::Loop), [0, 1]);
    assert_eq!(run.get_ready(Lane::Loop), NOTHING);
    run.done(1).expect("it runs");
    assert_eq!(run.get_ready(Lane::Loop), NOTHING);
    run.done(0).expect("it runs");
    assert_eq!(run.get_ready(Lane::Loop), [2]);
}

// -- ends ---------------------------------------------------------------------------------------

#[test]
fn data_dependants_of_a_failure_are_skipped_and_order_successors_go_on() {
    // 0 fails; 1 needs it, 2 needs 1, 3 only comes after it
    let mut run =
        Plan { nodes: 4, data: &[(0, 1), (1, 2)], order: &[(0, 3)], ..Plan::default() }.run();
    take_all(&mut run);

    assert_eq!(run.fail(0), Ok(true));

    assert_eq!(drain_all(&mut run), [0]);
    assert_eq!(states(&run), [State::Failed, State::Skipped, State::Skipped, State::Pending]);
    assert_eq!(last_word(&run, 2), (SKIPPED, 1, 0));
    assert_eq!(take_all(&mut run), [3]);
    assert_eq!(run.done(3), Ok(false));
    assert_eq!(run.outcome(), State::Failed);
}

#[test]
fn a_doomed_node_is_skipped_only_after_all_before_it() {
    let mut run = Plan { nodes: 3, data: &[(0, 2), (1, 2)], ..Plan::default() }.run();
    take_all(&mut run);

    run.fail(0).expect("it runs");
    drain_all(&mut run);

    assert_eq!(run.state(2), Ok(State::Pending));
    run.done(1).expect("it runs");
    assert_eq!(last_word(&run, 2), (SKIPPED, 1, 0));
}

#[test]
fn the_first_bad_news_is_the_cause() {
    let mut run = Plan { nodes: 3, data: &[(0, 2), (1, 2)], ..Plan::default() }.run();
    take_all(&mut run);

    run.cancel(1).expect("it runs");
    run.fail(0).expect("it runs");
    drain_all(&mut run);

    assert_eq!(last_word(&run, 2), (SKIPPED, 3, 1));
}

#[test]
fn nothing_follows_from_a_failure_before_it_is_answered() {
    // 1 needs 0 and 2 comes after it; 3 and 4 have nothing to do with it
    let mut run = Plan { nodes: 5, data: &[(0, 1)], order: &[(0, 2)], ..Plan::default() }.run();
    run.take(Lane::Loop);
    run.take(Lane::Loop);

    assert_eq!(run.fail(0), Ok(true));
    assert_eq!(run.take(Lane::Loop), Next::React);
    assert_eq!(run.drain().failed, [0]);

    assert_eq!(states(&run)[..3], [State::Failed, State::Pending, State::Pending]);
    assert_eq!(run.take(Lane::Thread), Next::React, "it is being answered");
    assert_eq!(run.done_take(3, Lane::Loop), Ok(Next::React));
    assert_eq!(run.drain(), Drained::default());
    assert_eq!(last_word(&run, 1), (SKIPPED, 1, 0));
    assert_eq!(take_all(&mut run), [4, 2]);
}

#[test]
fn an_answer_comes_before_what_would_follow() {
    let mut run = Plan { nodes: 3, data: &[(0, 1)], order: &[(0, 2)], ..Plan::default() }.run();
    run.take(Lane::Loop);
    run.fail(0).expect("it runs");
    run.drain();

    assert_eq!(run.abort(0, 0), Ok(vec![]));

    assert_eq!(last_word(&run, 1), (SKIPPED, 2, 0), "it needs 0, but the abort was first");
    assert_eq!(last_word(&run, 2), (SKIPPED, 2, 0));
    assert_eq!(run.drain(), Drained::default());
    assert_eq!(run.outcome(), State::Failed);
}

#[test]
fn the_failure_of_a_group_is_answered_before_anything_follows_from_it() {
    // a group of 0 with exit 1, needed by 2, in a group with exit 3, needed by 4
    let scopes = [[NONE, 0, 5, NONE, 0], [0, 0, 3, 3, 0], [1, 0, 1, 1, 0]];
    let mut run = Plan {
        nodes: 5,
        data: &[(1, 2), (3, 4)],
        lanes: Some(&[0, 2, 0, 2, 0]),
        scopes: &scopes,
        ..Plan::default()
    }
    .run();
    run.take(Lane::Loop);

    run.fail(0).expect("it runs");

    assert_eq!(run.drain().failed, [0, 1], "a group fails with its last member");
    assert_eq!(run.state(2), Ok(State::Pending));
    assert_eq!(run.drain().failed, [3], "2 is skipped, which ends the group around it");
    assert_eq!(run.state(4), Ok(State::Pending));
    assert_eq!(run.drain().failed, NOTHING);
    assert_eq!((last_word(&run, 2), last_word(&run, 4)), ((SKIPPED, 1, 0), (SKIPPED, 1, 0)));
}

#[test]
fn cancel_all_comes_before_what_would_follow_from_a_failure() {
    // 1 needs 0; so does the join 2, which is not cancelled but settles by itself
    let mut run =
        Plan { nodes: 3, data: &[(0, 1), (0, 2)], lanes: Some(&[0, 0, 2]), ..Plan::default() }
            .run();
    run.take(Lane::Loop);
    run.fail(0).expect("it runs");

    assert_eq!(run.cancel_all(), NOTHING);

    assert_eq!(states(&run), [State::Failed, State::Cancelled, State::Pending]);
    assert_eq!(drain_all(&mut run), [0]);
    assert_eq!(states(&run), [State::Failed, State::Cancelled, State::Skipped]);
    assert_eq!(run.outcome(), State::Cancelled);
}

#[test]
fn a_run_is_not_paused_while_a_failure_is_unanswered() {
    // 2 comes after 0; 1 waits for an answer from outside
    let mut run = Plan { nodes: 3, order: &[(0, 2)], ..Plan::default() }.run();
    take_all(&mut run);
    run.pause(1).expect("it runs");

    run.fail(0).expect("it runs");

    assert_eq!((run.outcome(), run.scope_outcome(0)), (State::Running, Ok(State::Running)));
    drain_all(&mut run);
    assert_eq!(take_all(&mut run), [2]);
    run.fail(2).expect("it runs");
    drain_all(&mut run);
    assert_eq!(run.outcome(), State::Paused);
}

#[test]
fn a_restored_node_releases_its_successors_and_need_not_be_ready() {
    let mut run = Plan { nodes: 3, data: &[(0, 1), (1, 2)], ..Plan::default() }.run();

    run.restore(1).expect("it is pending");

    assert_eq!(take_all(&mut run), [0, 2]);
    run.done(0).expect("it runs");
    assert_eq!(run.state(1), Ok(State::Succeeded), "once only");
}

#[test]
fn a_failed_attempt_holds_no_slot() {
    let mut run = Plan { nodes: 2, limit: 1, ..Plan::default() }.run();
    run.take(Lane::Loop);
    assert_eq!(run.take(Lane::Loop), Next::Idle);

    run.retry(0).expect("it runs");

    assert_eq!(run.take(Lane::Loop), Next::Node(1));
    run.requeue(0).expect("it waits");
    assert_eq!(run.take(Lane::Loop), Next::Idle);
    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::Node(0)));
}

#[test]
fn a_run_that_only_waits_for_an_answer_is_paused() {
    let mut run = Plan { nodes: 2, data: &[(0, 1)], ..Plan::default() }.run();
    run.take(Lane::Loop);

    run.pause(0).expect("it runs");

    assert_eq!(run.outcome(), State::Paused);
    assert_eq!(run.scope_outcome(0), Ok(State::Paused));
    run.resume(0).expect("it is paused");
    assert_eq!(run.outcome(), State::Running);
    assert_eq!(run.take(Lane::Loop), Next::Node(0));
    run.pause(0).expect("it runs");
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)), "an answer may be the value");
}

#[test]
fn what_succeeded_can_be_compensated_once() {
    let mut run = Plan { nodes: 1, ..Plan::default() }.run();
    run.take(Lane::Loop);
    run.done(0).expect("it runs");

    run.compensate(0).expect("it succeeded");

    assert_eq!(run.state(0), Ok(State::Compensated));
    let again = Refusal::State { node: 0, state: State::Compensated, verb: Verb::Compensate };
    assert_eq!(run.compensate(0), Err(again));
}

#[test]
fn a_refusal_names_node_state_and_verb() {
    let mut run = Plan { nodes: 2, lanes: Some(&[0, 2]), data: &[(0, 1)], ..Plan::default() }.run();

    let text = |refused: Refusal| refused.to_string();

    assert_eq!(text(run.done(0).unwrap_err()), "done(0): node 0 is PENDING, not RUNNING or PAUSED");
    assert_eq!(text(run.done(7).unwrap_err()), "no node 7: there are 2");
    assert_eq!(
        text(run.cancel(1).unwrap_err()),
        "cancel(1): node 1 is a join, it settles by itself"
    );
    assert_eq!(text(run.abort(1, 0).unwrap_err()), "no scope 1: there are 1");
    run.take(Lane::Loop);
    run.pause(0).expect("it runs");
    run.resume(0).expect("it is paused");
    let ready = "resume(0): node 0 is PAUSED and ready already, take it";
    assert_eq!(text(run.resume(0).unwrap_err()), ready);
}

// -- groups -------------------------------------------------------------------------------------

/// Two steps in a group with an exit, and a step that needs the group: `(0 1) 2 -> 3`.
const PAIR: [[u32; 5]; 2] = [[NONE, 0, 4, NONE, 0], [0, 0, 2, 2, 0]];
const PAIR_LANES: [u8; 4] = [0, 0, 2, 0];

fn pair() -> Schedule {
    Plan { nodes: 4, data: &[(2, 3)], lanes: Some(&PAIR_LANES), scopes: &PAIR, ..Plan::default() }
        .run()
}

#[test]
fn an_exit_waits_for_its_group_and_leaves_no_trace() {
    let mut run = pair();
    take_all(&mut run);
    run.done(0).expect("it runs");
    assert_eq!((run.state(2), run.scope_outcome(1)), (Ok(State::Pending), Ok(State::Running)));

    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::Node(3)));

    assert_eq!((run.state(2), run.scope_outcome(1)), (Ok(State::Succeeded), Ok(State::Succeeded)));
    assert!(run.journal(0, usize::MAX).all(|entry| entry.node != 2));
}

#[test]
fn an_exit_ends_as_badly_as_the_worst_and_blames_it() {
    let mut run = pair();
    take_all(&mut run);

    run.fail(1).expect("it runs");
    run.cancel(0).expect("it runs");

    assert_eq!(drain_all(&mut run), [1, 2], "the group has failed as well");
    assert_eq!(run.scope_outcome(1), Ok(State::Failed));
    assert_eq!(last_word(&run, 3), (SKIPPED, 1, 1));
}

#[test]
fn abort_skips_the_rest_and_returns_what_runs() {
    // 0, 1, 2 and 3 in a group with exit 4, and 5 outside; 3 comes after 0
    let scopes = [[NONE, 0, 6, NONE, 0], [0, 0, 4, 4, 0]];
    let lanes = [0, 0, 0, 0, 2, 0];
    let mut run = Plan {
        nodes: 6,
        data: &[(0, 3)],
        order: &[(4, 5)],
        lanes: Some(&lanes),
        scopes: &scopes,
        ..Plan::default()
    }
    .run();
    run.take(Lane::Loop);
    run.take(Lane::Loop);
    run.fail(1).expect("it runs");
    run.drain();

    assert_eq!(run.abort(1, 1), Ok(vec![0]));

    assert_eq!(last_word(&run, 2), (SKIPPED, 2, 1));
    assert_eq!(last_word(&run, 3), (SKIPPED, 2, 1));
    assert_eq!(run.state(4), Ok(State::Pending), "0 still runs");
    run.cancel(0).expect("it runs");
    assert_eq!(drain_all(&mut run), [4]);
    assert_eq!(take_all(&mut run), [5], "it comes after the group, however that ends");
}

#[test]
fn abort_settles_an_empty_group_that_waits_for_others() {
    // 0 -> () 1, inside a group that is aborted while 0, outside it, runs
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 1, 2, 2, 0], [1, 1, 1, 1, 0]];
    let mut run = Plan {
        nodes: 3,
        data: &[(0, 1)],
        lanes: Some(&[0, 2, 2]),
        scopes: &scopes,
        ..Plan::default()
    }
    .run();
    run.take(Lane::Loop);

    assert_eq!(run.abort(1, NONE), Ok(vec![]));

    assert_eq!(states(&run), [State::Running, State::Skipped, State::Skipped]);
    run.done(0).expect("it runs");
    assert_eq!(run.outcome(), State::Succeeded);
}

#[test]
fn cancel_all_decides_how_the_run_ends() {
    let mut run = Plan { nodes: 3, data: &[(0, 2)], ..Plan::default() }.run();
    run.take(Lane::Loop);

    assert_eq!(run.cancel_all(), [0]);

    assert_eq!(states(&run), [State::Running, State::Cancelled, State::Cancelled]);
    assert_eq!(run.outcome(), State::Running, "not before all is settled");
    run.done(0).expect("it runs");
    assert_eq!(run.outcome(), State::Cancelled);
}

#[test]
fn a_group_without_an_exit_settles_into_its_parent() {
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 2, 2, 0], [1, 0, 2, NONE, 0]];
    let mut run =
        Plan { nodes: 3, lanes: Some(&[0, 0, 2]), scopes: &scopes, ..Plan::default() }.run();
    take_all(&mut run);

    run.fail(0).expect("it runs");
    run.done(1).expect("it runs");

    assert_eq!(run.drain().failed, [0, 2]);
    assert_eq!(run.scope_outcome(2), Ok(State::Failed));
}

// -- guards -------------------------------------------------------------------------------------

#[test]
fn a_guarded_group_settles_when_it_is_told_to() {
    let mut run = pair();
    run.guard(1).expect("it is open");
    take_all(&mut run);
    assert_eq!(run.done(0), Ok(false));

    assert_eq!(run.done_take(1, Lane::Loop), Ok(Next::React));

    assert_eq!(run.settling(), [(1, State::Succeeded)]);
    assert_eq!((run.settling(), run.take(Lane::Loop)), (vec![], Next::Idle), "told once");
    assert_eq!((run.state(2), run.scope_outcome(1)), (Ok(State::Pending), Ok(State::Running)));
    run.compensate(0).expect("it succeeded");
    assert_eq!(run.settle(1), Ok(false));
    assert_eq!((run.state(2), run.take(Lane::Loop)), (Ok(State::Succeeded), Next::Node(3)));
}

#[test]
fn a_guarded_group_that_failed_is_a_failure_once_it_is_settled() {
    let mut run = pair();
    run.guard(1).expect("it is open");
    take_all(&mut run);
    run.fail(1).expect("it runs");
    run.cancel(0).expect("it runs");

    assert_eq!(drain_all(&mut run), [1]);
    assert_eq!(run.settling(), [(1, State::Failed)]);

    assert_eq!(run.settle(1), Ok(true));
    assert_eq!(drain_all(&mut run), [2]);
    assert_eq!(last_word(&run, 3), (SKIPPED, 1, 1));
}

#[test]
fn a_run_is_not_over_before_its_guards() {
    // 0 in a group without an exit
    let scopes = [[NONE, 0, 1, NONE, 0], [0, 0, 1, NONE, 0]];
    let mut run = Plan { nodes: 1, scopes: &scopes, ..Plan::default() }.run();
    run.guard(0).expect("it is open");
    run.guard(1).expect("it is open");
    run.take(Lane::Loop);
    run.fail(0).expect("it runs");
    drain_all(&mut run);

    assert_eq!(run.settling(), [(1, State::Failed)]);
    assert_eq!((run.is_active(), run.scope_outcome(1)), (true, Ok(State::Running)));
    assert_eq!(run.settle(1), Ok(true));
    assert_eq!(run.scope_outcome(1), Ok(State::Failed));
    assert_eq!(run.settling(), [(0, State::Failed)], "the outer one after the inner one");
    assert_eq!(run.cancel_all(), NOTHING);
    assert_eq!((run.is_active(), run.outcome()), (true, State::Running));
    assert_eq!(run.settle(0), Ok(false));
    assert_eq!((run.is_active(), run.outcome()), (false, State::Cancelled));
}

#[test]
fn an_aborted_group_waits_for_the_guard_of_one_inside_it() {
    // 0 in a group with exit 1 in a group with exit 2
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 2, 2, 0], [1, 0, 1, 1, 0]];
    let mut run =
        Plan { nodes: 3, lanes: Some(&[0, 2, 2]), scopes: &scopes, ..Plan::default() }.run();
    run.guard(2).expect("it is open");

    assert_eq!(run.abort(1, NONE), Ok(vec![]));

    assert_eq!(states(&run), [State::Skipped, State::Pending, State::Pending]);
    assert_eq!(run.settling(), [(2, State::Skipped)]);
    assert_eq!(run.abort(1, NONE), Ok(vec![]), "the guard is not to be passed by");
    assert_eq!(run.cancel_all(), NOTHING);
    assert_eq!(run.state(1), Ok(State::Pending));
    assert_eq!(run.settle(2), Ok(false));
    assert_eq!(states(&run), [State::Skipped; 3]);
}

#[test]
fn a_settled_group_may_still_wait_for_what_comes_before_its_exit() {
    // 0 in a group with exit 1, which comes after 2
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 1, 1, 0]];
    let mut run = Plan {
        nodes: 3,
        order: &[(2, 1)],
        lanes: Some(&[0, 2, 0]),
        scopes: &scopes,
        ..Plan::default()
    }
    .run();
    run.guard(1).expect("it is open");
    take_all(&mut run);
    run.done(0).expect("it runs");

    assert_eq!(run.settle(1), Ok(false), "nobody need have asked");

    assert_eq!((run.settling(), run.state(1)), (vec![], Ok(State::Pending)));
    run.done(2).expect("it runs");
    assert_eq!(run.outcome(), State::Succeeded);
}

#[test]
fn a_run_is_not_paused_while_a_guard_is_awaited() {
    // 0 in a group with exit 1, and 2, in a group with exit 3
    let scopes = [[NONE, 0, 4, NONE, 0], [0, 0, 3, 3, 0], [1, 0, 1, 1, 0]];
    let mut run =
        Plan { nodes: 4, lanes: Some(&[0, 2, 0, 2]), scopes: &scopes, ..Plan::default() }.run();
    run.guard(2).expect("it is open");
    take_all(&mut run);
    run.pause(2).expect("it runs");
    run.done(0).expect("it runs");
    run.settling();

    assert_eq!((run.outcome(), run.scope_outcome(1)), (State::Running, Ok(State::Running)));
    run.settle(2).expect("it waits");
    assert_eq!((run.outcome(), run.scope_outcome(1)), (State::Paused, Ok(State::Paused)));
}

#[test]
fn guards_are_refused_where_they_make_no_sense() {
    let mut run = pair();
    let text = |refused: Refusal| refused.to_string();

    assert_eq!(text(run.guard(2).unwrap_err()), "no scope 2: there are 2");
    let lacks = "scope 1 has no guard that could let it settle";
    assert_eq!(text(run.settle(1).unwrap_err()), lacks);
    run.guard(1).expect("it is open");
    assert_eq!(text(run.guard(1).unwrap_err()), "scope 1 is guarded already");
    assert_eq!(text(run.settle(1).unwrap_err()), "scope 1 has members that are not settled");
    run.cancel_all();
    run.settle(1).expect("it waits");
    assert_eq!(text(run.guard(1).unwrap_err()), "scope 1 has nothing open to wait for");
    assert_eq!(text(run.settle(1).unwrap_err()), lacks);
}

#[test]
fn a_scope_that_fails_by_itself_has_its_exit_to_blame() {
    let mut run = pair();
    run.take(Lane::Loop);

    assert_eq!(run.fail_scope(1), Ok(Some(vec![0])));

    assert_eq!(last_word(&run, 1), (SKIPPED, 2, 2));
    assert_eq!(run.fail_scope(1), Ok(Some(vec![0])), "once more is no more");
    assert_eq!(run.cancel(0), Ok(true));
    assert_eq!(run.drain().failed, [2]);
    assert_eq!(run.fail_scope(1), Ok(None));
    drain_all(&mut run);
    assert_eq!((run.state(2), last_word(&run, 3)), (Ok(State::Failed), (SKIPPED, 1, 2)));
}

#[test]
fn of_two_failures_of_a_scope_the_first_is_to_blame() {
    let mut run = pair();
    take_all(&mut run);
    run.fail(0).expect("it runs");
    drain_all(&mut run);

    assert_eq!(run.fail_scope(1), Ok(Some(vec![1])));

    run.cancel(1).expect("it runs");
    assert_eq!(drain_all(&mut run), [2]);
    assert_eq!(last_word(&run, 3), (SKIPPED, 1, 0));
}

#[test]
fn a_scope_inside_one_that_failed_may_fail_as_well() {
    // 0 in a group with exit 1 in a group with exit 2
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 2, 2, 0], [1, 0, 1, 1, 0]];
    let mut run =
        Plan { nodes: 3, lanes: Some(&[0, 2, 2]), scopes: &scopes, ..Plan::default() }.run();
    take_all(&mut run);
    assert_eq!(run.fail_scope(1), Ok(Some(vec![0])));

    assert_eq!(run.fail_scope(2), Ok(Some(vec![0])));

    run.done(0).expect("it runs");
    assert_eq!(drain_all(&mut run), [1, 2]);
    assert_eq!(states(&run), [State::Succeeded, State::Failed, State::Failed]);
}

#[test]
fn a_run_may_fail_by_itself_with_nobody_to_blame() {
    let mut run = Plan { nodes: 2, data: &[(0, 1)], ..Plan::default() }.run();
    run.guard(0).expect("it is open");
    run.take(Lane::Loop);

    assert_eq!(run.fail_scope(0), Ok(Some(vec![0])));

    assert_eq!(last_word(&run, 1), (SKIPPED, 2, NONE));
    run.done(0).expect("it runs");
    assert_eq!(run.settling(), [(0, State::Failed)]);
    assert_eq!(run.fail_scope(0), Ok(None), "it is too late");
    run.settle(0).expect("it waits");
    assert_eq!(run.outcome(), State::Failed);
}

// -- limits -------------------------------------------------------------------------------------

#[test]
fn a_held_node_keeps_its_slots_until_its_body_has_ended() {
    // 0 and 1 in a group with one slot and exit 2, and 3, in a run with two
    let scopes = [[NONE, 0, 4, NONE, 2], [0, 0, 2, 2, 1]];
    let mut run =
        Plan { nodes: 4, lanes: Some(&[0, 0, 2, 0]), scopes: &scopes, ..Plan::default() }.run();
    assert_eq!(take_all(&mut run), [0, 3]);
    run.hold(0).expect("it runs");
    run.hold(3).expect("it runs");

    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Idle));
    assert_eq!(run.done_take(3, Lane::Loop), Ok(Next::Idle));

    assert_eq!((run.running(), run.ready(Lane::Loop)), (2, 0));
    run.let_go(3).expect("it is held");
    assert_eq!((run.running(), run.take(Lane::Loop)), (1, Next::Idle));
    run.let_go(0).expect("it is held");
    assert_eq!((run.running(), run.take(Lane::Loop)), (0, Next::Node(1)));
}

#[test]
fn a_held_node_is_not_tried_again_before_its_body_has_ended() {
    let mut run = Plan { nodes: 2, limit: 1, ..Plan::default() }.run();
    run.take(Lane::Loop);
    run.hold(0).expect("it runs");
    run.retry(0).expect("it runs");

    let early = "requeue(0): the body of node 0 has not ended, let it go first";
    assert_eq!(run.requeue(0).unwrap_err().to_string(), early);
    assert_eq!(run.take(Lane::Loop), Next::Idle);
    run.let_go(0).expect("it is held");
    run.requeue(0).expect("it may");
    assert_eq!(take_all(&mut run), [0]);
    run.hold(0).expect("it runs again");
    run.let_go(0).expect("it is held");
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)), "the slot was given back once");
}

#[test]
fn a_run_does_not_wait_for_bodies() {
    let mut run = Plan { nodes: 1, ..Plan::default() }.run();
    run.take(Lane::Loop);
    run.hold(0).expect("it runs");
    run.retry(0).expect("it runs");
    assert_eq!(run.cancel_all(), [0]);
    run.cancel(0).expect("it is open");

    assert_eq!((run.is_active(), run.outcome(), run.running()), (false, State::Cancelled, 1));
    run.let_go(0).expect("it is held");
    assert_eq!(run.running(), 0);
}

#[test]
fn a_run_is_not_paused_while_a_body_lasts() {
    // 0 and 1 in a group with exit 2
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 2, 2, 0]];
    let mut run =
        Plan { nodes: 3, lanes: Some(&[0, 0, 2]), scopes: &scopes, ..Plan::default() }.run();
    take_all(&mut run);
    run.pause(1).expect("it runs");
    run.hold(0).expect("it runs");
    run.done(0).expect("it runs");

    assert_eq!((run.outcome(), run.scope_outcome(1)), (State::Running, Ok(State::Running)));
    run.let_go(0).expect("it is held");
    assert_eq!((run.outcome(), run.scope_outcome(1)), (State::Paused, Ok(State::Paused)));
}

#[test]
fn only_a_running_node_is_held_and_only_once() {
    let mut run = Plan { nodes: 2, lanes: Some(&[0, 2]), ..Plan::default() }.run();
    let text = |refused: Refusal| refused.to_string();

    assert_eq!(text(run.hold(0).unwrap_err()), "hold(0): node 0 is PENDING, not RUNNING");
    assert_eq!(text(run.let_go(0).unwrap_err()), "let_go(0): node 0 is not held");
    assert_eq!(
        text(run.let_go(1).unwrap_err()),
        "let_go(1): node 1 is a join, it settles by itself"
    );
    run.take(Lane::Loop);
    run.hold(0).expect("it runs");
    assert_eq!(text(run.hold(0).unwrap_err()), "hold(0): node 0 is held already");
}

#[test]
fn the_limit_of_a_group_does_not_hold_up_others() {
    // 0 and 1 in a group with limit 1 and exit 2, and 3
    let scopes = [[NONE, 0, 4, NONE, 0], [0, 0, 2, 2, 1]];
    let mut run =
        Plan { nodes: 4, lanes: Some(&[0, 0, 2, 0]), scopes: &scopes, ..Plan::default() }.run();

    assert_eq!(take_all(&mut run), [0, 3]);
    assert_eq!(run.done_take(3, Lane::Loop), Ok(Next::Idle));
    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(1)));
}

#[test]
fn a_node_that_waits_for_a_thread_does_not_hold_up_the_loop() {
    // 0 runs, 1 (a thread) and 2 wait for the one slot of their group
    let scopes = [[NONE, 0, 4, NONE, 0], [0, 0, 3, 3, 1]];
    let mut run =
        Plan { nodes: 4, lanes: Some(&[0, 1, 0, 2]), scopes: &scopes, ..Plan::default() }.run();
    assert_eq!(take_all(&mut run), [0]);
    assert_eq!(run.take(Lane::Thread), Next::Idle);

    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(2)), "nobody has taken 1");
    assert_eq!(run.take(Lane::Thread), Next::Idle);
    run.done(2).expect("it runs");
    assert_eq!(run.take(Lane::Thread), Next::Node(1));
}

#[test]
fn fifty_groups_in_each_other_with_one_slot_each_get_through() {
    // scope k has the node k before the scope inside it, and an exit behind
    let depth = 50;
    let scope = |at: u32| {
        [at.wrapping_sub(1), at, 2 * depth - at, if at == 0 { NONE } else { 2 * depth - at }, 1]
    };
    let scopes: Vec<_> = (0..depth).map(scope).collect();
    let lanes: Vec<_> = (0..2 * depth).map(|node| if node <= depth { 0 } else { 2 }).collect();
    let mut run =
        Plan { nodes: 2 * depth as usize, lanes: Some(&lanes), scopes: &scopes, ..Plan::default() }
            .run();

    let mut count = 0;
    while let Next::Node(node) = run.take(Lane::Loop) {
        assert_eq!(run.take(Lane::Loop), Next::Idle);
        run.done(node).expect("it runs");
        count += 1;
    }

    assert_eq!(count, depth + 1);
    assert_eq!(run.outcome(), State::Succeeded);
}

// -- values, time, journal ----------------------------------------------------------------------

#[test]
fn a_value_may_go_after_its_last_reader() {
    // 1 and 2 read 0, 3 only comes after it
    let mut run = Plan {
        nodes: 4,
        data: &[(0, 1), (0, 2)],
        order: &[(0, 3)],
        kept: Some(&[0, 1, 1, 1]),
        ..Plan::default()
    }
    .run();
    run.take(Lane::Loop);
    assert_eq!(run.done(0), Ok(false));
    take_all(&mut run);
    assert_eq!(run.done(1), Ok(false));

    assert_eq!(run.fail(2), Ok(true));

    assert_eq!(run.drain(), Drained { failed: vec![2], released: vec![0] });
}

#[test]
fn a_value_that_nobody_reads_goes_at_once() {
    let mut run = Plan { nodes: 1, kept: Some(&[0]), ..Plan::default() }.run();
    run.take(Lane::Loop);

    assert_eq!(run.done(0), Ok(true));

    assert_eq!(run.drain().released, [0]);
}

#[test]
fn a_join_reads_until_its_own_readers_are_settled() {
    // 0 -> (join 1) -> 2
    let mut run = Plan {
        nodes: 3,
        data: &[(0, 1), (1, 2)],
        lanes: Some(&[0, 2, 0]),
        kept: Some(&[0, 1, 1]),
        ..Plan::default()
    }
    .run();
    run.take(Lane::Loop);

    assert_eq!(run.done_take(0, Lane::Loop), Ok(Next::Node(2)));

    assert_eq!(run.done(2), Ok(true));
    assert_eq!(run.drain().released, [0]);
}

#[test]
fn the_event_loop_breathes_and_threads_do_not() {
    let mut run =
        Plan { nodes: 3000, lanes: Some(&[[0; 1500], [1; 1500]].concat()), ..Plan::default() }
            .run();

    assert_eq!(take_all(&mut run).len(), 1024);
    assert_eq!(run.take(Lane::Loop), Next::Breathe);
    run.breathe();
    assert!(matches!(run.take(Lane::Loop), Next::Node(_)));
    run.set_time(1_000_000);
    assert_eq!(run.take(Lane::Loop), Next::Breathe);
    assert_eq!(run.get_ready(Lane::Thread).len(), 1500);
}

#[test]
fn there_is_a_node_between_two_breaths_however_slow_the_machine() {
    let mut run = Plan { nodes: 2, ..Plan::default() }.run();

    run.set_time(10_000_000);
    assert_eq!(run.take(Lane::Loop), Next::Node(0));
    assert_eq!(run.take(Lane::Loop), Next::Breathe);
}

#[test]
fn the_journal_has_times_and_notes() {
    let mut run = Plan { nodes: 1, ..Plan::default() }.run();
    run.set_time(5);
    run.take(Lane::Loop);
    assert_eq!(run.note(0), Ok(1));
    run.set_time(9);
    run.done(0).expect("it runs");

    let entries: Vec<_> = run.journal(0, 100).map(|entry| (entry.state, entry.time)).collect();
    assert_eq!(entries, [(1, 5), (NOTE, 5), (4, 9)]);
    assert_eq!(run.journal(1, 2).count(), 1);
    assert_eq!(run.journal(7, 9).count(), 0);
    assert_eq!((run.len(), run.now()), (3, 9));
}

#[test]
fn real_time_does_not_run_backwards() {
    let dag = Arc::new(Dag::new(2, &[0], &[1], None).expect("a graph"));
    let mut run = Schedule::new(Arc::new(Layout::new(dag, None, None, None).expect("a layout")), 0);
    run.take(Lane::Loop);
    run.done_take(0, Lane::Loop).expect("it runs");
    run.done(1).expect("it runs");

    let times: Vec<_> = run.journal(0, 4).map(|entry| entry.time).collect();
    assert!(times.is_sorted());
    assert_eq!(times[1], times[2], "done_take happens at one moment");
    assert!(run.now() >= times[3]);
}

#[test]
fn what_is_withdrawn_is_cancelled_when_its_turn_comes() {
    let mut run = Plan { nodes: 3, data: &[(0, 1), (1, 2)], ..Plan::default() }.run();
    assert_eq!(run.take(Lane::Loop), Next::Node(0));
    assert_eq!(run.withdraw(1), Ok(false));
    assert_eq!(states(&run), [State::Running, State::Pending, State::Pending]);
    run.done(0).expect("it runs");
    assert_eq!(states(&run), [State::Succeeded, State::Cancelled, State::Skipped]);
}

fn entries(run: &Schedule) -> Vec<(u32, u8)> {
    run.journal(0, usize::MAX).map(|entry| (entry.node, entry.state)).collect()
}

#[test]
fn a_hushed_node_that_never_began_has_only_ended() {
    let mut run = Plan { nodes: 2, ..Plan::default() }.run();
    run.hush(0).expect("it is pending");
    run.hush(1).expect("it is pending");
    assert_eq!(take_all(&mut run), [0, 1]);
    assert_eq!(run.running(), 2);

    run.done(0).expect("it runs");
    run.begin(1).expect("it is hushed");
    run.done(1).expect("it runs");

    let done = State::Succeeded as u8;
    assert_eq!(entries(&run), [(0, done), (1, State::Running as u8), (1, done)]);
}

#[test]
fn a_hushed_node_that_fails_has_begun() {
    let mut run = Plan { nodes: 1, ..Plan::default() }.run();
    run.hush(0).expect("it is pending");
    run.take(Lane::Loop);

    run.fail(0).expect("it runs");

    assert_eq!(entries(&run), [(0, State::Running as u8), (0, State::Failed as u8)]);
}

#[test]
fn a_node_begins_once() {
    let mut run = Plan { nodes: 1, ..Plan::default() }.run();
    run.hush(0).expect("it is pending");
    run.take(Lane::Loop);
    run.begin(0).expect("it is hushed");

    assert_eq!(run.begin(0), Err(Refusal::Absent { node: 0, verb: Verb::Begin }));
    assert!(matches!(run.hush(0), Err(Refusal::State { .. })));
}

#[test]
fn a_slot_that_was_borrowed_is_missing_elsewhere_until_it_is_repaid() {
    let mut run = Plan { nodes: 3, limit: 2, ..Plan::default() }.run();
    run.take(Lane::Loop);
    assert_eq!(run.borrow(0), Ok(true));
    assert_eq!(run.borrow(0), Ok(false));
    assert_eq!((run.running(), run.take(Lane::Loop)), (2, Next::Idle));

    run.repay(0).expect("it has borrowed one");

    assert_eq!(run.take(Lane::Loop), Next::Node(1));
    assert_eq!(run.repay(0), Err(Refusal::Absent { node: 0, verb: Verb::Repay }));
}

#[test]
fn a_loan_counts_in_every_group_and_outlives_its_node() {
    let scopes = [[NONE, 0, 3, NONE, 0], [0, 0, 2, 2, 2]];
    let lanes = [0, 0, 2];
    let plan = Plan { nodes: 3, lanes: Some(&lanes), scopes: &scopes, ..Plan::default() };
    let mut run = plan.run();
    run.take(Lane::Loop);
    assert_eq!((run.borrow(0), run.borrow(0)), (Ok(true), Ok(false)));

    run.done(0).expect("it runs");

    assert_eq!(run.take(Lane::Loop), Next::Node(1));
    assert_eq!(run.borrow(1), Ok(false));
    run.repay(0).expect("it has borrowed one");
    assert_eq!(run.borrow(1), Ok(true));
}
