//! Names in the root of checkpoints: `NAME` is a checkpoint, `NAME.TOKEN.STATE` one on its way in
//! or out or, on an object store, the files of one. The token is the run's, so no two runs ever
//! write under one name.

use super::manifest::{FILES, MANIFEST};

const TOKEN_DIGITS: usize = 16;

/// What is happening to a checkpoint that has a token behind its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being written: never whole.
    Partial,
    /// The old one of this name, while the new one takes its place.
    Replaced,
    /// Being removed.
    Removed,
    /// The files of the checkpoint if its manifest says so, else of none.
    Version,
}

const STATES: [(State, &str); 4] = [
    (State::Partial, "partial"),
    (State::Replaced, "replaced"),
    (State::Removed, "removed"),
    (State::Version, "version"),
];

/// Name of the checkpoint `name` in `state` of the run with `token`.
pub fn on_the_way(name: &str, token: &str, state: State) -> String {
    let word = STATES.iter().find(|(known, _)| *known == state).map_or("", |(_, word)| word);
    format!("{name}.{token}.{word}")
}

/// The checkpoint behind a name of [`on_the_way`], and its state.
pub fn parse(folder: &str) -> Option<(&str, State)> {
    let (front, word) = folder.rsplit_once('.')?;
    let state = STATES.iter().find(|(_, known)| *known == word)?.0;
    let (name, token) = front.rsplit_once('.')?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (token.len() == TOKEN_DIGITS && token.bytes().all(is_hex)).then_some((name, state))
}

/// True for a name in the folder of a checkpoint that rankio gives.
pub fn is_ours(name: &str) -> bool {
    [MANIFEST, FILES].contains(&name) || name.contains("_states")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::partials::token;

    #[test]
    fn a_name_on_its_way_is_taken_apart_again() {
        for (state, _) in STATES {
            let folder = on_the_way("global_epoch1_step7", &token(0xab), state);
            assert_eq!(parse(&folder), Some(("global_epoch1_step7", state)), "{folder}");
        }
        for other in ["global_epoch1_step7", "a.partial", "a.xyz.partial", "a.00.removed", "x"] {
            assert_eq!(parse(other), None, "{other}");
        }
        let kept = format!("a.{}.kept", token(1));
        assert_eq!(parse(&kept), None);
    }
}
