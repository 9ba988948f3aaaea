//! The rules of a run, written down to be read: no counters, every question answered by looking at
//! everything.

use std::collections::{HashMap, HashSet, VecDeque};

use orch_core::{NONE, Reason, State, Verb};

use crate::plan::Plan;

/// How somebody ended: the state, and what dependants are told.
pub(crate) type End = (State, Reason, u32);

const SUCCESS: End = (State::Succeeded, Reason::None, NONE);

/// The same run as a [`Schedule`](orch_core::Schedule).
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) plan: Plan,
    pub(crate) states: Vec<State>,
    /// What is ready, in order of becoming so.
    pub(crate) ready: Vec<u32>,
    pub(crate) journal: Vec<(u32, State, Reason, u32)>,
    pub(crate) failed: Vec<u32>,
    /// Failed nodes that were handed out, and whose successors do not know yet.
    answered: Vec<u32>,
    pub(crate) released: HashSet<u32>,
    pub(crate) is_cancelled: bool,
    ends: HashMap<u32, End>,
    dooms: HashMap<u32, (Reason, u32)>,
    /// The edges along which an end has been told.
    told: HashSet<(u32, u32)>,
    /// The members of each scope that have ended, in that order. A scope without an exit joins its
    /// parent's list under the name of the scope.
    left: Vec<Vec<(Member, End)>>,
    already_released: HashSet<u32>,
    due: VecDeque<u32>,
    pub(crate) guarded: HashSet<usize>,
    /// Scopes that only their guard keeps open, and nobody has been told, in order of becoming so.
    settling: Vec<usize>,
    /// Nodes whose bodies last, whatever becomes of the nodes.
    pub(crate) held: Vec<u32>,
    /// Nodes whose start is to leave no entry, or has left none.
    hushed: HashSet<u32>,
    /// A node for each slot it has borrowed.
    pub(crate) loans: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Task(u32),
    Scope(usize),
    /// Not a member: the scope failed by itself.
    Itself,
}

