//! `Schedule` beside a model that is obviously right: any plan, any sequence of calls, legal or not.

mod naive;
mod plan;

use orch_core::{Lane, Next, Reason, Refusal, Schedule, State, Verb};
use proptest::prelude::*;

use naive::Naive;
use plan::{Plan, any_plan};

const VERBS: [Verb; 16] = [
    Verb::Done,
    Verb::Fail,
    Verb::Cancel,
    Verb::Withdraw,
    Verb::Retry,
    Verb::Requeue,
    Verb::Pause,
    Verb::Resume,
    Verb::Restore,
    Verb::Compensate,
    Verb::Hold,
    Verb::LetGo,
    Verb::Hush,
    Verb::Begin,
    Verb::Borrow,
    Verb::Repay,
];

/// One call. Numbers are dice: they choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Call {
    Take(Lane),
    /// A verb on a node for which it is legal, if there is one.
    Legal(Verb, usize),
    /// A verb on any node, or on none.
    Any(Verb, u32),
    /// A verb on a node that is held, if there is one.
    Held(Verb, usize),
    DoneTake(usize, Lane),
    Abort(usize, u32),
    CancelAll,
    Guard(usize),
    Settling,
    /// A scope for which it is legal, if there is one and the flag says so, or any, or none.
    Settle(bool, usize),
    FailScope(usize),
    Drain,
    /// Drains until nothing is left; whoever fails has its group aborted, or not.
    React(bool),
    Breathe,
}

fn any_call() -> impl Strategy<Value = Call> {
    let lane = || prop_oneof![Just(Lane::Loop), Just(Lane::Thread)];
    let ends = prop_oneof![6 => Just(Verb::Done), 2 => Just(Verb::Fail), 1 => Just(Verb::Cancel)];
    let verb = || prop::sample::select(VERBS.to_vec());
    prop_oneof![
        12 => lane().prop_map(Call::Take),
        6 => (ends, any::<usize>()).prop_map(|(verb, dice)| Call::Legal(verb, dice)),
        8 => (verb(), any::<usize>()).prop_map(|(verb, dice)| Call::Legal(verb, dice)),
        3 => (verb(), 0_u32..20).prop_map(|(verb, node)| Call::Any(verb, node)),
        4 => (verb(), any::<usize>()).prop_map(|(verb, dice)| Call::Held(verb, dice)),
        3 => (any::<usize>(), lane()).prop_map(|(dice, lane)| Call::DoneTake(dice, lane)),
        1 => (any::<usize>(), any::<u32>()).prop_map(|(scope, cause)| Call::Abort(scope, cause)),
        1 => any::<usize>().prop_map(Call::Guard),
        2 => Just(Call::Settling),
        3 => (prop::bool::weighted(0.8), any::<usize>())
            .prop_map(|(legal, scope)| Call::Settle(legal, scope)),
        1 => any::<usize>().prop_map(Call::FailScope),
        6 => Just(Call::Drain),
        2 => any::<bool>().prop_map(Call::React),
        1 => Just(Call::Breathe),
    ]
}

/// Any number of calls, perhaps some guards before, and perhaps somebody ends it all in the midst.
fn any_calls() -> impl Strategy<Value = Vec<Call>> {
    let guards = prop::collection::vec(any::<usize>().prop_map(Call::Guard), 0..5);
    let calls = prop::collection::vec(any_call(), 0..80);
    let end = prop::option::weighted(0.3, 0_usize..80);
    (guards, calls, end).prop_map(|(mut calls, others, end)| {
        calls.extend(others);
        if let Some(end) = end.filter(|end| *end <= calls.len()) {
            calls.insert(end, Call::CancelAll);
        }
        calls
    })
}

/// Both runs, kept in step.
struct Pair {
    real: Schedule,
    naive: Naive,
}

