//! The words of a run: states, what may follow what, and why a step was skipped.
//!
//! ```text
//! PENDING   -> RUNNING | SKIPPED | CANCELLED | SUCCEEDED (restored)
//! RUNNING   -> SUCCEEDED | FAILED | RETRYING | PAUSED | CANCELLED
//! RETRYING  -> RUNNING | FAILED | CANCELLED
//! PAUSED    -> RUNNING | SUCCEEDED | CANCELLED
//! SUCCEEDED -> COMPENSATED                                          everything else is final
//! ```

#![forbid(unsafe_code)]

use std::fmt;

/// What stands for "no node" and "no scope" wherever a number is expected.
pub const NONE: u32 = u32::MAX;

/// The state of a step, a group or a run. The numbers are part of the interface.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for predecessors, a slot, or somebody to take it.
    Pending = 0,
    /// Taken.
    Running = 1,
    /// Failed an attempt and waits for the next; holds no slot.
    Retrying = 2,
    /// Waits for an answer from outside; holds no slot.
    Paused = 3,
    /// Ended well.
    Succeeded = 4,
    /// Ended with an error.
    Failed = 5,
    /// Never started, see [`Reason`].
    Skipped = 6,
    /// Stopped from outside.
    Cancelled = 7,
    /// Ended well, and was undone.
    Compensated = 8,
}

impl State {
    const ALL: [Self; 9] = [
        Self::Pending,
        Self::Running,
        Self::Retrying,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
        Self::Compensated,
    ];

    /// Whether nothing is to be expected any more, except that a success may be compensated.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        self as u8 >= Self::Succeeded as u8
    }

    /// How bad an end is, for the verdict on a group: the worst of its members counts.
    const fn badness(self) -> u8 {
        match self {
            Self::Skipped => 1,
            Self::Cancelled => 2,
            Self::Failed => 3,
            _ => 0,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Retrying => "RETRYING",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Cancelled => "CANCELLED",
            Self::Compensated => "COMPENSATED",
        })
    }
}

/// Why a step was skipped. The numbers are part of the interface.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was not.
    None = 0,
    /// Something it needs failed.
    UpstreamFailed = 1,
    /// Its group was aborted.
    Aborted = 2,
    /// Something it needs was cancelled.
    UpstreamCancelled = 3,
}

impl Reason {
    const ALL: [Self; 4] =
        [Self::None, Self::UpstreamFailed, Self::Aborted, Self::UpstreamCancelled];
}

/// How a node or a scope ended, and what is said of it to whoever needed its success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    /// Why the dependants are skipped; [`Reason::None`] exactly if it succeeded.
    pub(crate) reason: Reason,
    /// The node to blame: the first that failed or was cancelled.
    pub(crate) cause: u32,
}

impl Verdict {
    pub(crate) const SUCCESS: Self =
        Self { state: State::Succeeded, reason: Reason::None, cause: NONE };

    pub(crate) const fn failed(cause: u32) -> Self {
        Self { state: State::Failed, reason: Reason::UpstreamFailed, cause }
    }

    pub(crate) const fn cancelled(cause: u32) -> Self {
        Self { state: State::Cancelled, reason: Reason::UpstreamCancelled, cause }
    }

    pub(crate) const fn skipped(reason: Reason, cause: u32) -> Self {
        Self { state: State::Skipped, reason, cause }
    }

    /// The worse of two; the first if they are equally bad.
    pub(crate) const fn worst(self, other: Self) -> Self {
        if other.state.badness() > self.state.badness() { other } else { self }
    }
}

/// What can be done to a node by name. (The core starts, skips and joins by itself.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// It ended well.
    Done,
    /// It ended with an error.
    Fail,
    /// It was stopped, or will not be started.
    Cancel,
    /// It will not be started when its turn comes.
    Withdraw,
    /// An attempt failed and another will follow.
    Retry,
    /// The wait before the next attempt is over.
    Requeue,
    /// It waits for an answer.
    Pause,
    /// The answer is there.
    Resume,
    /// Its value is known without running it.
    Restore,
    /// It was undone.
    Compensate,
    /// Its body may outlive it.
    Hold,
    /// Its body has ended.
    LetGo,
    /// Its start is to leave no entry.
    Hush,
    /// It has started after all.
    Begin,
    /// It wants one more slot.
    Borrow,
    /// It gives one of those back.
    Repay,
}

impl Verb {
    /// The states in which the verb is legal.
    pub(crate) const fn legal(self) -> &'static [State] {
        use State::{Paused, Pending, Retrying, Running, Succeeded};
        match self {
            Self::Done => &[Running, Paused],
            Self::Fail => &[Running, Retrying],
            Self::Cancel => &[Running, Retrying, Paused, Pending],
            Self::Retry | Self::Pause | Self::Hold | Self::Begin | Self::Borrow => &[Running],
            Self::Requeue => &[Retrying],
            Self::Resume => &[Paused],
            Self::Restore | Self::Withdraw | Self::Hush => &[Pending],
            Self::Compensate => &[Succeeded],
            Self::LetGo | Self::Repay => &State::ALL,
        }
    }

    #[inline]
    pub(crate) const fn allows(self, state: State) -> bool {
        let (mut mask, mut at) = (0, 0);
        while at < self.legal().len() {
            mask |= self.legal()[at].bit();
            at += 1;
        }
        mask & state.bit() != 0
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Withdraw => "withdraw",
            Self::Retry => "retry",
            Self::Requeue => "requeue",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restore => "restore",
            Self::Compensate => "compensate",
            Self::Hold => "hold",
            Self::LetGo => "let_go",
            Self::Hush => "hush",
            Self::Begin => "begin",
            Self::Borrow => "borrow",
            Self::Repay => "repay",
        })
    }
}

