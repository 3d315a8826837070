//! Sizes that are asked for before their objects are opened, in flight beside everything else.

use super::exchange::Asker;
use super::{ObjectStore, calls};
use crate::storage::StorageError;

/// What is known of a name.
#[derive(Debug, Default)]
enum Known {
    /// Nobody asked; the place is free.
    #[default]
    Nothing,
    Asked,
    /// Status, size, and why there is none.
    Answered(u16, u64, Option<String>),
}

/// Names whose sizes were asked for: as many as there are buffers.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Encoded path and what is known.
    places: Vec<(Vec<u8>, Known)>,
}

impl Ahead {
    /// With room for so many names.
    pub fn new(names: usize) -> Ahead {
        Ahead { places: std::iter::repeat_with(Default::default).take(names).collect() }
    }

    /// A place for another name: a free one, else that of an answer that nobody has come for.
    fn place(&self) -> Option<usize> {
        let of = |is: fn(&Known) -> bool| self.places.iter().position(|(_, known)| is(known));
        let free = of(|known| matches!(known, Known::Nothing));
        free.or_else(|| of(|known| matches!(known, Known::Answered(..))))
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let is = |place: &(Vec<u8>, Known)| place.0 == path && !matches!(place.1, Known::Nothing);
        self.places.iter().position(is)
    }
}

impl ObjectStore {
    /// Asks for the size of a name that will be opened for reading soon.
    pub(super) fn begin_ahead(&mut self, name: &str) {
        // A name that is none is told of when it is opened.
        let Ok(path) = self.key_path("open", name, Vec::new()) else { return };
        if self.trusts_sizes || self.ahead.find(&path).is_some() {
            return;
        }
        let Some(place) = self.ahead.place() else { return };
        let Some(index) = self.client.slot(Asker::Ahead(place), "HEAD") else { return };
        self.client.exchange(index).path.extend_from_slice(&path);
        self.ahead.places[place] = (path, Known::Asked);
        self.client.begin(index);
    }

    /// An answer to that has come.
    pub(super) fn settle_ahead(&mut self, index: usize, place: usize) {
        let exchange = self.client.exchange(index);
        let size_bytes = exchange.answer.content_length.unwrap_or(0);
        let answer = Known::Answered(exchange.answer.status, size_bytes, exchange.failure.take());
        self.ahead.places[place].1 = answer;
        self.client.release(index);
    }

    /// The size of an object that is opened: asked for before, or now. None: it is not there.
    pub(super) fn size_of(&mut self, name: &str, path: &[u8]) -> Result<Option<u64>, StorageError> {
        let Some(place) = self.ahead.find(path) else { return self.head("open", name) };
        loop {
            self.settle_done();
            if let Known::Answered(status, size_bytes, failure) =
                std::mem::replace(&mut self.ahead.places[place].1, Known::Asked)
            {
                self.ahead.places[place].1 = Known::Nothing;
                return match (status, failure) {
                    (404, _) => Ok(None),
                    (_, None) => Ok(Some(size_bytes)),
                    (status, Some(what)) => Err(self.error("open", name, None, status, &what)),
                };
            }
            self.turn(Some(calls::TURN))?;
        }
    }
}