impl Pair {
    fn new(plan: Plan) -> Self {
        let mut real = Schedule::new(plan.layout.clone(), plan.limit);
        real.set_time(0); // only the number of nodes taken makes it breathe, and these are too few
        Self { real, naive: Naive::new(plan) }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Take(lane) => self.take(lane),
            Call::Legal(verb, dice) => {
                let nodes = self.naive.plan.nodes();
                let legal: Vec<_> = nodes.filter(|node| self.naive.is_legal(verb, *node)).collect();
                self.one_of(&legal, verb, dice);
            }
            Call::Held(verb, dice) => self.one_of(&self.naive.held.clone(), verb, dice),
            Call::Any(verb, node) => self.verb(verb, node),
            Call::DoneTake(dice, lane) => self.done_take(dice, lane),
            Call::Abort(scope, cause) => self.abort(scope, cause),
            Call::Guard(scope) => self.guard(scope),
            Call::Settling => self.settling(),
            Call::Settle(legal, dice) => self.settle(legal, dice),
            Call::FailScope(scope) => self.fail_scope(scope),
            Call::CancelAll => assert_eq!(self.naive.cancel_all(), self.real.cancel_all()),
            Call::Drain => drop(self.drain()),
            Call::React(aborts) => self.react(aborts),
            Call::Breathe => self.real.breathe(),
        }
        self.compare();
    }

    fn expected_next(&mut self, lane: Lane) -> Next {
        if self.naive.has_news() {
            return Next::React;
        }
        let Some(node) = self.naive.next(lane as u8) else { return Next::Idle };
        self.naive.start(node);
        Next::Node(node)
    }

    fn take(&mut self, lane: Lane) {
        let ready = self.real.ready(lane);
        let expected = self.expected_next(lane);
        assert_eq!(expected, self.real.take(lane));
        assert!(
            ready > 0 || !matches!(expected, Next::Node(_)),
            "ready() must not say less than there is"
        );
    }

    fn done_take(&mut self, dice: usize, lane: Lane) {
        let running = self.naive.in_state(State::Running);
        if running.is_empty() {
            return;
        }
        let node = running[dice % running.len()];
        self.naive.apply(Verb::Done, node);
        let expected = self.expected_next(lane);
        assert_eq!(Ok(expected), self.real.done_take(node, lane));
    }

    fn one_of(&mut self, nodes: &[u32], verb: Verb, dice: usize) {
        if !nodes.is_empty() {
            self.verb(verb, nodes[dice % nodes.len()]);
        }
    }

    fn verb(&mut self, verb: Verb, node: u32) {
        if self.naive.is_legal(verb, node) {
            let is_full = verb == Verb::Borrow && !self.naive.may_start(node);
            if is_full {
                assert_eq!(Ok(false), self.real.borrow(node));
                return;
            }
            self.naive.apply(verb, node);
            let news = say(&mut self.real, verb, node).expect("legal");
            assert!(news.is_none_or(|news| news == self.naive.has_news()));
        } else {
            self.refused(|real| say(real, verb, node));
        }
    }

    fn abort(&mut self, scope: usize, cause: u32) {
        let (scopes, nodes) = (self.naive.plan.scopes.len(), self.naive.plan.len());
        let scope = scope % (scopes + 1);
        let cause = if nodes == 0 { orch_core::NONE } else { cause % nodes };
        if scope == scopes {
            let refused = Err(Refusal::Scope { scope: scope as u32, scopes });
            assert_eq!(refused, self.real.abort(scope as u32, cause));
        } else {
            assert_eq!(Ok(self.naive.abort(scope, cause)), self.real.abort(scope as u32, cause));
        }
    }

    /// A call that is expected to be refused.
    fn refused<T>(&mut self, call: impl FnOnce(&mut Schedule) -> Result<T, Refusal>) {
        let before = format!("{:?}", self.real);
        assert!(call(&mut self.real).is_err());
        assert_eq!(before, format!("{:?}", self.real), "a refused call changes nothing");
    }

    fn guard(&mut self, dice: usize) {
        let scope = dice % (self.naive.plan.scopes.len() + 1);
        if scope < self.naive.plan.scopes.len() && self.naive.may_guard(scope) {
            self.naive.guard(scope);
            assert_eq!(Ok(()), self.real.guard(scope as u32));
        } else {
            self.refused(|real| real.guard(scope as u32));
        }
    }

    fn settling(&mut self) {
        assert_eq!(self.naive.settling(), self.real.settling());
    }

    fn settle(&mut self, legal: bool, dice: usize) {
        let waiting = self.naive.waiting();
        let scope = if legal && !waiting.is_empty() {
            waiting[dice % waiting.len()]
        } else {
            dice % (self.naive.plan.scopes.len() + 1)
        };
        if waiting.contains(&scope) {
            self.naive.settle(scope);
            assert_eq!(Ok(self.naive.has_news()), self.real.settle(scope as u32));
        } else {
            self.refused(|real| real.settle(scope as u32));
        }
    }

    fn fail_scope(&mut self, dice: usize) {
        let scope = dice % (self.naive.plan.scopes.len() + 1);
        if scope == self.naive.plan.scopes.len() {
            self.refused(|real| real.fail_scope(scope as u32));
        } else {
            assert_eq!(Ok(self.naive.fail_scope(scope)), self.real.fail_scope(scope as u32));
        }
    }

    /// What callers do: drain until there is nothing, and answer every failure in between.
    fn react(&mut self, aborts: bool) {
        while self.naive.has_news() {
            self.settling();
            for node in self.drain().into_iter().filter(|_| aborts) {
                self.abort(self.naive.plan.around(node)[0], node);
            }
        }
    }

    fn drain(&mut self) -> Vec<u32> {
        let (failed, released) = self.naive.drain();
        let real = self.real.drain();
        assert_eq!(failed, real.failed);
        assert_eq!(real.released.len(), released.len(), "released once only");
        assert_eq!(released, real.released.into_iter().collect());
        failed
    }

    fn compare(&self) {
        let Self { real, naive } = self;
        assert_eq!(naive.states, real.states().collect::<Vec<_>>());
        assert_eq!(naive.busy().len() as u32, real.running());
        assert_eq!(naive.is_active(), real.is_active());
        assert_eq!(naive.outcome(), real.outcome());
        for scope in 0..naive.plan.scopes.len() {
            assert_eq!(
                Ok(naive.scope_outcome(scope)),
                real.scope_outcome(scope as u32),
                "scope {scope}"
            );
        }
        assert!(naive.limits_hold());
        let journal: Vec<_> = real.journal(0, usize::MAX).collect();
        let entry = |entry: &orch_core::Entry| (entry.node, entry.state, entry.reason, entry.cause);
        let expected = |(node, state, reason, cause): &(u32, State, Reason, u32)| {
            (*node, *state as u8, *reason as u8, *cause)
        };
        assert_eq!(
            naive.journal.iter().map(expected).collect::<Vec<_>>(),
            journal.iter().map(entry).collect::<Vec<_>>()
        );
    }

    /// What changes when anything does.
    fn standing(&self) -> (usize, Vec<State>, usize, usize) {
        let Naive { states, guarded, held, loans, .. } = &self.naive;
        (self.real.len(), states.clone(), guarded.len(), held.len() + loans.len())
    }

    /// Plays fair until the end: everything is taken, everything ends well.
    fn finish(&mut self) {
        while self.real.is_active() || !self.naive.held.is_empty() || !self.naive.loans.is_empty() {
            let before = self.standing();
            self.react(false);
            for scope in self.naive.waiting() {
                self.settle(true, scope);
            }
            for node in self.naive.held.clone() {
                self.verb(Verb::LetGo, node);
            }
            for node in self.naive.loans.clone() {
                self.verb(Verb::Repay, node);
            }
            self.take(Lane::Loop);
            self.take(Lane::Thread);
            let open = [
                (State::Running, Verb::Done),
                (State::Retrying, Verb::Requeue),
                (State::Paused, Verb::Done),
            ];
            for (state, verb) in open {
                for node in self.naive.in_state(state) {
                    if self.naive.is_legal(verb, node) {
                        self.verb(verb, node);
                    }
                }
            }
            self.compare();
            let has_moved = before != self.standing();
            let has_queue = self.real.ready(Lane::Loop) + self.real.ready(Lane::Thread) > 0;
            let goes_on = has_moved || has_queue || self.naive.has_news();
            assert!(goes_on, "stuck: {:?}", self.naive);
        }
    }
}

