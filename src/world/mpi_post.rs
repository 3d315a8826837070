//! Words between two ranks beside the collectives: a question, and its answer.
//!
//! Everything that is sent is received before MPI ends: each rank counts what it sent and what it
//! received, and the sum of the differences over all ranks becomes zero.

use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

const QUESTION: i32 = 0x5741;
const ANSWER: i32 = 0x5742;
/// Words on their way from this rank; more questions wait to be answered.
const ON_THE_WAY: usize = 512;

/// A word that MPI still reads.
struct Sending {
    word: Box<u64>,
    request: ffi::MPI_Request,
}

impl Sending {
    fn start(world: &SimpleCommunicator, word: u64, to: u64, tag: i32) -> Sending {
        let word = Box::new(word);
        // SAFETY: the handle is a constant of the library; the word stays where it is, on the heap,
        // until `is_done` says that MPI has read it, see `Drop`.
        let request = unsafe {
            let mut request = ffi::RSMPI_REQUEST_NULL;
            ffi::MPI_Isend(
                (&raw const *word).cast(),
                1,
                u64::equivalent_datatype().as_raw(),
                to as i32,
                tag,
                world.as_raw(),
                &mut request,
            );
            request
        };
        Sending { word, request }
    }

    /// True once MPI has read the word.
    fn is_done(&mut self) -> bool {
        let mut done = 0;
        // SAFETY: the request is that of MPI_Isend, or null after it has ended, which is allowed.
        unsafe {
            ffi::MPI_Test(&mut self.request, &mut done, ffi::RSMPI_STATUS_IGNORE);
        }
        done != 0
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_done() {
            // MPI may still read it.
            Box::leak(std::mem::take(&mut self.word));
        }
    }
}

/// Questions and answers of this rank.
pub struct Post {
    world: SimpleCommunicator,
    sending: Vec<Sending>,
    /// Words sent less words received.
    balance: i64,
}

impl Post {
    /// Between the ranks of the world.
    pub fn new() -> Post {
        Post { world: SimpleCommunicator::world(), sending: Vec::new(), balance: 0 }
    }

    fn send(&mut self, word: u64, to: u64, tag: i32) {
        self.sending.push(Sending::start(&self.world, word, to, tag));
        self.balance += 1;
    }

    /// Asks a rank.
    pub fn ask(&mut self, rank: u64) {
        self.send(0, rank, QUESTION);
    }

    /// Answers what others ask.
    pub fn answer(&mut self, word: u64) {
        self.sending.retain_mut(|sending| !sending.is_done());
        while self.sending.len() < ON_THE_WAY
            && let Some((rank, _)) = self.receive(QUESTION)
        {
            self.send(word, rank, ANSWER);
        }
    }

    /// An answer that has come: the rank and its word.
    pub fn hear(&mut self) -> Option<(u64, u64)> {
        self.receive(ANSWER)
    }

    fn receive(&mut self, tag: i32) -> Option<(u64, u64)> {
        let (message, status) = self.world.any_process().immediate_matched_probe_with_tag(tag)?;
        let (word, _) = message.matched_receive::<u64>();
        self.balance -= 1;
        Some((status.source_rank() as u64, word))
    }

    /// Words that this rank sent less those that it received, and 0 of its own on their way.
    pub fn balance(&mut self) -> [i64; 2] {
        self.sending.retain_mut(|sending| !sending.is_done());
        [self.balance, self.sending.len() as i64]
    }
}
