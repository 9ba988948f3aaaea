//! The scheduling core of `orch`: which step of a workflow may run, and what follows when one ends.
//!
//! The crate knows numbers only. A plan has steps `0..n`; what they are, and who runs them, is known
//! elsewhere. Three types, each made from the one before:
//!
//! * [`Dag`]: the edges, checked. Immutable.
//! * [`Layout`]: lanes, groups and limits over those edges, checked. Immutable, shared by all runs.
//! * [`Schedule`]: one run. It takes facts and answers what is next; it never does anything by itself.
//!
//! ```
//! use std::sync::Arc;
//! use orch_core::{Dag, Lane, Layout, Next, Schedule, State};
//!
//! // 0 -> 1 -> 3, 0 -> 2 -> 3
//! let dag = Arc::new(Dag::new(4, &[0, 0, 1, 2], &[1, 2, 3, 3], None)?);
//! let layout = Arc::new(Layout::new(dag, None, None, None)?);
//! let mut run = Schedule::new(layout, 0);
//!
//! assert_eq!(run.take(Lane::Loop), Next::Node(0));
//! assert_eq!(run.take(Lane::Loop), Next::Idle);
//! assert_eq!(run.done_take(0, Lane::Loop)?, Next::Node(1));
//! assert_eq!(run.take(Lane::Loop), Next::Node(2));
//! run.done(1)?;
//! run.fail(2)?;
//!
//! assert_eq!(run.drain().failed, [2]); // whoever wants to answer that does it now
//! assert_eq!(run.drain().failed, []); // 3, which needs 2, hears of it
//! assert!(!run.is_active());
//! assert_eq!(run.state(3)?, State::Skipped);
//! assert_eq!(run.outcome(), State::Failed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything is iterative and linear, every error is a value, and no call that is refused changes
//! anything. The modules say what each operation costs.
//!
//! The binding to Python is behind the feature `python` and is not described here: its face is
//! `python/orch/_core.pyi`.

pub mod dag;
pub mod journal;
pub mod layout;
pub mod order;
pub mod schedule;
pub mod state;

mod clock;
mod minset;
mod nodes;
#[cfg(feature = "python")]
mod python;
mod readers;
mod ready;
mod scope;
mod slots;

pub use dag::{Dag, DagError};
pub use journal::{Entry, NOTE};
pub use layout::{Lane, Layout, LayoutError};
pub use schedule::{Drained, Next, Schedule};
pub use scope::Scopes;
pub use state::{NONE, Reason, Refusal, State, Verb};