fn say(run: &mut Schedule, verb: Verb, node: u32) -> Result<Option<bool>, Refusal> {
    match verb {
        Verb::Done => run.done(node).map(Some),
        Verb::Fail => run.fail(node).map(Some),
        Verb::Cancel => run.cancel(node).map(Some),
        Verb::Withdraw => run.withdraw(node).map(Some),
        Verb::Restore => run.restore(node).map(Some),
        Verb::Compensate => run.compensate(node).map(|()| None),
        Verb::Retry => run.retry(node).map(|()| None),
        Verb::Requeue => run.requeue(node).map(|()| None),
        Verb::Pause => run.pause(node).map(|()| None),
        Verb::Resume => run.resume(node).map(|()| None),
        Verb::Hold => run.hold(node).map(|()| None),
        Verb::LetGo => run.let_go(node).map(|()| None),
        Verb::Hush => run.hush(node).map(|()| None),
        Verb::Begin => run.begin(node).map(|()| None),
        Verb::Borrow => run.borrow(node).map(|has_slot| {
            assert!(has_slot);
            None
        }),
        Verb::Repay => run.repay(node).map(|()| None),
    }
}

/// Whether a task may go from one state to another, as the table in the documentation has it.
fn may_follow(from: State, to: State) -> bool {
    use State::{
        Cancelled, Compensated, Failed, Paused, Pending, Retrying, Running, Skipped, Succeeded,
    };
    match from {
        Pending => matches!(to, Running | Skipped | Cancelled | Succeeded),
        Running => matches!(to, Succeeded | Failed | Retrying | Paused | Cancelled),
        Retrying => matches!(to, Running | Failed | Cancelled),
        Paused => matches!(to, Running | Succeeded | Cancelled),
        Succeeded => to == Compensated,
        Failed | Skipped | Cancelled | Compensated => false,
    }
}

