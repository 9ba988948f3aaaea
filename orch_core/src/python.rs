//! The binding: `orch._core`, documented in `python/orch/_core.pyi`.
//!
//! Integers cross, objects stay: nothing here holds or calls a Python object, so there is nothing for
//! the garbage collector to visit and no user code can be reached from inside a call. The lock of a
//! schedule is never held while Python is touched, and long work is done detached.
//!
//! Every entry is [`guard`]ed: should the core panic after all, the caller gets a `RuntimeError`.

// The bodies are calls; what they do is said in the stub and in the modules they call.
#![allow(missing_docs, clippy::needless_pass_by_value)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use pyo3::buffer::{Element, PyUntypedBuffer};
use pyo3::exceptions::{PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::{DagError, Entry, Lane, LayoutError, NONE, Next, Refusal, Scopes};

pyo3::create_exception!(
    orch._core,
    CycleFound,
    PyValueError,
    "The graph has a cycle: `args[0]` is its path, the first node repeated at the end."
);

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::{CycleFound, Dag, Layout, Schedule};

    /// Whether the module was built without optimisation.
    #[pymodule_export]
    const DEBUG_BUILD: bool = cfg!(debug_assertions);
}

/// From so many nodes or edges on, making something is worth detaching from the interpreter for.
const DETACH: usize = 10_000;

// -- Dag ----------------------------------------------------------------------------------------

#[pyclass(frozen, module = "orch._core")]
struct Dag(Arc<crate::Dag>);

