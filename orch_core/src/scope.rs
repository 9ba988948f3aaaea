//! Scopes: how the groups of a definition lie over its nodes, read from columns and checked.
//!
//! The columns come in preorder, so one walk with a stack of open scopes sees every border of every
//! range once, from left to right: that checks the nesting and tells each node its scope in `O(n + s)`,
//! however deep the groups are nested.

#![forbid(unsafe_code)]

use crate::layout::{Kind, LayoutError, check_length};
use crate::state::NONE;

/// The scopes as columns, in preorder, the way [`Layout::new`](crate::Layout::new) takes them.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a> {
    /// The scope around each, [`NONE`] for scope 0.
    pub parents: &'a [u32],
    /// The first node of each.
    pub starts: &'a [u32],
    /// The node behind the last of each.
    pub ends: &'a [u32],
    /// The exit join of each or [`NONE`]; if left out, none has one.
    pub joins: Option<&'a [u32]>,
    /// The limit of each, 0 for none; if left out, none has one.
    pub limits: Option<&'a [u32]>,
}

/// One scope, and what is read off its place among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) parent: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) join: u32,
    pub(crate) limit: u32,
    /// The scope that follows in preorder when this one and all inside are left out.
    pub(crate) after: u32,
    /// The members it waits for: its own tasks and its child scopes.
    pub(crate) members: u32,
    /// The innermost scope with a limit at or above this one, scope 0 left out; [`NONE`] if none.
    pub(crate) gate: u32,
}

impl Scope {
    /// The node behind the range and behind its exit join.
    fn behind(&self) -> u32 {
        self.end + u32::from(self.join != NONE)
    }
}

impl Scopes<'_> {
    fn check_lengths(&self) -> Result<(), LayoutError> {
        let count = self.parents.len();
        if count == 0 {
            return Err(LayoutError::Length { column: "parents", got: 0, expected: 1 });
        }
        check_length("starts", self.starts.len(), count)?;
        check_length("ends", self.ends.len(), count)?;
        self.joins.map_or(Ok(()), |joins| check_length("joins", joins.len(), count))?;
        self.limits.map_or(Ok(()), |limits| check_length("limits", limits.len(), count))
    }

    fn scope(&self, at: usize) -> Scope {
        Scope {
            parent: self.parents[at],
            start: self.starts[at],
            end: self.ends[at],
            join: self.joins.map_or(NONE, |joins| joins[at]),
            limit: self.limits.map_or(0, |limits| limits[at]),
            after: 0,
            members: 0,
            gate: NONE,
        }
    }
}

/// The scopes, checked, and for each node its home (see [`Layout`](crate::Layout)). Marks the exit
/// joins among the kinds.
pub(crate) fn nest(
    columns: Scopes<'_>,
    nodes: usize,
    kinds: &mut [Kind],
) -> Result<(Vec<Scope>, Vec<u32>), LayoutError> {
    columns.check_lengths()?;
    let mut nest = Nest { homes: vec![0; nodes], at: 0, scopes: Vec::new(), open: Vec::new() };
    for at in 0..columns.parents.len() {
        let scope = columns.scope(at);
        let fits = if at == 0 { nest.root(scope) } else { nest.add(scope, kinds) };
        fits.map_err(|problem| LayoutError::Scope { scope: at, problem })?;
    }
    nest.close_until(NONE);
    nest.count_members(kinds);
    Ok((nest.scopes, nest.homes))
}

/// The walk over the borders.
struct Nest {
    /// For each node left of `at` its home.
    homes: Vec<u32>,
    at: u32,
    scopes: Vec<Scope>,
    /// The scopes around `at`, outermost first.
    open: Vec<u32>,
}

impl Nest {
    fn root(&mut self, scope: Scope) -> Result<(), &'static str> {
        if scope.parent != NONE {
            return Err("is the root and has a parent");
        }
        if scope.start != 0 || scope.end as usize != self.homes.len() {
            return Err("is the root and does not cover all nodes");
        }
        if scope.join != NONE {
            return Err("is the root and has an exit join");
        }
        self.push(scope);
        Ok(())
    }

    fn add(&mut self, mut scope: Scope, kinds: &mut [Kind]) -> Result<(), &'static str> {
        self.close_until(scope.parent);
        let Some(parent) = self.open.last().map(|parent| self.scopes[*parent as usize]) else {
            return Err("has a parent that does not stand before it in preorder");
        };
        if scope.start < self.at {
            return Err("begins before its parent or before the end of its left sibling");
        }
        if scope.start > scope.end || scope.end > parent.end {
            return Err("does not end inside its parent");
        }
        check_exit(&scope, &parent, kinds)?;
        self.fill(scope.start, scope.parent);
        scope.gate = if scope.limit > 0 { self.scopes.len() as u32 } else { parent.gate };
        self.push(scope);
        Ok(())
    }

    fn push(&mut self, scope: Scope) {
        self.open.push(self.scopes.len() as u32);
        self.scopes.push(scope);
    }

    /// Closes every open scope inside `parent`; all of them if that is not open.
    fn close_until(&mut self, parent: u32) {
        while let Some(&last) = self.open.last().filter(|last| **last != parent) {
            self.scopes[last as usize].after = self.scopes.len() as u32;
            self.fill(self.scopes[last as usize].behind(), last);
            self.open.pop();
        }
    }

    fn fill(&mut self, until: u32, home: u32) {
        self.homes[self.at as usize..until as usize].fill(home);
        self.at = until;
    }

    fn count_members(&mut self, kinds: &[Kind]) {
        for (node, home) in self.homes.iter().enumerate() {
            let is_task = kinds.get(node).is_none_or(|kind| !kind.is_join());
            self.scopes[*home as usize].members += u32::from(is_task);
        }
        for at in 1..self.scopes.len() {
            let parent = self.scopes[at].parent as usize;
            self.scopes[parent].members += 1;
        }
    }
}

fn check_exit(scope: &Scope, parent: &Scope, kinds: &mut [Kind]) -> Result<(), &'static str> {
    if scope.join == NONE {
        return Ok(());
    }
    if scope.join != scope.end || scope.join >= parent.end {
        return Err("has an exit join that does not lie right behind it, inside its parent");
    }
    match kinds.get_mut(scope.join as usize) {
        Some(kind @ Kind::Join) => *kind = Kind::Exit,
        _ => return Err("has an exit join that is not in the lane of joins"),
    }
    Ok(())
}
