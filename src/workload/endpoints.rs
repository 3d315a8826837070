//! Before a run: whether every endpoint of the object stores that it uses answers.

use super::session::{Session, checkpoint_root_of};
use crate::config::is_object_root;
use crate::storage::look_at_endpoints;

/// Most endpoints that a message names.
const NAMED_MAX: usize = 3;

/// Looks at the endpoints, which are dealt to the ranks. Collective. An error is rank 0's.
pub(super) fn check(session: &Session<'_>, datagen_only: bool) -> Result<(), String> {
    let world = session.world;
    let mut outcome = Ok(());
    for root in roots(session, datagen_only) {
        let look = look_at_endpoints(&root, session.object(), (world.rank(), world.size()));
        let look = super::run::unanimous(world, look);
        let own: String = look.silent.iter().map(|(url, why)| format!("{url}: {why}\n")).collect();
        let Some(all) = world.gather(own.as_bytes()) else { continue };
        let all = String::from_utf8_lossy(&all.concat()).into_owned();
        let silent: Vec<&str> = all.lines().collect();
        if !look.unused.is_empty() {
            session.note(&format!(
                "note: {} of the {} endpoints of {root} belong to no rank ({}): start {} ranks or \
                 more, or set storage.storage_options.load_balance_strategy=round_robin",
                look.unused.len(),
                look.endpoints,
                named(&look.unused),
                look.endpoints
            ));
        }
        if silent.is_empty() {
            continue;
        }
        let what = format!(
            "{} of the {} endpoints of {root} do not answer: {}",
            silent.len(),
            look.endpoints,
            named(&silent)
        );
        if session.object().require_all_endpoints {
            // The other ranks go on with the next root.
            outcome = outcome.and(Err(format!(
                "{what}; start them or take them out of the list, or set \
                 storage.storage_options.require_all_endpoints=false to go on without them"
            )));
        } else {
            session.note(&format!("note: {what}; the others do their work"));
        }
    }
    outcome
}

/// Roots on object stores that the run uses.
fn roots(session: &Session<'_>, datagen_only: bool) -> Vec<String> {
    let workflow = &session.config.workflow;
    let data = datagen_only || workflow.uses_dataset() || workflow.object;
    let checkpoints = !datagen_only && session.plan.checkpoint.is_some();
    let mut roots = Vec::new();
    roots.extend(data.then(|| session.root.clone()));
    roots.extend(checkpoints.then(|| checkpoint_root_of(session.config)));
    roots.retain(|root| is_object_root(root));
    roots
}

fn named<T: AsRef<str>>(all: &[T]) -> String {
    let first: Vec<&str> = all.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    match more {
        0 => first.join("; "),
        _ => format!("{}; and {more} more", first.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_message_names_three_endpoints_at_most() {
        assert_eq!(named(&["a", "b", "c"]), "a; b; c");
        assert_eq!(named(&["a", "b", "c", "d", "e"]), "a; b; c; and 2 more");
    }
}