#[pymethods]
impl Dag {
    #[new]
    #[pyo3(signature = (nodes, sources, targets, order=None))]
    fn new(
        py: Python<'_>,
        nodes: Number,
        sources: &Bound<'_, PyAny>,
        targets: &Bound<'_, PyAny>,
        order: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let sources: Vec<u32> = column("sources", sources)?;
        let targets: Vec<u32> = column("targets", targets)?;
        let order: Option<Vec<u8>> = order.map(|order| column("order", order)).transpose()?;
        let make = || crate::Dag::new(nodes.0 as usize, &sources, &targets, order.as_deref());
        let size = sources.len().max(nodes.0 as usize);
        Ok(Self(Arc::new(guard(|| Ok(detached(py, size, make)?))?)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn edges(&self) -> usize {
        self.0.edges()
    }

    fn order(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        guard(|| Ok(detached(py, self.0.len(), || self.0.order())))
    }

    fn levels(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        guard(|| Ok(detached(py, self.0.len(), || self.0.levels())))
    }

    fn heights(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        guard(|| Ok(detached(py, self.0.len(), || self.0.heights())))
    }

    fn longest_path(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        guard(|| Ok(detached(py, self.0.len(), || self.0.longest_path())))
    }

    fn successors(&self, node: Number) -> PyResult<Vec<u32>> {
        let node = self.node(node)?;
        guard(|| Ok(self.0.successors(node).iter().map(|edge| edge.node()).collect()))
    }

    fn predecessors(&self, node: Number) -> PyResult<Vec<u32>> {
        let node = self.node(node)?;
        guard(|| Ok(self.0.predecessors(node).iter().map(|edge| edge.node()).collect()))
    }

    fn ancestors(&self, py: Python<'_>, nodes: Vec<Number>) -> PyResult<Vec<u32>> {
        let nodes = nodes.into_iter().map(|node| self.node(node)).collect::<PyResult<Vec<_>>>()?;
        guard(|| Ok(detached(py, self.0.len(), || self.0.ancestors(&nodes))))
    }
}

impl Dag {
    fn node(&self, node: Number) -> PyResult<u32> {
        let nodes = self.0.len();
        let exists = (node.0 as usize) < nodes;
        if exists { Ok(node.0) } else { Err(Refusal::Node { node: node.0, nodes }.into()) }
    }
}

// -- Layout -------------------------------------------------------------------------------------

#[pyclass(frozen, module = "orch._core")]
struct Layout(Arc<crate::Layout>);

#[pymethods]
impl Layout {
    #[new]
    #[pyo3(signature = (dag, lanes=None, retained=None, parents=None, starts=None, ends=None, joins=None, limits=None))]
    #[allow(clippy::too_many_arguments)] // the columns of one table
    fn new(
        py: Python<'_>,
        dag: &Bound<'_, Dag>,
        lanes: Option<&Bound<'_, PyAny>>,
        retained: Option<&Bound<'_, PyAny>>,
        parents: Option<&Bound<'_, PyAny>>,
        starts: Option<&Bound<'_, PyAny>>,
        ends: Option<&Bound<'_, PyAny>>,
        joins: Option<&Bound<'_, PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let dag = Arc::clone(&dag.get().0);
        let lanes: Option<Vec<u8>> = lanes.map(|it| column("lanes", it)).transpose()?;
        let kept: Option<Vec<u8>> = retained.map(|it| column("retained", it)).transpose()?;
        let scopes = OwnedScopes::read(parents, starts, ends, joins, limits)?;
        let size = dag.len();
        let make = || {
            let scopes = scopes.as_ref().map(OwnedScopes::borrow);
            crate::Layout::new(dag, lanes.as_deref(), kept.as_deref(), scopes)
        };
        Ok(Self(Arc::new(guard(|| Ok(detached(py, size, make)?))?)))
    }

    fn longest_path(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        guard(|| Ok(detached(py, self.0.dag().len(), || self.0.longest_path())))
    }
}

/// Copies of the columns of [`Scopes`].
struct OwnedScopes {
    parents: Vec<u32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    joins: Option<Vec<u32>>,
    limits: Option<Vec<u32>>,
}

impl OwnedScopes {
    fn read(
        parents: Option<&Bound<'_, PyAny>>,
        starts: Option<&Bound<'_, PyAny>>,
        ends: Option<&Bound<'_, PyAny>>,
        joins: Option<&Bound<'_, PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Self>> {
        let (Some(parents), Some(starts), Some(ends)) = (parents, starts, ends) else {
            let given = [parents, starts, ends, joins, limits];
            let is_none = given.iter().all(Option::is_none);
            let error = || PyValueError::new_err("scopes need parents, starts and ends");
            return if is_none { Ok(None) } else { Err(error()) };
        };
        Ok(Some(Self {
            parents: column("parents", parents)?,
            starts: column("starts", starts)?,
            ends: column("ends", ends)?,
            joins: joins.map(|it| column("joins", it)).transpose()?,
            limits: limits.map(|it| column("limits", it)).transpose()?,
        }))
    }

    fn borrow(&self) -> Scopes<'_> {
        Scopes {
            parents: &self.parents,
            starts: &self.starts,
            ends: &self.ends,
            joins: self.joins.as_deref(),
            limits: self.limits.as_deref(),
        }
    }
}

// -- Schedule -----------------------------------------------------------------------------------

/// An entry of the journal: node, state, reason, cause, time.
type Row = (u32, u8, u8, u32, u64);

const IDLE: i64 = -1;
const REACT: i64 = -2;
const BREATHE: i64 = -3;

#[pyclass(frozen, module = "orch._core")]
struct Schedule(Mutex<crate::Schedule>);

#[pymethods]
impl Schedule {
    #[classattr]
    const IDLE: i64 = IDLE;
    #[classattr]
    const REACT: i64 = REACT;
    #[classattr]
    const BREATHE: i64 = BREATHE;

    #[new]
    #[pyo3(signature = (layout, *, limit=0))]
    fn new(py: Python<'_>, layout: &Bound<'_, Layout>, limit: i64) -> PyResult<Self> {
        let (layout, limit) = (Arc::clone(&layout.get().0), number("limit", limit)?);
        let make = || crate::Schedule::new(layout.clone(), limit);
        Ok(Self(Mutex::new(guard(|| Ok(detached(py, layout.dag().len(), make)))?)))
    }

    #[pyo3(signature = (lane=0))]
    fn take(&self, lane: i64) -> PyResult<i64> {
        let lane = lane_of(lane)?;
        self.with(|run| Ok(answer(run.take(lane))))
    }

    fn done(&self, node: Number) -> PyResult<i64> {
        self.with(|run| run.done(node.0).map(news))
    }

    #[pyo3(signature = (node, lane=0))]
    fn done_take(&self, node: Number, lane: i64) -> PyResult<i64> {
        let lane = lane_of(lane)?;
        self.with(|run| run.done_take(node.0, lane).map(answer))
    }

    fn fail(&self, node: Number) -> PyResult<i64> {
        self.with(|run| run.fail(node.0).map(news))
    }

    fn cancel(&self, node: Number) -> PyResult<i64> {
        self.with(|run| run.cancel(node.0).map(news))
    }

    fn withdraw(&self, node: Number) -> PyResult<i64> {
        self.with(|run| run.withdraw(node.0).map(news))
    }

    fn retry(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.retry(node.0))
    }

    fn requeue(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.requeue(node.0))
    }

