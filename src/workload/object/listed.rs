//! Objects of others below a root: names of a bounded listing, dealt to the ranks, and their sizes.
//! Nothing is written and nothing removed.

use super::super::session::Session;
use super::super::small::connect_small_by;
use super::stock::{Listed, Stock};
use crate::storage::{Completion, NamedOp, PAGE_NAMES, Storage, StoreSpec};

/// Folders that wait to be listed; others beside them are left out.
const FOLDERS_MAX: usize = 1 << 16;
/// What rankio leaves beside its own data.
const MARKERS: &str = ".rankio";

/// Finds up to `most` objects for each rank. Rank 0 lists, and tells the others page by page.
/// Collective; an error is this rank's own.
pub(super) fn find(session: &Session<'_>, spec: &StoreSpec, most: u64) -> Result<Stock, String> {
    let world = session.world;
    let mut share = Share { rank: world.rank(), ranks: world.size(), ..Share::default() };
    if world.is_root() {
        let mut store = connect_small_by(&session.root, session.object())?;
        let most = most.saturating_mul(world.size());
        walk(store.as_mut(), most, &mut |page| {
            let text = serde_json::to_vec(page).expect("names are plain data");
            world.broadcast(text);
            share.take(page);
        })?;
        world.broadcast(b"[]".to_vec());
    } else {
        loop {
            let text = world.broadcast(Vec::new());
            let page: Vec<String> = serde_json::from_slice(&text)
                .map_err(|error| format!("rank 0 sent no names: {error}"))?;
            if page.is_empty() {
                break;
            }
            share.take(&page);
        }
    }
    let names = share.names();
    if names.is_empty() {
        return Err(format!("{}: holds no objects to read; check --data-dir", session.root));
    }
    let found = sizes(spec, names)?;
    if found.is_empty() {
        return Err(format!("{}: every object of this rank is empty", session.root));
    }
    Ok(Stock::Listed(found))
}

/// The names of a rank: every `ranks`th.
#[derive(Debug, Default)]
struct Share {
    rank: u64,
    ranks: u64,
    seen: u64,
    own: Vec<String>,
    /// The first of all, for a rank that gets none.
    first: Option<String>,
}

impl Share {
    fn take(&mut self, page: &[String]) {
        for name in page {
            if self.seen % self.ranks == self.rank {
                self.own.push(name.clone());
            }
            self.first.get_or_insert_with(|| name.clone());
            self.seen += 1;
        }
    }

    fn names(self) -> Vec<String> {
        if self.own.is_empty() { self.first.into_iter().collect() } else { self.own }
    }
}

/// Hands up to `most` names to `visit`, a page at a time: those of a folder before those below it.
fn walk(
    store: &mut dyn Storage,
    most: u64,
    visit: &mut dyn FnMut(&[String]),
) -> Result<(), String> {
    let (mut folders, mut page, mut left) = (vec![String::new()], Vec::new(), most);
    while let Some(folder) = folders.pop().filter(|_| left > 0) {
        let waiting = folders.len();
        let mut below = Vec::new();
        let mut each = |name: &str, is_folder: bool| {
            let whole = match folder.as_str() {
                "" => name.to_string(),
                folder => format!("{folder}/{name}"),
            };
            if is_folder {
                below.extend((waiting + below.len() < FOLDERS_MAX).then_some(whole));
            } else if !name.starts_with(MARKERS) {
                page.push(whole);
                left -= 1;
            }
            if page.len() == PAGE_NAMES {
                visit(&page);
                page.clear();
            }
            left > 0
        };
        store.list_until(&folder, &mut each).map_err(|error| error.to_string())?;
        folders.extend(below.into_iter().rev());
    }
    if !page.is_empty() {
        visit(&page);
    }
    Ok(())
}

/// Asks for the sizes of `names`, as many at a time as there are operations in flight. Empty
/// objects are left out.
fn sizes(spec: &StoreSpec, names: Vec<String>) -> Result<Vec<Listed>, String> {
    let text_of = |error: crate::storage::StorageError| error.to_string();
    let store = crate::storage::connect(spec).map_err(text_of)?;
    let mut store = crate::workload::housekeeping::counted(store);
    let room = store.queue_depth();
    let mut bytes = vec![0; names.len()];
    let mut ended: Vec<Completion> = Vec::with_capacity(2 * room);
    let (mut begun, mut done) = (0, 0);
    while done < names.len() {
        while begun < names.len() && begun - done < room {
            let sent = store.submit_named(NamedOp::Head, &names[begun], begun as u64);
            sent.map_err(text_of)?;
            begun += 1;
        }
        store.reap(1, None, &mut ended).map_err(text_of)?;
        for completion in ended.drain(..) {
            if let Some(error) = completion.error {
                return Err(error.to_string());
            }
            bytes[completion.tag as usize] = completion.bytes as u64;
            done += 1;
        }
    }
    let listed = names.into_iter().zip(bytes).filter(|(_, bytes)| *bytes > 0);
    Ok(listed.map(|(name, size_bytes)| Listed { name: name.into(), size_bytes }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_page_are_dealt_in_turn_and_nobody_goes_without() {
        let names = |rank, count: usize| {
            let mut share = Share { rank, ranks: 3, ..Share::default() };
            let all: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            all.chunks(2).for_each(|page| share.take(page));
            share.names()
        };
        assert_eq!(names(1, 7), ["1", "4"]);
        assert_eq!(names(0, 7), ["0", "3", "6"]);
        assert_eq!(names(2, 1), ["0"]);
        assert_eq!(names(2, 0), Vec::<String>::new());
    }

    #[test]
    fn a_walk_is_bounded_and_leaves_markers_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/x", "a/b/y", "c/z", "top", ".rankio-objects.json"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let root = folder.path().to_str().unwrap();
        let mut store = connect_small_by(root, &Default::default()).unwrap();
        let mut found = |most| {
            let mut names = Vec::new();
            walk(store.as_mut(), most, &mut |page| names.extend_from_slice(page)).unwrap();
            names.sort();
            names
        };
        assert_eq!(found(100), ["a/b/y", "a/x", "c/z", "top"]);
        assert_eq!(found(2).len(), 2);
    }
}
