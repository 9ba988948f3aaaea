//! What the core costs: `cargo bench -p orch-core`.
//!
//! The yardstick stands beside the graph: Kahn's algorithm over lists of lists, as one would write it by
//! hand, without checks and without a promise about order.

use std::collections::VecDeque;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use orch_core::{Dag, Lane, Layout, Next, Schedule};

const NODES: u32 = 1_000_000;

fn main() {
    divan::main();
}

/// Numbers that look random and are the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }
}

struct Edges {
    sources: Vec<u32>,
    targets: Vec<u32>,
}

impl Edges {
    fn new(pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let (sources, targets) = pairs.unzip();
        Self { sources, targets }
    }

    /// Three edges a node, each to one of the next thousand.
    fn layered(nodes: u32) -> Self {
        let mut dice = Dice(1);
        let pairs = (0..3 * nodes).map(|edge| (edge / 3, edge / 3 + 1 + dice.below(1000)));
        Self::new(pairs.filter(|(_, target)| *target < nodes))
    }

    /// The same, numbered at random.
    fn shuffled(nodes: u32) -> Self {
        let mut names: Vec<u32> = (0..nodes).collect();
        let mut dice = Dice(2);
        (1..nodes).rev().for_each(|at| names.swap(at as usize, dice.below(at + 1) as usize));
        let Self { sources, targets } = Self::layered(nodes);
        let name = |node: u32| names[node as usize];
        Self::new(
            sources.into_iter().zip(targets).map(|(source, target)| (name(source), name(target))),
        )
    }

    fn chain(nodes: u32) -> Self {
        Self::new((1..nodes).map(|node| (node - 1, node)))
    }

    fn dag(&self) -> Dag {
        Dag::new(NODES as usize, &self.sources, &self.targets, None).expect("no cycle")
    }

    fn layout(&self) -> Arc<Layout> {
        Arc::new(Layout::new(Arc::new(self.dag()), None, None, None).expect("fits"))
    }

    fn by_hand(&self) -> Vec<u32> {
        let mut lists = vec![Vec::new(); NODES as usize];
        let mut waits = vec![0_u32; NODES as usize];
        for (source, target) in self.sources.iter().zip(&self.targets) {
            lists[*source as usize].push(*target);
            waits[*target as usize] += 1;
        }
        let mut ready: VecDeque<u32> =
            (0..NODES).filter(|node| waits[*node as usize] == 0).collect();
        let mut order = Vec::with_capacity(NODES as usize);
        while let Some(node) = ready.pop_front() {
            order.push(node);
            for target in &lists[node as usize] {
                waits[*target as usize] -= 1;
                if waits[*target as usize] == 0 {
                    ready.push_back(*target);
                }
            }
        }
        order
    }
}

/// A graph of a million nodes and three million edges, checked and put in order.
#[divan::bench_group(sample_count = 10)]
mod build_and_order {
    use super::{Bencher, Edges, NODES, black_box};

    #[divan::bench]
    fn layered(bencher: Bencher<'_, '_>) {
        let edges = Edges::layered(NODES);
        bencher.bench(|| black_box(&edges).dag().order());
    }

    #[divan::bench]
    fn shuffled(bencher: Bencher<'_, '_>) {
        let edges = Edges::shuffled(NODES);
        bencher.bench(|| black_box(&edges).dag().order());
    }

    #[divan::bench]
    fn layered_by_hand(bencher: Bencher<'_, '_>) {
        let edges = Edges::layered(NODES);
        bencher.bench(|| black_box(&edges).by_hand());
    }

    #[divan::bench]
    fn shuffled_by_hand(bencher: Bencher<'_, '_>) {
        let edges = Edges::shuffled(NODES);
        bencher.bench(|| black_box(&edges).by_hand());
    }
}

/// A whole run, taking and ending every node, per node.
#[divan::bench_group(sample_count = 10)]
mod take_and_done {
    use super::{Arc, Bencher, Edges, ItemsCount, NODES, Schedule, play};

    fn bench(bencher: Bencher<'_, '_>, edges: &Edges, limit: u32, is_timed: bool) {
        let layout = edges.layout();
        layout.heights();
        let start = || {
            let mut run = Schedule::new(Arc::clone(&layout), limit);
            if !is_timed {
                run.set_time(0);
            }
            run
        };
        bencher.counter(ItemsCount::new(NODES)).with_inputs(start).bench_local_values(play);
    }

    #[divan::bench]
    fn chain(bencher: Bencher<'_, '_>) {
        bench(bencher, &Edges::chain(NODES), 0, true);
    }

    /// What is left when nobody looks at the clock.
    #[divan::bench]
    fn chain_untimed(bencher: Bencher<'_, '_>) {
        bench(bencher, &Edges::chain(NODES), 0, false);
    }

    #[divan::bench]
    fn layered(bencher: Bencher<'_, '_>) {
        bench(bencher, &Edges::layered(NODES), 0, true);
    }

    #[divan::bench]
    fn layered_with_a_limit(bencher: Bencher<'_, '_>) {
        bench(bencher, &Edges::layered(NODES), 100, true);
    }
}

fn play(mut run: Schedule) -> Schedule {
    let mut next = run.take(Lane::Loop);
    loop {
        next = match next {
            Next::Node(node) => run.done_take(node, Lane::Loop).expect("it runs"),
            Next::Breathe => {
                run.breathe();
                run.take(Lane::Loop)
            }
            Next::React | Next::Idle => return run,
        };
    }
}