    fn pause(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.pause(node.0))
    }

    fn resume(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.resume(node.0))
    }

    fn restore(&self, node: Number) -> PyResult<i64> {
        self.with(|run| run.restore(node.0).map(news))
    }

    fn compensate(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.compensate(node.0))
    }

    fn abort(&self, py: Python<'_>, scope: Number, cause: Number) -> PyResult<Vec<u32>> {
        py.detach(|| self.with(|run| run.abort(scope.0, cause.0)))
    }

    fn cancel_all(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        py.detach(|| self.with(|run| Ok(run.cancel_all())))
    }

    fn guard(&self, scope: Number) -> PyResult<()> {
        self.with(|run| run.guard(scope.0))
    }

    fn settling(&self) -> PyResult<Vec<(u32, u8)>> {
        self.with(|run| {
            Ok(run.settling().into_iter().map(|(scope, state)| (scope, state as u8)).collect())
        })
    }

    fn settle(&self, scope: Number) -> PyResult<i64> {
        self.with(|run| run.settle(scope.0).map(news))
    }

    fn fail_scope(&self, py: Python<'_>, scope: Number) -> PyResult<Option<Vec<u32>>> {
        py.detach(|| self.with(|run| run.fail_scope(scope.0)))
    }

    fn hold(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.hold(node.0))
    }

    fn let_go(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.let_go(node.0))
    }

    fn hush(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.hush(node.0))
    }

    fn begin(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.begin(node.0))
    }

    fn borrow(&self, node: Number) -> PyResult<bool> {
        self.with(|run| run.borrow(node.0))
    }

    fn repay(&self, node: Number) -> PyResult<()> {
        self.with(|run| run.repay(node.0))
    }

    fn drain(&self) -> PyResult<(Vec<u32>, Vec<u32>)> {
        let drained = self.with(|run| Ok(run.drain()))?;
        Ok((drained.failed, drained.released))
    }

    fn breathe(&self) -> PyResult<()> {
        self.with(|run| {
            run.breathe();
            Ok(())
        })
    }

    #[pyo3(signature = (lane=0))]
    fn ready(&self, lane: i64) -> PyResult<u32> {
        let lane = lane_of(lane)?;
        self.with(|run| Ok(run.ready(lane)))
    }

    fn running(&self) -> PyResult<u32> {
        self.with(|run| Ok(run.running()))
    }

    fn is_active(&self) -> PyResult<bool> {
        self.with(|run| Ok(run.is_active()))
    }

    fn state(&self, node: Number) -> PyResult<u8> {
        self.with(|run| run.state(node.0).map(|state| state as u8))
    }

    fn states<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let states =
            self.with(|run| Ok(run.states().map(|state| state as u8).collect::<Vec<_>>()))?;
        Ok(PyBytes::new(py, &states))
    }

    fn outcome(&self) -> PyResult<u8> {
        self.with(|run| Ok(run.outcome() as u8))
    }

    fn scope_outcome(&self, scope: Number) -> PyResult<u8> {
        self.with(|run| run.scope_outcome(scope.0).map(|state| state as u8))
    }

    fn note(&self, node: Number) -> PyResult<usize> {
        self.with(|run| run.note(node.0))
    }

    fn set_time(&self, nanoseconds: u64) -> PyResult<()> {
        self.with(|run| {
            run.set_time(nanoseconds);
            Ok(())
        })
    }

    fn now(&self) -> PyResult<u64> {
        self.with(|run| Ok(run.now()))
    }

    fn __len__(&self) -> PyResult<usize> {
        self.with(|run| Ok(run.len()))
    }

    #[pyo3(signature = (start=0, stop=None))]
    fn journal(&self, start: i64, stop: Option<i64>) -> PyResult<Vec<Row>> {
        let start = position("start", start)?;
        let stop = stop.map_or(Ok(usize::MAX), |stop| position("stop", stop))?;
        self.with(|run| Ok(run.journal(start, stop).map(row).collect()))
    }

    #[pyo3(signature = (lane=0))]
    fn get_ready(&self, lane: i64) -> PyResult<Vec<u32>> {
        let lane = lane_of(lane)?;
        self.with(|run| Ok(run.get_ready(lane)))
    }
}

