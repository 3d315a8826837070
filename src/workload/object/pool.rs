//! The objects of a rank: which are there and which are not, and their versions. An object that is
//! used is in neither list, so no two operations meet at one object.

use crate::plan::Mix;

/// The objects, by number. 12 bytes for each.
#[derive(Debug)]
pub(super) struct Pool {
    versions: Vec<u32>,
    live: Vec<u32>,
    dead: Vec<u32>,
}

impl Pool {
    /// None of `objects` is there yet.
    pub fn new(objects: u64) -> Pool {
        let count = u32::try_from(objects).expect("the configuration allows 2^24 at most");
        Pool {
            versions: vec![0; count as usize],
            live: Vec::with_capacity(count as usize),
            // The first is taken first.
            dead: (0..count).rev().collect(),
        }
    }

    /// Takes one that is there, at random.
    pub fn take_live(&mut self, dice: &mut Mix) -> Option<u32> {
        let count = self.live.len() as u64;
        (count > 0).then(|| self.live.swap_remove(dice.below(count) as usize))
    }

    /// Takes one to be written: one that is not there, else one that is.
    pub fn take_for_put(&mut self, dice: &mut Mix) -> u32 {
        let dead = self.dead.pop();
        let taken = dead.or_else(|| self.take_live(dice));
        taken.expect("there are as many objects as operations in flight")
    }

    /// The version that an object has, or had.
    pub fn version(&self, object: u32) -> u32 {
        self.versions[object as usize]
    }

    /// Gives an object back that is there in this version.
    pub fn put_back(&mut self, object: u32, version: u32) {
        self.versions[object as usize] = version;
        self.live.push(object);
    }

    /// Gives one back that is not there any more.
    pub fn removed(&mut self, object: u32) {
        self.dead.push(object);
    }

    /// Those that are there.
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// All of them, there or not.
    pub fn all(&self) -> u64 {
        self.versions.len() as u64
    }

    /// None is missing.
    pub fn is_full(&self) -> bool {
        self.dead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ObjectMix;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_object_is_used_twice_or_lost(
            objects in 1u64..20,
            steps in proptest::collection::vec((0u8..4, 0usize..20), 0..200),
        ) {
            let mut pool = Pool::new(objects);
            let mut dice = Mix::new(&ObjectMix::default(), 7, 0);
            let mut used: Vec<u32> = Vec::new();
            for (step, pick) in steps {
                let full = used.len() as u64 == objects;
                match step {
                    0 if !full => used.push(pool.take_for_put(&mut dice)),
                    1 => used.extend(pool.take_live(&mut dice)),
                    2 if !used.is_empty() => {
                        let object = used.swap_remove(pick % used.len());
                        let version = pool.version(object) + 1;
                        pool.put_back(object, version);
                    }
                    3 if !used.is_empty() => pool.removed(used.swap_remove(pick % used.len())),
                    _ => {}
                }
                let mut all: Vec<u32> =
                    used.iter().chain(&pool.live).chain(&pool.dead).copied().collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..objects as u32).collect::<Vec<_>>());
            }
        }
    }
}
