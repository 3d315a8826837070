//! Which ranks a waiting rank asks whether they are at work, and what it knows of them. It has no
//! clock and no MPI: the caller has both.
//!
//! Only ranks that are still to come are kept, and never more than [`ASKED_AT_ONCE`], so the memory
//! does not grow with the world. Who answered that it has come makes room for the next.

use super::watchdog::Doing;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Ranks of which something is known at one time.
const ASKED_AT_ONCE: usize = 256;
/// A rank that answered is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What a rank says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Meetings of all ranks that it has come to so far.
    pub meetings: u64,
    /// What it does.
    pub doing: Doing,
}

const DOING_BITS: u32 = 8;

impl Answer {
    /// As one word of a message.
    pub fn to_word(self) -> u64 {
        self.meetings << DOING_BITS | self.doing as u64
    }

    /// From that word.
    pub fn from_word(word: u64) -> Answer {
        let doing = Doing::from_number(word & ((1 << DOING_BITS) - 1));
        Answer { meetings: word >> DOING_BITS, doing }
    }
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    rank: u64,
    at: Instant,
    /// No answer has come since.
    is_open: bool,
    last: Option<Answer>,
}

/// The first of some ranks, and how many more they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranks {
    /// The lowest rank.
    pub first: u64,
    /// The others.
    pub more: u64,
}

/// What one rank knows of those that it waits for.
pub struct RollCall {
    ranks: Range<u64>,
    next: u64,
    asked: Vec<Asked>,
    /// All have answered that they have come.
    complete: Option<Instant>,
    round_ended: Option<Instant>,
}

impl RollCall {
    /// A call of these ranks.
    pub fn of(ranks: Range<u64>) -> RollCall {
        let next = ranks.start;
        RollCall { ranks, next, asked: Vec::new(), complete: None, round_ended: None }
    }

    /// A new wait begins. Questions that are still open stay so, but count from now.
    pub fn begin(&mut self, now: Instant) {
        self.asked.retain(|asked| asked.is_open);
        for asked in &mut self.asked {
            (asked.at, asked.last) = (now, None);
        }
        (self.next, self.complete, self.round_ended) = (self.ranks.start, None, None);
    }

    /// Goes on: `ask` is called for every rank that is to be asked now. `meeting` is the number of
    /// the meeting that the others are waited for at; None: they only have to be at work.
    pub fn go_on(&mut self, now: Instant, meeting: Option<u64>, ask: &mut dyn FnMut(u64)) {
        let has_come = |answer: &Answer| meeting.is_none_or(|meeting| answer.meetings >= meeting);
        self.asked.retain(|asked| asked.is_open || !asked.last.as_ref().is_some_and(has_come));
        for asked in self.asked.iter_mut().filter(|asked| !asked.is_open) {
            if now.duration_since(asked.at) >= ASK_AGAIN {
                (asked.at, asked.is_open) = (now, true);
                ask(asked.rank);
            }
        }
        if self.asked.iter().any(|asked| asked.last.is_some()) {
            self.complete = None;
        }
        while self.next < self.ranks.end && self.asked.len() < ASKED_AT_ONCE {
            let rank = self.next;
            if self.asked.iter().all(|asked| asked.rank != rank) {
                self.asked.push(Asked { rank, at: now, is_open: true, last: None });
                ask(rank);
            }
            self.next += 1;
        }
        if self.asked.is_empty() {
            self.complete.get_or_insert(now);
            // One that has come may be stopped afterwards.
            let ended = *self.round_ended.get_or_insert(now);
            if now.duration_since(ended) >= ASK_AGAIN {
                (self.next, self.round_ended) = (self.ranks.start, None);
            }
        }
    }

    /// An answer has come.
    pub fn hear(&mut self, rank: u64, answer: Answer) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.rank == rank) {
            (asked.is_open, asked.last) = (false, Some(answer));
        }
    }

    /// Ranks that have not answered for so long.
    pub fn silent(&self, now: Instant, time: Duration) -> Option<Ranks> {
        let is_silent = |asked: &&Asked| asked.is_open && now.duration_since(asked.at) >= time;
        first_of(self.asked.iter().filter(is_silent).map(|asked| asked.rank))
    }

    /// Ranks that answered, but have not come.
    pub fn late(&self) -> Option<(Ranks, Doing)> {
        let late = || self.asked.iter().filter(|asked| asked.last.is_some());
        let ranks = first_of(late().map(|asked| asked.rank))?;
        let first = late().find(|asked| asked.rank == ranks.first)?;
        first.last.map(|answer| (ranks, answer.doing))
    }

    /// How long it has been known that all have come.
    pub fn complete_for(&self, now: Instant) -> Option<Duration> {
        self.complete.map(|since| now.duration_since(since))
    }
}

