//! Uploads that are created while their first parts wait: nobody who opens an object stands still
//! for an answer, and other requests go on.

use super::exchange::Asker;
use super::upload::{Object, Way};
use super::{ObjectStore, calls, xml};
use crate::storage::Handle;
use crate::storage::clock::monotonic_ns;
use std::io::Write;
use std::time::Duration;

/// Longest wait for uploads that are being created when the store is given up.
const LAST_WAIT_NS: u64 = 2_000_000_000;

impl ObjectStore {
    /// Starts a part, or keeps it until its upload is created, which the first part asks for.
    pub(super) fn begin_part(&mut self, handle: Handle, part: usize) {
        let object = self.objects.get(handle).expect("submit has looked");
        if let Some(id) = id_of(object) {
            fill_part(id, self.client.exchange(part));
            return self.client.begin(part);
        }
        // The wait belongs to the time of the part.
        self.client.exchange(part).start_ns = monotonic_ns();
        object.waiting.push(part);
        if object.waiting.len() > 1 {
            return;
        }
        let index = self.client.slot(Asker::Creation(handle), "POST");
        let index = index.expect("there is a slot for an upload of each write");
        let object = self.objects.get(handle).expect("submit has looked");
        let exchange = self.client.exchange(index);
        exchange.path.extend_from_slice(&object.path);
        exchange.query.extend_from_slice(b"uploads=");
        self.client.begin(index);
    }

    /// An upload is created, or cannot be: its parts start, or end.
    pub(super) fn settle_creation(&mut self, index: usize, handle: Handle) {
        let exchange = self.client.exchange(index);
        let status = exchange.answer.status;
        let created = match exchange.failure.take() {
            Some(what) => Err(what),
            None => xml::upload_id(&exchange.answer.text),
        };
        self.client.release(index);
        let object = self.objects.get(handle).expect("close refuses objects in flight");
        let waiting = std::mem::take(&mut object.waiting);
        if let (Way::Parts { id, .. }, Ok(new)) = (&mut object.way, &created) {
            id.clone_from(new);
        }
        for part in waiting {
            let exchange = self.client.exchange(part);
            match &created {
                Ok(id) => {
                    fill_part(id, exchange);
                    self.client.begin(part);
                }
                Err(what) => {
                    exchange.failure = Some(format!("the upload cannot be created: {what}"));
                    exchange.answer.status = status;
                    exchange.end_ns = monotonic_ns();
                    let Asker::Write(handle, tag, number) = exchange.asker else { continue };
                    self.settle(part, "write", handle, tag, Some(number));
                }
            }
        }
    }

    /// Waits a little for uploads that are being created, so that they can be given up: nobody else
    /// would know their ids.
    pub(super) fn end_creations(&mut self) {
        let end_ns = monotonic_ns() + LAST_WAIT_NS;
        while self.objects.any(|object| !object.waiting.is_empty()) && monotonic_ns() < end_ns {
            if self.client.turn(Some(Duration::from_millis(10))).is_err() {
                return;
            }
            self.settle_done();
        }
    }
}

fn id_of(object: &Object) -> Option<&str> {
    match &object.way {
        Way::Parts { id, .. } => Some(id.as_str()).filter(|id| !id.is_empty()),
        _ => None,
    }
}

/// Says which part of which upload a request is.
fn fill_part(id: &str, exchange: &mut super::exchange::Exchange) {
    if let Asker::Write(_, _, number) = exchange.asker {
        write!(exchange.query, "partNumber={number}&").expect("a Vec takes everything");
        calls::upload_query(&mut exchange.query, id);
    }
}
