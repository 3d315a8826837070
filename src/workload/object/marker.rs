//! Whose objects lie below a root: the marker that proves that they are ours, and names them all.

use super::super::claim::Claim;
use super::super::clean::Cleaned;
use super::super::session::{Session, content_settings, local_path};
use super::super::small::{self, connect_small_by};
use super::stock::Prepared;
use crate::config::{Config, ObjectOptions};
use crate::plan::{OBJECT_FOLDER, folder_name, object_name, object_of};
use crate::storage::{PAGE_NAMES, Storage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the marker in the root.
pub(in super::super) const MARKER: &str = ".rankio-objects.json";
const SCHEMA: u32 = 1;
/// Behind the name of a file that is being written.
pub(super) const PARTIAL: &str = ".partial";

/// What the marker says: objects 0 to `objects` of ranks 0 to `ranks` may be there, and nothing
/// else of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    schema: u32,
    created_by: String,
    run: String,
    ranks: u64,
    objects: u64,
    /// Every one of them is there, as it was first put.
    #[serde(default)]
    filled: bool,
    #[serde(default)]
    seed: u64,
    /// The settings that sizes and content follow from, beside the seed.
    #[serde(default)]
    made_by: BTreeMap<String, String>,
}

/// See [`Marker::made_by`].
fn made_by(config: &Config) -> BTreeMap<String, String> {
    let (object, content) = (&config.object, content_settings(config));
    let sizes = serde_json::to_string(&object.sizes).expect("sizes are plain data");
    let pairs = [
        ("object.size", object.size.to_string()),
        ("object.size_stdev", object.size_stdev.to_string()),
        ("object.size_max", object.size_max.to_string()),
        ("object.sizes", sizes),
        ("dataset.seed", content.seed.to_string()),
        ("dataset.pattern", if content.pcg { "pcg" } else { "pool" }.into()),
        ("dataset.compress_ratio", content.compress_ratio.to_string()),
        ("dataset.dedup_ratio", content.dedup_ratio.to_string()),
    ];
    pairs.map(|(key, value)| (key.to_string(), value)).into()
}

impl Marker {
    /// Whether `name` is that of one of its objects.
    fn names(&self, name: &str) -> bool {
        object_of(name).is_some_and(|(rank, index)| rank < self.ranks && index < self.objects)
    }

    fn write(&self, store: &mut dyn Storage) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).expect("a marker is plain data");
        small::write_text(store, MARKER, text.as_bytes())
    }

    /// Whether its objects are those of `config`, and all there.
    fn check_prepared(&self, config: &Config) -> Result<(), String> {
        if !self.filled {
            return Err(format!(
                "run {} changed its objects or did not make them all; read them with \
                 object.source: list, or make them again (`rankio datagen`, --overwrite)",
                self.run
            ));
        }
        let wanted = made_by(config);
        let other = wanted.iter().find(|(key, value)| self.made_by.get(*key) != Some(*value));
        let Some((key, value)) = other else { return Ok(()) };
        let found = self.made_by.get(key).map_or("unknown", String::as_str);
        Err(format!(
            "was prepared with {key} {found}, and this run has {value}; give the same, or make it \
             again (`rankio datagen`, --overwrite)"
        ))
    }

    /// Reads that of a root; None where there is none.
    fn read(store: &mut dyn Storage, root: &str) -> Result<Option<Marker>, String> {
        let text = small::read_text(store, MARKER).map_err(|error| format!("{root}: {error}"))?;
        let Some(text) = text else { return Ok(None) };
        let marker: Marker = serde_json::from_str(&text)
            .map_err(|error| format!("{root}/{MARKER}: cannot be read ({error})"))?;
        if marker.created_by != "rankio" || marker.schema != SCHEMA {
            return Err(format!(
                "{root}/{MARKER}: was not written by this version of rankio; nothing was touched"
            ));
        }
        Ok(Some(marker))
    }
}

/// Looks at the root, removes what another run left if that was asked for, and marks it. On rank 0.
pub(super) fn prepare(
    session: &Session<'_>,
    overwrite: bool,
    run_id: &str,
) -> Result<Option<Claim>, String> {
    let root = &session.root;
    let path = session.data_path.as_deref();
    if let Some(path) = path {
        crate::host::check_data_path(path)?;
    }
    let claim = path.map(|path| Claim::take(path, "object", run_id)).transpose()?;
    let mut store = connect_small_by(root, session.object())?;
    match Marker::read(store.as_mut(), root)? {
        Some(marker) if !overwrite => {
            return Err(format!(
                "{root}: holds the objects of run {}; read them (object.source: prepared), remove \
                 them (`rankio clean`), give another --data-dir, or --overwrite",
                marker.run
            ));
        }
        Some(marker) => {
            remove_all(store.as_mut(), (root, path.is_some()), &marker, false)?;
        }
        None => refuse_foreign(store.as_mut(), root)?,
    }
    let marker = Marker {
        schema: SCHEMA,
        created_by: "rankio".into(),
        run: run_id.into(),
        ranks: session.world.size(),
        objects: session.config.object.objects,
        filled: false,
        seed: session.config.object.seed,
        made_by: made_by(session.config),
    };
    marker.write(store.as_mut())?;
    Ok(claim)
}

