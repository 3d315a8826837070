//! What a store needs of a client: slots for exchanges, and turns in which these go on. The own
//! client is one ([`super::client`]), any asynchronous library another ([`super::remote`]).

use super::exchange::{Asker, Exchange};
use crate::storage::EndpointFacts;
use std::io;
use std::time::Duration;

/// A client of one I/O thread.
pub(super) trait Carrier: Send {
    /// Its name in results: `s3-raw`, `s3-sdk`.
    fn engine(&self) -> &'static str;
    /// A free slot, made a request of `verb`; None while all are taken.
    fn slot(&mut self, asker: Asker, verb: &'static str) -> Option<usize>;
    /// What is in a slot.
    fn exchange(&mut self, index: usize) -> &mut Exchange;
    /// Gives a slot back.
    fn release(&mut self, index: usize);
    /// `text` without secrets.
    fn hide(&self, text: &str) -> String;
    /// What stands before every path.
    fn base(&self) -> &str;
    /// Starts the exchange in a slot.
    fn begin(&mut self, index: usize);
    /// Drops everything that is on its way: no completion comes any more.
    fn give_up(&mut self);
    /// An exchange that has ended.
    fn next_done(&mut self) -> Option<usize>;
    /// Waits until something happens, or `timeout`, and goes on with it.
    ///
    /// # Errors
    /// The system refuses to wait, or a request was lost.
    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()>;
    /// What each server did.
    fn endpoints(&self) -> Vec<EndpointFacts>;
    /// Attempts beyond the first.
    fn retries(&self) -> u64;
}