impl Naive {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut run = Self {
            states: vec![State::Pending; plan.len() as usize],
            ready: Vec::new(),
            journal: Vec::new(),
            failed: Vec::new(),
            answered: Vec::new(),
            released: HashSet::new(),
            is_cancelled: false,
            ends: HashMap::new(),
            dooms: HashMap::new(),
            told: HashSet::new(),
            left: vec![Vec::new(); plan.scopes.len()],
            already_released: HashSet::new(),
            due: VecDeque::new(),
            guarded: HashSet::new(),
            settling: Vec::new(),
            held: Vec::new(),
            hushed: HashSet::new(),
            loans: Vec::new(),
            plan,
        };
        let is_root = |node: &u32| run.is_free(*node) && run.plan.exit_of(*node).is_none();
        for node in run.plan.nodes().filter(is_root).collect::<Vec<_>>() {
            run.admit(node);
        }
        for scope in 0..run.plan.scopes.len() {
            if run.plan.members(scope) == (vec![], vec![]) {
                run.scope_closed(scope);
            }
        }
        run.settle_due();
        run.ready.sort_unstable();
        run
    }

    // -- questions ------------------------------------------------------------------------------

    pub(crate) fn state(&self, node: u32) -> State {
        self.states[node as usize]
    }

    pub(crate) fn in_state(&self, state: State) -> Vec<u32> {
        self.plan.nodes().filter(|node| self.state(*node) == state).collect()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.states.iter().any(|state| !state.is_settled()) || !self.guarded.is_empty()
    }

    pub(crate) fn has_news(&self) -> bool {
        self.has_failures() || !self.released.is_empty() || !self.settling.is_empty()
    }

    fn has_failures(&self) -> bool {
        !self.failed.is_empty() || !self.answered.is_empty()
    }

    /// Those that have a slot: they run, or their bodies do.
    pub(crate) fn busy(&self) -> Vec<u32> {
        let is_busy = |node: &u32| self.state(*node) == State::Running || self.held.contains(node);
        self.plan.nodes().filter(is_busy).chain(self.loans.iter().copied()).collect()
    }

    fn busy_in(&self, scope: usize) -> u32 {
        let scope = self.plan.scopes[scope];
        self.busy().iter().filter(|node| scope.covers(**node)).count() as u32
    }

    pub(crate) fn limits_hold(&self) -> bool {
        let holds = |used: u32, limit: u32| limit == 0 || used <= limit;
        let scopes = self.plan.scopes.iter().enumerate();
        holds(self.busy().len() as u32, self.plan.limit) && { scopes }
            .all(|(at, scope)| holds(self.busy_in(at), scope.limit))
    }

    pub(crate) fn may_start(&self, node: u32) -> bool {
        let has_slot = |used: u32, limit: u32| limit == 0 || used < limit;
        has_slot(self.busy().len() as u32, self.plan.limit) && { self.plan.around(node) }
            .into_iter()
            .all(|scope| has_slot(self.busy_in(scope), self.plan.scopes[scope].limit))
    }

    /// The node that a lane should get: the first, or with limits the one with the most behind it.
    pub(crate) fn next(&self, lane: u8) -> Option<u32> {
        let here =
            self.ready.iter().copied().filter(|node| self.plan.lanes[*node as usize] == lane);
        let mut free = here.filter(|node| self.may_start(*node));
        if !self.plan.is_limited() {
            return free.next();
        }
        let height = |node: &u32| self.height(*node);
        free.min_by_key(|node| (std::cmp::Reverse(height(node)), *node))
    }

    /// The tasks of the longest chain behind a node.
    pub(crate) fn height(&self, node: u32) -> usize {
        let length = |after: u32| self.height(after) + usize::from(!self.plan.is_join(after));
        self.after(node).into_iter().map(length).max().unwrap_or(0)
    }

    /// Whether a chain leads from one node to another with nothing but joins between them.
    pub(crate) fn leads(&self, node: u32, target: u32) -> bool {
        let goes_on = |after: u32| self.plan.is_join(after) && self.leads(after, target);
        self.after(node).into_iter().any(|after| after == target || goes_on(after))
    }

    /// What comes directly after a node: over edges, and from a member of a scope to its exit.
    fn after(&self, node: u32) -> Vec<u32> {
        let after = self.plan.edges.iter().filter(|edge| edge.0 == node).map(|edge| edge.1);
        let around = self.plan.around(node).into_iter();
        let is_waited_for = !self.plan.is_join(node) || self.plan.exit_of(node).is_some();
        let exit = around.map(|scope| self.plan.scopes[scope].join).find(|join| *join != NONE);
        after.chain(exit.filter(|_| is_waited_for)).collect()
    }

    pub(crate) fn outcome(&self) -> State {
        let is_busy = self.has_failures()
            || !self.ready.is_empty()
            || !self.busy().is_empty()
            || !self.in_state(State::Retrying).is_empty()
            || !self.waiting().is_empty();
        let is_paused = !self.in_state(State::Paused).is_empty();
        match (self.is_active(), is_busy, self.worst(0).0) {
            (true, false, _) if is_paused => State::Paused,
            (true, ..) => State::Running,
            (false, ..) if self.is_cancelled => State::Cancelled,
            (false, _, State::Skipped) => State::Succeeded,
            (false, _, worst) => worst,
        }
    }

    pub(crate) fn scope_outcome(&self, scope: usize) -> State {
        let shape = self.plan.scopes[scope];
        let own = |nodes: Vec<u32>| nodes.into_iter().any(|node| shape.covers(node));
        let is_busy = self.has_failures()
            || own(self.ready.clone())
            || own(self.busy())
            || own(self.in_state(State::Retrying))
            || self.waiting().into_iter().any(|inner| self.plan.is_inside(inner, scope));
        let is_over = match shape.join {
            NONE => self.is_closed(scope),
            join => self.state(join).is_settled(),
        };
        match shape.join {
            _ if scope == 0 => self.outcome(),
            NONE if is_over => self.worst(scope).0,
            join if is_over => self.state(join),
            _ if !is_busy && own(self.in_state(State::Paused)) => State::Paused,
            _ => State::Running,
        }
    }

    /// The worst end of a member so far; of equals the first.
    fn worst(&self, scope: usize) -> End {
        let ends = self.left[scope].iter().map(|(_, end)| *end);
        ends.fold(SUCCESS, worse)
    }

    fn is_closed(&self, scope: usize) -> bool {
        self.is_empty(scope) && !self.guarded.contains(&scope)
    }

    /// Whether every member has left.
    fn is_empty(&self, scope: usize) -> bool {
        let (tasks, scopes) = self.plan.members(scope);
        let left = self.left[scope].iter().filter(|(member, _)| *member != Member::Itself);
        left.count() == tasks.len() + scopes.len()
    }

    /// The scopes that only their guards keep open.
    pub(crate) fn waiting(&self) -> Vec<usize> {
        let is_waiting = |scope: &usize| self.guarded.contains(scope) && self.is_empty(*scope);
        (0..self.plan.scopes.len()).filter(is_waiting).collect()
    }

    // -- verbs ----------------------------------------------------------------------------------

    pub(crate) fn is_legal(&self, verb: Verb, node: u32) -> bool {
        use State::{Paused, Pending, Retrying, Running, Succeeded};
        let is_held = self.held.contains(&node);
        let is_waiting = !is_held && !self.ready.contains(&node);
        node < self.plan.len()
            && !self.plan.is_join(node)
            && match verb {
                Verb::Done => matches!(self.state(node), Running | Paused),
                Verb::Fail => matches!(self.state(node), Running | Retrying),
                Verb::Cancel => matches!(self.state(node), Pending | Running | Retrying | Paused),
                Verb::Retry | Verb::Pause | Verb::Borrow => self.state(node) == Running,
                Verb::Requeue => self.state(node) == Retrying && is_waiting,
                Verb::Resume => self.state(node) == Paused && is_waiting,
                Verb::Restore | Verb::Withdraw | Verb::Hush => self.state(node) == Pending,
                Verb::Compensate => self.state(node) == Succeeded,
                Verb::Hold => self.state(node) == Running && !is_held,
                Verb::LetGo => is_held,
                Verb::Begin => self.state(node) == Running && self.hushed.contains(&node),
                Verb::Repay => self.loans.contains(&node),
            }
    }

    pub(crate) fn apply(&mut self, verb: Verb, node: u32) {
        let is_hushed = self.state(node) == State::Running && self.hushed.contains(&node);
        if is_hushed && matches!(verb, Verb::Fail | Verb::Retry | Verb::Pause) {
            self.apply(Verb::Begin, node);
        }
        match verb {
            Verb::Done | Verb::Restore => self.end(node, SUCCESS),
            Verb::Fail => self.end(node, (State::Failed, Reason::UpstreamFailed, node)),
            Verb::Cancel => self.end(node, (State::Cancelled, Reason::UpstreamCancelled, node)),
            Verb::Withdraw if self.ready.contains(&node) => self.apply(Verb::Cancel, node),
            Verb::Withdraw => {
                self.dooms.entry(node).or_insert((Reason::UpstreamCancelled, node));
            }
            Verb::Retry => self.enter(node, State::Retrying),
            Verb::Pause => self.enter(node, State::Paused),
            Verb::Compensate => self.enter(node, State::Compensated),
            Verb::Requeue | Verb::Resume => self.ready.push(node),
            Verb::Hold => self.held.push(node),
            Verb::LetGo => self.held.retain(|held| *held != node),
            Verb::Hush => drop(self.hushed.insert(node)),
            Verb::Begin => {
                self.hushed.remove(&node);
                self.journal.push((node, State::Running, Reason::None, NONE));
            }
            Verb::Borrow => self.loans.push(node),
            Verb::Repay => {
                let at = self.loans.iter().position(|other| *other == node).expect("legal");
                self.loans.remove(at);
            }
        }
        self.release();
    }

    pub(crate) fn start(&mut self, node: u32) {
        self.ready.retain(|ready| *ready != node);
        if self.hushed.contains(&node) {
            self.states[node as usize] = State::Running;
        } else {
            self.enter(node, State::Running);
        }
    }

    pub(crate) fn abort(&mut self, scope: usize, cause: u32) -> Vec<u32> {
        let shape = self.plan.scopes[scope];
        let skip = (State::Skipped, Reason::Aborted, cause);
        self.settle_pending(|node| shape.covers(node), |_| skip);
        for inner in (scope + 1..self.plan.scopes.len()).rev() {
            let join = self.plan.scopes[inner].join;
            let is_left =
                join != NONE && self.state(join) == State::Pending && self.is_closed(inner);
            if is_left && shape.covers(join) {
                let end = worse(self.own_end(join), skip);
                self.close(join, end);
                self.tell(join, end);
                self.settle_due();
            }
        }
        self.release();
        self.in_flight(|node| shape.covers(node))
    }

    pub(crate) fn may_guard(&self, scope: usize) -> bool {
        !self.guarded.contains(&scope) && !self.is_closed(scope)
    }

    pub(crate) fn guard(&mut self, scope: usize) {
        self.guarded.insert(scope);
    }

    pub(crate) fn settling(&mut self) -> Vec<(u32, State)> {
        let scopes = std::mem::take(&mut self.settling).into_iter();
        scopes.map(|scope| (scope as u32, self.worst(scope).0)).collect()
    }

    pub(crate) fn settle(&mut self, scope: usize) {
        self.guarded.remove(&scope);
        self.settling.retain(|other| *other != scope);
        self.scope_closed(scope);
        self.settle_due();
        self.release();
    }

    pub(crate) fn fail_scope(&mut self, scope: usize) -> Option<Vec<u32>> {
        if self.is_empty(scope) {
            return None;
        }
        let join = self.plan.scopes[scope].join;
        let end = (State::Failed, Reason::UpstreamFailed, join);
        self.left[scope].push((Member::Itself, end));
        Some(self.abort(scope, join))
    }

    pub(crate) fn cancel_all(&mut self) -> Vec<u32> {
        if !self.is_active() {
            return Vec::new();
        }
        self.is_cancelled = true;
        let cancelled = |node| (State::Cancelled, Reason::UpstreamCancelled, node);
        self.settle_pending(|_| true, cancelled);
        self.release();
        self.in_flight(|_| true)
    }

    /// Whoever wanted to answer the failures of the last time has done so.
    pub(crate) fn drain(&mut self) -> (Vec<u32>, HashSet<u32>) {
        for node in std::mem::take(&mut self.answered) {
            self.tell_successors(node, self.ends[&node]);
            self.settle_due();
        }
        self.release();
        self.answered.clone_from(&self.failed);
        (std::mem::take(&mut self.failed), std::mem::take(&mut self.released))
    }

    // -- what follows ---------------------------------------------------------------------------

    fn in_flight(&self, covers: impl Fn(u32) -> bool) -> Vec<u32> {
        let is_open = |node: &u32| covers(*node) && !self.state(*node).is_settled();
        self.plan.nodes().filter(is_open).filter(|node| !self.plan.is_join(*node)).collect()
    }

    fn settle_pending(&mut self, covers: impl Fn(u32) -> bool, end: impl Fn(u32) -> End) {
        let mut pending = self.in_flight(covers);
        pending.retain(|node| self.state(*node) == State::Pending);
        for &node in &pending {
            self.close(node, end(node));
        }
        for &node in &pending {
            self.tell(node, end(node));
        }
        self.settle_due();
    }

    fn end(&mut self, node: u32, end: End) {
        self.close(node, end);
        self.tell(node, end);
        self.settle_due();
    }

    fn settle_due(&mut self) {
        while let Some(node) = self.due.pop_front() {
            let end = self.own_end(node);
            self.close(node, end);
            self.tell(node, end);
        }
    }

    fn own_end(&self, node: u32) -> End {
        let doom = self.dooms.get(&node);
        let doom = doom.map_or(SUCCESS, |&(reason, cause)| match (reason, cause) {
            (Reason::UpstreamCancelled, itself) if itself == node => {
                (State::Cancelled, reason, node)
            }
            _ => (State::Skipped, reason, cause),
        });
        self.plan.exit_of(node).map_or(doom, |scope| worse(self.worst(scope), doom))
    }

    fn enter(&mut self, node: u32, state: State) {
        self.states[node as usize] = state;
        self.journal.push((node, state, Reason::None, NONE));
    }

    fn close(&mut self, node: u32, end: End) {
        let (state, reason, cause) = end;
        self.ready.retain(|ready| *ready != node);
        self.states[node as usize] = state;
        self.ends.insert(node, end);
        if !self.plan.is_join(node) {
            let is_skip = state == State::Skipped;
            self.journal.push(if is_skip {
                (node, state, reason, cause)
            } else {
                (node, state, Reason::None, NONE)
            });
        }
        if state == State::Failed {
            self.failed.push(node);
        }
    }

    fn tell(&mut self, node: u32, end: End) {
        if end.0 != State::Failed {
            self.tell_successors(node, end);
        }
        self.tell_scope(node, end);
    }

    fn tell_successors(&mut self, node: u32, end: End) {
        let mut edges = self.plan.edges.clone();
        edges.retain(|edge| edge.0 == node);
        edges.sort_unstable();
        for (_, target, is_data) in edges {
            self.told.insert((node, target));
            if end.1 != Reason::None && is_data && self.state(target) == State::Pending {
                self.dooms.entry(target).or_insert((end.1, end.2));
            }
            if self.is_free(target) {
                self.admit(target);
            }
        }
    }

    fn tell_scope(&mut self, node: u32, end: End) {
        match self.plan.exit_of(node) {
            Some(scope) => {
                self.member_left(
                    self.plan.scopes[scope].parent as usize,
                    Member::Scope(scope),
                    end,
                );
            }
            None if self.plan.is_join(node) => {}
            None => self.member_left(self.plan.around(node)[0], Member::Task(node), end),
        }
    }

    fn member_left(&mut self, scope: usize, member: Member, end: End) {
        assert!(
            self.left[scope].iter().all(|(other, _)| *other != member),
            "{member:?} left twice"
        );
        self.left[scope].push((member, end));
        if self.is_closed(scope) {
            self.scope_closed(scope);
        } else if self.is_empty(scope) {
            self.settling.push(scope);
        }
    }

    fn scope_closed(&mut self, scope: usize) {
        let shape = self.plan.scopes[scope];
        if shape.join != NONE {
            if self.is_free(shape.join) {
                self.admit(shape.join);
            }
        } else if shape.parent != NONE {
            self.member_left(shape.parent as usize, Member::Scope(scope), self.worst(scope));
        }
    }

    /// Pending, and everything it waits for has said how it ended.
    fn is_free(&self, node: u32) -> bool {
        let mut before = self.plan.edges.iter().filter(|edge| edge.1 == node);
        self.state(node) == State::Pending
            && before.all(|edge| self.told.contains(&(edge.0, edge.1)))
            && self.plan.exit_of(node).is_none_or(|scope| self.is_closed(scope))
    }

    fn admit(&mut self, node: u32) {
        if self.dooms.contains_key(&node) || self.plan.is_join(node) {
            self.due.push_back(node);
        } else {
            self.ready.push(node);
        }
    }

    // -- values ---------------------------------------------------------------------------------

    fn release(&mut self) {
        let has_value =
            |node: &u32| matches!(self.state(*node), State::Succeeded | State::Compensated);
        let is_over = |node: &u32| {
            let is_task = !self.plan.is_join(*node) && !self.plan.kept[*node as usize];
            is_task && has_value(node) && self.is_unread(*node)
        };
        for node in self.plan.nodes().filter(is_over).collect::<Vec<_>>() {
            if self.already_released.insert(node) {
                self.released.insert(node);
            }
        }
    }

    /// All data successors are settled, and joins among them are unread themselves.
    fn is_unread(&self, node: u32) -> bool {
        let mut readers = self.plan.edges.iter().filter(|edge| edge.0 == node && edge.2);
        readers.all(|(_, reader, _)| {
            let is_settled = self.state(*reader).is_settled();
            is_settled && (!self.plan.is_join(*reader) || self.is_unread(*reader))
        })
    }
}

/// SUCCEEDED < SKIPPED < CANCELLED < FAILED; the first of equals.
fn worse(one: End, other: End) -> End {
    let badness = |end: End| {
        [State::Skipped, State::Cancelled, State::Failed].iter().position(|state| *state == end.0)
    };
    if badness(other) > badness(one) { other } else { one }
}