/// All that is known of a node in one byte: its state (4 bits), where it waits (2), its doom (2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(u8);

impl Cell {
    pub(crate) const PENDING: Self = Self(State::Pending as u8);
    const STATE: u8 = 0b0000_1111;
    const QUEUED: u8 = 0b0001_0000;
    const PARKED: u8 = 0b0010_0000;
    const REASON: u32 = 6;

    pub(crate) fn state(self) -> State {
        State::ALL[usize::from(self.0 & Self::STATE)]
    }

    /// Why the node will be, or was, skipped. It is doomed if there is a reason.
    pub(crate) fn reason(self) -> Reason {
        Reason::ALL[usize::from(self.0 >> Self::REASON)]
    }

    pub(crate) const fn is(self, state: State) -> bool {
        self.0 & Self::STATE == state as u8
    }

    pub(crate) const fn is_doomed(self) -> bool {
        self.0 >> Self::REASON != 0
    }

    /// In the queue of its lane.
    pub(crate) const fn is_queued(self) -> bool {
        self.0 & Self::QUEUED != 0
    }

    /// In the waiting room of a full scope.
    pub(crate) const fn is_parked(self) -> bool {
        self.0 & Self::PARKED != 0
    }

    /// The same node in another state, waiting nowhere.
    pub(crate) const fn with_state(self, state: State) -> Self {
        Self(self.0 & !(Self::STATE | Self::QUEUED | Self::PARKED) | state as u8)
    }

    pub(crate) const fn with_reason(self, reason: Reason) -> Self {
        Self(self.0 & !(0b11 << Self::REASON) | (reason as u8) << Self::REASON)
    }

    pub(crate) const fn queued(self) -> Self {
        Self(self.0 & !Self::PARKED | Self::QUEUED)
    }

    pub(crate) const fn parked(self) -> Self {
        Self(self.0 & !Self::QUEUED | Self::PARKED)
    }
}

/// Why a call was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such node.
    Node {
        /// What was asked for.
        node: u32,
        /// How many there are.
        nodes: usize,
    },
    /// There is no such scope.
    Scope {
        /// What was asked for.
        scope: u32,
        /// How many there are.
        scopes: usize,
    },
    /// The state of the node does not allow the verb.
    State {
        /// The node.
        node: u32,
        /// Its state.
        state: State,
        /// What was to be done to it.
        verb: Verb,
    },
    /// The node is ready already: it waits to be taken.
    Ready {
        /// The node.
        node: u32,
        /// Its state.
        state: State,
        /// What was to be done to it.
        verb: Verb,
    },
    /// Somebody holds the node, or (for `let_go`) nobody does.
    Held {
        /// The node.
        node: u32,
        /// What was to be done to it.
        verb: Verb,
    },
    /// There is nothing of the kind to be undone.
    Absent {
        /// The node.
        node: u32,
        /// What was to be done to it.
        verb: Verb,
    },
    /// The scope is not in a condition for this.
    Guard {
        /// The scope.
        scope: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The node is a join: the core settles it by itself.
    Join {
        /// The node.
        node: u32,
        /// What was to be done to it.
        verb: Verb,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { node, nodes } => write!(f, "no node {node}: there are {nodes}"),
            Self::Scope { scope, scopes } => write!(f, "no scope {scope}: there are {scopes}"),
            Self::State { node, state, verb } => {
                write!(f, "{verb}({node}): node {node} is {state}, not ")?;
                for (at, legal) in verb.legal().iter().enumerate() {
                    write!(f, "{}{legal}", if at == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
            Self::Ready { node, state, verb } => {
                write!(f, "{verb}({node}): node {node} is {state} and ready already, take it")
            }
            Self::Held { node, verb: Verb::Hold } => {
                write!(f, "hold({node}): node {node} is held already")
            }
            Self::Held { node, verb: Verb::LetGo } => {
                write!(f, "let_go({node}): node {node} is not held")
            }
            Self::Held { node, verb } => {
                write!(f, "{verb}({node}): the body of node {node} has not ended, let it go first")
            }
            Self::Absent { node, verb: Verb::Begin } => {
                write!(f, "begin({node}): node {node} has begun already")
            }
            Self::Absent { node, verb } => {
                write!(f, "{verb}({node}): node {node} has borrowed nothing")
            }
            Self::Guard { scope, problem } => write!(f, "scope {scope} {problem}"),
            Self::Join { node, verb } => {
                write!(f, "{verb}({node}): node {node} is a join, it settles by itself")
            }
        }
    }
}

impl std::error::Error for Refusal {}