impl Schedule {
    fn with<T>(
        &self,
        body: impl FnOnce(&mut crate::Schedule) -> Result<T, Refusal>,
    ) -> PyResult<T> {
        guard(|| {
            let said = match self.0.lock() {
                Ok(mut run) => body(&mut run),
                Err(_) => return Err(internal("the schedule was broken by an earlier one")),
            };
            Ok(said?)
        })
    }
}

fn answer(next: Next) -> i64 {
    match next {
        Next::Node(node) => i64::from(node),
        Next::Idle => IDLE,
        Next::React => REACT,
        Next::Breathe => BREATHE,
    }
}

fn news(has_news: bool) -> i64 {
    if has_news { REACT } else { 0 }
}

fn row(entry: Entry) -> Row {
    (entry.node, entry.state, entry.reason, entry.cause, entry.time)
}

// -- the border ---------------------------------------------------------------------------------

/// A node or a scope. What is no 32-bit number cannot be one, which is a `ValueError`.
struct Number(u32);

impl<'py> FromPyObject<'_, 'py> for Number {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|error: PyErr| {
            let is_number = error.is_instance_of::<PyOverflowError>(object.py());
            if is_number { out_of_range() } else { error }
        })
    }
}

#[cold]
fn out_of_range() -> PyErr {
    PyValueError::new_err(format!("the number of a node or scope lies between 0 and {NONE}"))
}

fn number(name: &str, value: i64) -> PyResult<u32> {
    u32::try_from(value)
        .map_err(|_| PyValueError::new_err(format!("{name} is {value}, expected 0 to {NONE}")))
}

fn position(name: &str, value: i64) -> PyResult<usize> {
    usize::try_from(value)
        .map_err(|_| PyValueError::new_err(format!("{name} is {value}, expected 0 or more")))
}

fn lane_of(lane: i64) -> PyResult<Lane> {
    match lane {
        0 => Ok(Lane::Loop),
        1 => Ok(Lane::Thread),
        _ => Err(PyValueError::new_err(format!("lane is {lane}, expected 0 (loop) or 1 (thread)"))),
    }
}

/// A copy of a buffer, so that nobody changes it while it is read. An empty one has no alignment to
/// speak of, and is not looked at.
fn column<T: Element>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    let copy = |buffer: PyUntypedBuffer| match buffer.item_count() {
        0 => Ok(Vec::new()),
        _ => buffer.into_typed()?.to_vec(object.py()),
    };
    PyUntypedBuffer::get(object).and_then(copy).map_err(|error| {
        let bits = 8 * size_of::<T>();
        PyTypeError::new_err(format!(
            "{name} is no buffer of {bits}-bit unsigned integers: {error}"
        ))
    })
}

/// Runs `work` without the interpreter if it is long enough.
fn detached<T: Send>(py: Python<'_>, size: usize, work: impl FnOnce() -> T + Send) -> T {
    if size < DETACH { work() } else { py.detach(work) }
}

/// A panic of the core is a mistake of ours: it reaches the caller as an ordinary exception.
fn guard<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(internal(said(&*panic))))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("panic")
}

#[cold]
fn internal(message: &str) -> PyErr {
    PyRuntimeError::new_err(format!("internal error: {message}"))
}

impl From<DagError> for PyErr {
    fn from(error: DagError) -> Self {
        match error {
            DagError::Cycle(path) => CycleFound::new_err((path,)),
            error => PyValueError::new_err(error.to_string()),
        }
    }
}

impl From<LayoutError> for PyErr {
    fn from(error: LayoutError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        PyValueError::new_err(refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_exception_that_can_be_caught() {
        Python::initialize();

        let panics: PyResult<()> = guard(|| panic!("the core is at {}", 7));

        Python::attach(|py| {
            let error = panics.expect_err("it panicked");
            assert!(error.is_instance_of::<PyRuntimeError>(py));
            assert_eq!(error.value(py).to_string(), "internal error: the core is at 7");
        });
    }
}