/// Says that every object is there as it was first put, so that a later run may read them. On
/// rank 0, after all ranks.
pub(super) fn set_filled(session: &Session<'_>) -> Result<(), String> {
    let mut store = connect_small_by(&session.root, session.object())?;
    let gone = || format!("{}/{MARKER}: is gone; something else removed it", session.root);
    let marker = Marker::read(store.as_mut(), &session.root)?.ok_or_else(gone)?;
    Marker { filled: true, ..marker }.write(store.as_mut())
}

/// This rank's share of the objects that an earlier run prepared: rank 0 reads what they are.
/// Collective; an error is this rank's own.
pub(super) fn find_prepared(session: &Session<'_>) -> Result<Prepared, String> {
    let (world, root) = (session.world, &session.root);
    let mut text = Vec::new();
    if world.is_root() {
        let mut store = connect_small_by(root, session.object())?;
        let marker = Marker::read(store.as_mut(), root)?;
        let marker = marker.ok_or_else(|| {
            format!(
                "{root}: no {MARKER} there, so nothing was prepared; run `rankio datagen` with \
                 this file first, or give object.source: list"
            )
        })?;
        marker.check_prepared(session.config).map_err(|what| format!("{root}: {what}"))?;
        text = serde_json::to_vec(&marker).expect("a marker is plain data");
    }
    let marker: Marker = serde_json::from_slice(&world.broadcast(text))
        .map_err(|error| format!("rank 0 sent no marker: {error}"))?;
    let made = (marker.ranks, marker.objects);
    Ok(Prepared::new(made, marker.seed, world.rank(), world.size()))
}

fn refuse_foreign(store: &mut dyn Storage, root: &str) -> Result<(), String> {
    let foreign = small::any_object(store, OBJECT_FOLDER, &|_| true)?;
    match foreign {
        None => Ok(()),
        Some(name) => Err(format!(
            "{root}: holds {name}, which rankio did not make; give another \
             --data-dir"
        )),
    }
}

/// Removes these objects of this rank at the end of a run.
pub(super) fn remove_own(session: &Session<'_>, objects: &[u32]) -> Result<(), String> {
    let mut store = connect_small_by(&session.root, session.object())?;
    let rank = session.world.rank();
    let mut names: Vec<String> = Vec::with_capacity(PAGE_NAMES);
    for page in objects.chunks(PAGE_NAMES) {
        names.clear();
        for object in page {
            let mut name = String::new();
            object_name(rank, u64::from(*object), &mut name);
            names.push(name);
        }
        store.remove_many(&names).map_err(|error| error.to_string())?;
    }
    remove_folder_of(store.as_mut(), rank);
    Ok(())
}

/// A folder that holds something else stays.
fn remove_folder_of(store: &mut dyn Storage, rank: u64) {
    let mut folder = String::new();
    folder_name(rank, &mut folder);
    let _ = store.remove_folder(&folder);
}

/// The end of that: the marker goes last. On rank 0.
pub(super) fn remove_marker(session: &Session<'_>) -> Result<(), String> {
    let mut store = connect_small_by(&session.root, session.object())?;
    let _ = store.remove_folder(OBJECT_FOLDER);
    store.remove(MARKER).map_err(|error| error.to_string())
}

/// `rankio clean` of objects; None where there are none of ours.
pub(in super::super) fn clean(
    root: &str,
    object: &ObjectOptions,
    dry_run: bool,
) -> Result<Option<Cleaned>, String> {
    let mut store = connect_small_by(root, object)?;
    let path = local_path(root);
    if Marker::read(store.as_mut(), root)?.is_none() {
        return Ok(None);
    }
    let claim = path.as_deref().filter(|_| !dry_run);
    let _claim = claim.map(|path| Claim::take(path, "clean", "")).transpose()?;
    // Meanwhile it may have become another one.
    let Some(marker) = Marker::read(store.as_mut(), root)? else { return Ok(None) };
    remove_all(store.as_mut(), (root, path.is_some()), &marker, dry_run).map(Some)
}

/// Removes, or counts, every object that `marker` names and then the marker.
fn remove_all(
    store: &mut dyn Storage,
    (root, is_folder): (&str, bool),
    marker: &Marker,
    dry_run: bool,
) -> Result<Cleaned, String> {
    let text_of = |error: crate::storage::StorageError| error.to_string();
    let mut cleaned = Cleaned::new();
    let mut waiting: Vec<String> = Vec::with_capacity(PAGE_NAMES);
    let mut name = String::new();
    for rank in 0..marker.ranks {
        for index in 0..marker.objects {
            object_name(rank, index, &mut name);
            let partial = is_folder.then(|| format!("{name}{PARTIAL}"));
            for name in std::iter::once(name.clone()).chain(partial) {
                if let Some(stat) = store.stat(&name).map_err(text_of)? {
                    cleaned.files += 1;
                    cleaned.bytes += stat.size_bytes;
                    waiting.push(name);
                }
            }
            if waiting.len() + 2 > PAGE_NAMES && !dry_run {
                store.remove_many(&waiting).map_err(text_of)?;
                waiting.clear();
            }
        }
        if dry_run {
            waiting.clear();
            continue;
        }
        store.remove_many(&waiting).map_err(text_of)?;
        waiting.clear();
        remove_folder_of(store, rank);
    }
    if !dry_run {
        if !is_folder {
            cleaned.give_up_uploads(store, root, &|name| marker.names(name))?;
        }
        let _ = store.remove_folder(OBJECT_FOLDER);
        store.remove(MARKER).map_err(text_of)?;
    }
    Ok(cleaned)
}
