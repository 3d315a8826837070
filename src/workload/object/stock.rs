//! The objects that a rank works on, whoever made them.

use super::pool::Pool;
use crate::plan::{Mix, SizeLaw, folder_name, object_content_id, object_name};

/// The version of an object that was put once.
const FIRST_VERSION: u32 = 1;

/// The objects of a rank.
pub(super) enum Stock {
    /// Made in this run, and changed by it.
    Own {
        /// Who makes them.
        rank: u64,
        /// Which are there.
        pool: Pool,
    },
    /// Made by an earlier run, and only read.
    Prepared(Prepared),
    /// Whatever lies below the root, and only read.
    Listed(Vec<Listed>),
}

/// This rank's share of the objects that `ranks` ranks made, each `objects` of them. They are
/// counted rank by rank; a rank has every `stride`th of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prepared {
    objects: u64,
    seed: u64,
    first: u64,
    stride: u64,
    count: u64,
}

impl Prepared {
    /// The share of `rank` of `ranks` in the objects that `made_by` ranks made. Where there are
    /// fewer objects than ranks, some have the same one.
    pub fn new((made_by, objects): (u64, u64), seed: u64, rank: u64, ranks: u64) -> Prepared {
        let all = made_by * objects;
        let first = rank % all.max(1);
        let count = (all - first.min(all)).div_ceil(ranks).max(1);
        Prepared { objects, seed, first, stride: ranks, count }
    }

    /// Rank and index that an object was made with.
    fn maker(&self, object: u64) -> (u64, u64) {
        let place = self.first + object * self.stride;
        (place / self.objects, place % self.objects)
    }
}

/// An object that a listing named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Name below the root.
    pub name: Box<str>,
    /// Its size, which was asked for.
    pub size_bytes: u64,
}

impl Stock {
    /// Takes an object to read or remove, at random; None while none is there that is not in use.
    /// Objects that are only read may be in use more than once.
    pub fn take(&mut self, dice: &mut Mix) -> Option<u64> {
        match self {
            Stock::Own { pool, .. } => pool.take_live(dice).map(u64::from),
            Stock::Prepared(share) => Some(dice.below(share.count)),
            Stock::Listed(found) => Some(dice.below(found.len() as u64)),
        }
    }

    /// Takes one to be written.
    pub fn take_for_put(&mut self, dice: &mut Mix) -> u64 {
        match self {
            Stock::Own { pool, .. } => u64::from(pool.take_for_put(dice)),
            _ => unreachable!("the configuration lets nothing be put over objects of others"),
        }
    }

    /// One whose folder is listed; it stays free.
    pub fn look_at(&mut self, dice: &mut Mix) -> u64 {
        match self {
            Stock::Own { .. } => 0,
            _ => self.take(dice).unwrap_or(0),
        }
    }

    /// The version that an object has, or had.
    pub fn version(&self, object: u64) -> u32 {
        match self {
            Stock::Own { pool, .. } => pool.version(object as u32),
            Stock::Prepared(_) => FIRST_VERSION,
            Stock::Listed(_) => 0,
        }
    }

    /// Bytes of a version of an object.
    pub fn size_bytes(&self, law: &SizeLaw, seed: u64, object: u64, version: u32) -> u64 {
        match self {
            Stock::Own { rank, .. } => law.bytes(seed, *rank, object, version),
            Stock::Prepared(share) => {
                let (rank, index) = share.maker(object);
                law.bytes(share.seed, rank, index, version)
            }
            Stock::Listed(found) => found[object as usize].size_bytes,
        }
    }

    /// Number of an object's content; of one that was listed it is not known, nor asked for.
    pub fn content_id(&self, object: u64) -> u64 {
        match self {
            Stock::Own { rank, .. } => object_content_id(*rank, object),
            Stock::Prepared(share) => {
                let (rank, index) = share.maker(object);
                object_content_id(rank, index)
            }
            Stock::Listed(_) => 0,
        }
    }

    /// Name of an object, in the room of `name`.
    pub fn name(&self, object: u64, name: &mut String) {
        match self {
            Stock::Own { rank, .. } => object_name(*rank, object, name),
            Stock::Prepared(share) => {
                let (rank, index) = share.maker(object);
                object_name(rank, index, name);
            }
            Stock::Listed(found) => {
                name.clear();
                name.push_str(&found[object as usize].name);
            }
        }
    }

    /// Name of the folder that an object lies in, in the room of `name`.
    pub fn folder(&self, object: u64, name: &mut String) {
        match self {
            Stock::Own { rank, .. } => folder_name(*rank, name),
            Stock::Prepared(share) => folder_name(share.maker(object).0, name),
            Stock::Listed(_) => {
                self.name(object, name);
                let end = name.rfind('/').unwrap_or(0);
                name.truncate(end);
            }
        }
    }

    /// Gives an object back that is there in this version.
    pub fn put_back(&mut self, object: u64, version: u32) {
        if let Stock::Own { pool, .. } = self {
            pool.put_back(object as u32, version);
        }
    }

    /// Gives one back that is not there any more.
    pub fn removed(&mut self, object: u64) {
        if let Stock::Own { pool, .. } = self {
            pool.removed(object as u32);
        }
    }

    /// Objects that may be there, and those that are.
    pub fn counts(&self) -> [u64; 2] {
        match self {
            Stock::Own { pool, .. } => [pool.all(), pool.live().len() as u64],
            Stock::Prepared(share) => [share.count; 2],
            Stock::Listed(found) => [found.len() as u64; 2],
        }
    }

    /// None is missing.
    pub fn is_full(&self) -> bool {
        match self {
            Stock::Own { pool, .. } => pool.is_full(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// However many ranks read, every object has one reader, where there are enough.
        #[test]
        fn objects_that_were_prepared_are_spread_over_any_number_of_ranks(
            made_by in 1u64..9, objects in 1u64..40, ranks in 1u64..30,
        ) {
            let mut names = Vec::new();
            let mut name = String::new();
            for rank in 0..ranks {
                let stock = Stock::Prepared(Prepared::new((made_by, objects), 1, rank, ranks));
                for object in 0..stock.counts()[1] {
                    stock.name(object, &mut name);
                    names.push(name.clone());
                }
            }
            let distinct: BTreeSet<_> = names.iter().cloned().collect();
            let all = made_by * objects;
            prop_assert_eq!(distinct.len() as u64, all);
            prop_assert_eq!(names.len() as u64, all.max(ranks));
            for name in &distinct {
                let (rank, index) = crate::plan::object_of(name).unwrap();
                prop_assert!(rank < made_by && index < objects);
            }
        }
    }

    #[test]
    fn a_listed_object_has_the_folder_of_its_name() {
        let listed = |name: &str| Listed { name: name.into(), size_bytes: 5 };
        let stock = Stock::Listed(vec![listed("a/b/c"), listed("top")]);
        let mut name = String::new();
        stock.folder(0, &mut name);
        assert_eq!(name, "a/b");
        stock.folder(1, &mut name);
        assert_eq!(name, "");
        stock.name(1, &mut name);
        assert_eq!(name, "top");
    }
}