fn first_of(ranks: impl Iterator<Item = u64>) -> Option<Ranks> {
    let (mut first, mut count) = (u64::MAX, 0);
    for rank in ranks {
        first = first.min(rank);
        count += 1;
    }
    (count > 0).then(|| Ranks { first, more: count - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(meetings: u64) -> Answer {
        Answer { meetings, doing: Doing::Storage }
    }

    fn asked(call: &mut RollCall, now: Instant, meeting: Option<u64>) -> Vec<u64> {
        let mut ranks = Vec::new();
        call.go_on(now, meeting, &mut |rank| ranks.push(rank));
        ranks
    }

    #[test]
    fn an_answer_is_one_word() {
        for doing in [Doing::Work, Doing::Computation, Doing::Storage, Doing::Command] {
            let answer = Answer { meetings: 1 << 40, doing };
            assert_eq!(Answer::from_word(answer.to_word()), answer);
        }
    }

    #[test]
    fn who_does_not_answer_is_told_from_who_is_late() {
        let start = Instant::now();
        let mut call = RollCall::of(1..5);
        call.begin(start);
        assert_eq!(asked(&mut call, start, Some(7)), [1, 2, 3, 4]);
        call.hear(1, answer(7));
        call.hear(2, answer(6));
        let now = start + SECOND;
        assert_eq!(asked(&mut call, now, Some(7)), [0u64; 0]);
        assert_eq!(call.silent(now, SECOND), Some(Ranks { first: 3, more: 1 }));
        assert_eq!(call.silent(now, 2 * SECOND), None);
        let late = Ranks { first: 2, more: 0 };
        assert_eq!(call.late(), Some((late, Doing::Storage)));
        // Asked again, it still counts as late, and is silent only from then on.
        let now = start + ASK_AGAIN;
        assert_eq!(asked(&mut call, now, Some(7)), [2]);
        assert_eq!(call.late(), Some((late, Doing::Storage)));
        assert_eq!(call.silent(now, SECOND), Some(Ranks { first: 3, more: 1 }));
        for rank in [2, 3, 4] {
            call.hear(rank, answer(7));
        }
        assert_eq!(call.complete_for(now), None);
        asked(&mut call, now, Some(7));
        assert_eq!((call.late(), call.silent(now, Duration::ZERO)), (None, None));
        assert_eq!(call.complete_for(now + SECOND), Some(SECOND));
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_world() {
        let now = Instant::now();
        let ranks = 10 * ASKED_AT_ONCE as u64;
        let mut call = RollCall::of(0..ranks);
        call.begin(now);
        let mut count = 0;
        loop {
            let round = asked(&mut call, now, Some(1));
            assert!(round.len() <= ASKED_AT_ONCE && call.asked.len() <= ASKED_AT_ONCE);
            if round.is_empty() {
                break;
            }
            count += round.len() as u64;
            round.into_iter().for_each(|rank| call.hear(rank, answer(1)));
        }
        assert_eq!(count, ranks);
        assert_eq!(call.complete_for(now), Some(Duration::ZERO));
        // The next round finds one that was stopped after it had come.
        assert_eq!(asked(&mut call, now + ASK_AGAIN, Some(1)).len(), 0);
        let round = asked(&mut call, now + ASK_AGAIN, Some(1));
        round.iter().skip(1).for_each(|rank| call.hear(*rank, answer(1)));
        let later = now + ASK_AGAIN + SECOND;
        assert_eq!(call.silent(later, SECOND), Some(Ranks { first: 0, more: 0 }));
    }

    #[test]
    fn an_open_question_is_not_asked_twice_and_counts_from_the_new_wait() {
        let start = Instant::now();
        let mut call = RollCall::of(1..3);
        call.begin(start);
        assert_eq!(asked(&mut call, start, Some(1)), [1, 2]);
        call.hear(2, answer(1));
        let later = start + 100 * SECOND;
        call.begin(later);
        assert_eq!(asked(&mut call, later, Some(2)), [2]);
        assert_eq!(call.silent(later, SECOND), None);
        assert_eq!(call.silent(later + SECOND, SECOND), Some(Ranks { first: 1, more: 1 }));
    }
}
