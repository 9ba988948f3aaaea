//! A set of small integers that gives back its smallest member.
//!
//! One bit a number, and above every 64 words one word that says which of them are not empty, until
//! a single word is left. A set over `n` numbers holds `n / 8` bytes and a sixty-third more.
//!
//! | operation | cost |
//! |---|---|
//! | [`MinSet::new`] | `O(n / 64)` |
//! | [`MinSet::insert`], [`MinSet::pop`] | `O(log64 n)`: four steps for sixteen million numbers |

#![forbid(unsafe_code)]

/// Numbers below a fixed bound, taken out smallest first.
#[derive(Debug)]
pub(crate) struct MinSet {
    /// The bits, lowest level first; the last level is one word.
    levels: Vec<Box<[u64]>>,
}

impl MinSet {
    /// An empty set for the numbers below `bound`.
    pub(crate) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0; words].into_boxed_slice());
            if words == 1 {
                return Self { levels };
            }
            words = words.div_ceil(64);
        }
    }

    /// Adds `number`, which must lie below the bound.
    pub(crate) fn insert(&mut self, number: u32) {
        let mut at = number as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                return; // the levels above know already
            }
            at /= 64;
        }
    }

    /// Removes the smallest number and returns it.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let smallest = self.first()?;
        let mut at = smallest;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                break;
            }
            at /= 64;
        }
        Some(smallest as u32)
    }

    fn first(&self) -> Option<usize> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let word = level[at];
            if word == 0 {
                return None; // only the top word can be empty here
            }
            at = at * 64 + word.trailing_zeros() as usize;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_the_smallest_across_word_and_level_borders() {
        let mut set = MinSet::new(300_000);
        for number in [299_999, 64, 4096, 63, 0, 64] {
            set.insert(number);
        }

        let taken: Vec<_> = std::iter::from_fn(|| set.pop()).collect();

        assert_eq!(taken, [0, 63, 64, 4096, 299_999]);
    }

    #[test]
    fn an_empty_bound_gives_nothing() {
        assert_eq!(MinSet::new(0).pop(), None);
    }
}