fn check_journal(run: &Schedule) {
    let mut states = vec![State::Pending; run.states().count()];
    for entry in run.journal(0, usize::MAX) {
        let all = [State::Running, State::Retrying, State::Paused, State::Succeeded, State::Failed];
        let all = all.into_iter().chain([State::Skipped, State::Cancelled, State::Compensated]);
        let to = all.into_iter().find(|state| *state as u8 == entry.state).expect("a state");
        let from = std::mem::replace(&mut states[entry.node as usize], to);
        assert!(may_follow(from, to), "{from} -> {to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn without_limits_it_does_what_the_model_does(plan in any_plan(false), calls in any_calls()) {
        play(plan, calls);
    }

    #[test]
    fn with_limits_it_does_what_the_model_does(plan in any_plan(true), calls in any_calls()) {
        play(plan, calls);
    }

    #[test]
    fn where_groups_are_aborted_no_member_hears_of_the_failure(
        plan in any_plan(true),
        dice in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let mut pair = Pair::new(plan);
        let mut dice = dice.into_iter().cycle();

        while pair.real.is_active() {
            pair.take(Lane::Loop);
            pair.take(Lane::Thread);
            for node in pair.naive.in_state(State::Running) {
                let fails = dice.next().unwrap_or(false);
                pair.verb(if fails { Verb::Fail } else { Verb::Done }, node);
            }
            pair.react(true);
            pair.compare();
        }

        let plan = &pair.naive.plan;
        for skip in pair.real.journal(0, usize::MAX).filter(|entry| entry.reason == 1) {
            let group = plan.scopes[plan.around(skip.cause)[0]];
            prop_assert!(!group.covers(skip.node), "{:?}", skip);
        }
    }

    #[test]
    fn the_longest_path_is_as_long_as_a_chain_can_be(plan in any_plan(false)) {
        let path = plan.layout.longest_path();

        let naive = Naive::new(plan);
        let tasks = naive.plan.nodes().filter(|node| !naive.plan.is_join(*node));
        prop_assert_eq!(tasks.map(|node| naive.height(node) + 1).max(), Some(path.len()).filter(|it| *it > 0));
        for pair in path.windows(2) {
            prop_assert!(naive.leads(pair[0], pair[1]), "{:?}", path);
        }
    }
}

fn play(plan: Plan, calls: Vec<Call>) {
    let mut pair = Pair::new(plan);
    pair.compare();
    for call in calls {
        pair.call(call);
    }
    pair.finish();
    pair.react(false);
    check_journal(&pair.real);
    assert!(pair.real.states().all(State::is_settled));
    assert_eq!(pair.real.cancel_all(), Vec::<u32>::new(), "a finished run stays as it is");
    pair.compare();
}
