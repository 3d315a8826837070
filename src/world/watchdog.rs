//! What happens when a rank does not come: a stopped process, a lost network, a store that hangs.
//!
//! A rank that waits for others asks them, after some seconds, whether they are at work. The
//! questions go beside the collectives, from main thread to main thread, since only that may call
//! MPI; so it also looks for questions where it waits for anything else ([`look`], [`IoWait`]).
//! A rank that answers is well, however late it is: of its own storage it speaks for itself. A rank
//! that does not is named, and ends the job after the stall timeout. Rank 0 asks all ranks. The
//! first rank of each other host, and the second one of the first host, ask rank 0 only, and end
//! the job where it is rank 0 that does not answer.
//!
//! While all is well nothing of this costs anything: the first question is asked after
//! [`ASK_AFTER`] of waiting.

#[cfg(feature = "mpi")]
use super::roll_call::{Answer, Ranks, RollCall};
use super::{LastWords, say};
use std::cell::Cell;
use std::fmt::{Display, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest wait before the first question.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// Longest wait before a line of warning.
const WARN_AFTER: Duration = Duration::from_secs(30);
/// Between two looks for questions and answers.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A rank that did not look for so long was stopped itself, and begins to count anew.
const STOPPED_FOR: Duration = Duration::from_secs(3);

/// The default of `--stall-timeout`, seconds. As long as PyTorch's collectives wait on GPUs, and
/// longer than servers of file systems take to fail over.
pub const STALL_TIMEOUT_S: f64 = 600.0;

static STALL_TIMEOUT_MS: AtomicU64 = AtomicU64::new((STALL_TIMEOUT_S * 1e3) as u64);
/// Operations that I/O threads of this process ended, as far as they were counted.
static IO_OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// Sets after how many seconds a job ends whose ranks wait for one that gives no sign of life, or
/// whose storage does nothing; 0: never.
pub fn set_stall_timeout(seconds: f64) {
    STALL_TIMEOUT_MS.store((seconds * 1e3).ceil() as u64, Ordering::Relaxed);
}

/// Tells how many operations the I/O threads of this process have ended so far.
pub fn count_io(operations: u64) {
    IO_OPERATIONS.store(operations, Ordering::Relaxed);
}

/// What a rank does while others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Something that ends by itself.
    Work,
    /// The sleep of a step.
    Computation,
    /// Waiting for its I/O threads.
    Storage,
    /// Waiting for a command of the user.
    Command,
    /// Waiting for other ranks.
    Ranks,
}

impl Doing {
    const ALL: [Doing; 5] =
        [Doing::Work, Doing::Computation, Doing::Storage, Doing::Command, Doing::Ranks];

    /// The one with this number.
    pub fn from_number(number: u64) -> Doing {
        Doing::ALL.get(number as usize).copied().unwrap_or(Doing::Work)
    }

    #[cfg(feature = "mpi")]
    fn words(self) -> &'static str {
        match self {
            Doing::Work => "it is at work",
            Doing::Computation => "it computes",
            Doing::Storage => "it waits for its storage",
            Doing::Command => "it runs the command of --between",
            Doing::Ranks => "it waits for other ranks",
        }
    }
}

/// Where a run stands, in words of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// A part of the run.
    Part(&'static str),
    /// The end of a step of the training, counted from 1.
    Step {
        /// The step.
        step: u64,
        /// Its epoch.
        epoch: u64,
    },
    /// Something of an epoch.
    Epoch(&'static str, u64),
    /// Something of a checkpoint of the run, by its number.
    Checkpoint(&'static str, u64),
}

impl Display for Milestone {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Milestone::Part(what) => f.write_str(what),
            Milestone::Step { step, epoch } => write!(f, "step {step} of epoch {epoch}"),
            Milestone::Epoch(what, epoch) => write!(f, "{what} of epoch {epoch}"),
            Milestone::Checkpoint(what, number) => write!(f, "{what} of checkpoint {number}"),
        }
    }
}

thread_local! {
    /// Of the main thread; nobody else sets or reads it.
    static PLACE: Cell<Milestone> = const { Cell::new(Milestone::Part("the start of the run")) };
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Tells where the run is from here on. Main thread only.
#[inline]
pub fn set_milestone(place: Milestone) {
    PLACE.set(place);
}

/// Answers other ranks that ask whether this one is at work. Of the main thread, wherever it waits
/// or works for long; does nothing in other threads and in a world of one.
pub fn look(doing: Doing) {
    let now = Instant::now();
    if LOOKED.get().is_none_or(|looked| now.duration_since(looked) >= LOOK_EVERY) {
        LOOKED.set(Some(now));
        #[cfg(feature = "mpi")]
        watching::with(|watch| watch.answer(doing));
        let _ = doing;
    }
}

/// Times that follow from the stall timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    ask_after: Duration,
    warn_after: Duration,
    end_after: Option<Duration>,
}

impl Limits {
    fn now() -> Limits {
        Limits::of(Duration::from_millis(STALL_TIMEOUT_MS.load(Ordering::Relaxed)))
    }

    fn of(timeout: Duration) -> Limits {
        let end_after = Some(timeout).filter(|timeout| !timeout.is_zero());
        let part = |limit: Duration, of| end_after.map_or(limit, |end| limit.min(end / of));
        Limits { ask_after: part(ASK_AFTER, 4), warn_after: part(WARN_AFTER, 2), end_after }
    }
}

/// A clock of one wait, which does not count the time for which this process was stopped itself.
#[derive(Debug, Clone, Copy, Default)]
struct WaitClock {
    begun: Option<Instant>,
    looked: Option<Instant>,
}

impl WaitClock {
    /// The time and how long the wait has lasted; None: too little time has gone since the last
    /// look. True: this process was stopped, and the clock begins anew.
    fn look(&mut self, now: Instant) -> Option<(Duration, bool)> {
        let since = self.looked.map(|looked| now.duration_since(looked));
        if since.is_some_and(|since| since < LOOK_EVERY) {
            return None;
        }
        let stopped = since.is_some_and(|since| since >= STOPPED_FOR);
        if stopped {
            self.begun = Some(now);
        }
        self.looked = Some(now);
        let begun = *self.begun.get_or_insert(now);
        Some((now.duration_since(begun), stopped))
    }
}

/// A wait of the main thread for its I/O threads. In a world of one it has no limit.
#[derive(Debug, Default)]
pub struct IoWait {
    clock: WaitClock,
    seen: Option<u64>,
    warned: bool,
}

impl IoWait {
    /// Looks whether the wait makes progress: `progress` is any number that changes while it does.
    /// To be called many times a second.
    ///
    /// # Errors
    /// One line: for the stall timeout nothing has changed.
    pub fn look(&mut self, progress: u64) -> Result<(), String> {
        look(Doing::Storage);
        let Some((mut waited, _)) = self.clock.look(Instant::now()) else { return Ok(()) };
        let progress = progress.wrapping_add(IO_OPERATIONS.load(Ordering::Relaxed));
        if self.seen != Some(progress) {
            self.clock.begun = self.clock.looked;
            (self.seen, self.warned, waited) = (Some(progress), false, Duration::ZERO);
        }
        let limits = Limits::now();
        if waited < limits.warn_after {
            return Ok(());
        }
        let Some(label) = label() else { return Ok(()) };
        let (seconds, place) = (waited.as_secs(), PLACE.get());
        if !self.warned {
            self.warned = true;
            say(&format!(
                "rankio: note: {label}storage has ended no operation for {seconds} s at {place}"
            ));
        }
        match limits.end_after {
            Some(end) if waited >= end => Err(format!(
                "storage has ended no operation for {seconds} s at {place}; look at the store and \
                 its network, or give a longer --stall-timeout (0: none)"
            )),
            _ => Ok(()),
        }
    }
}

impl IoWait {
    /// The same where an error cannot be returned: it ends the job.
    pub fn look_or_end(&mut self, progress: u64) {
        if let Err(message) = self.look(progress) {
            let label = label().unwrap_or_default();
            LastWords { label, solo: false }.fail(&message);
        }
    }
}

/// This rank as messages name it; None in a world of one, which has no watchdog.
#[cfg(feature = "mpi")]
fn label() -> Option<String> {
    watching::with(|watch| watch.label.clone())
}

#[cfg(not(feature = "mpi"))]
fn label() -> Option<String> {
    None
}

#[cfg(feature = "mpi")]
pub use watching::{Host, Wait, close, start};

#[cfg(feature = "mpi")]
mod watching {
    use super::super::mpi_post::Post;
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
        /// Meetings of all ranks that this one has come to.
        static MEETINGS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn with<T>(act: impl FnOnce(&mut Watch) -> T) -> Option<T> {
        WATCH.with_borrow_mut(|watch| watch.as_mut().map(act))
    }

    /// Ranks from `first` on, up to those of the next entry, are on the host of that name.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Host {
        /// Its first rank in a row.
        pub first: u64,
        /// Its name.
        pub name: std::rc::Rc<str>,
    }

    /// What a rank has that asks others.
    struct Asker {
        call: RollCall,
        /// Lets ranks speak first that know more; none on rank 0, which asks all.
        grace: Duration,
        /// Says lines of warning.
        warns: bool,
        /// No line about a rank that is only late before a wait of this.
        next_late: Duration,
    }

    /// The watchdog of this rank.
    pub(super) struct Watch {
        pub(super) label: String,
        post: Post,
        asker: Option<Asker>,
        hosts: Vec<Host>,
    }

    /// Begins to watch. `place` is this rank, its host and its place on it; `hosts` names those
    /// of all ranks, on ranks other than 0 at least that of rank 0.
    pub fn start(label: String, [rank, ranks, host, on_host]: [u64; 4], hosts: Vec<Host>) {
        let asker = |asked, grace, warns| {
            let (call, next_late) = (RollCall::of(asked), Duration::ZERO);
            Some(Asker { call, grace, warns, next_late })
        };
        let asker = match (rank, host, on_host) {
            (0, ..) => asker(1..ranks, Duration::ZERO, true),
            (_, 0, 1) => asker(0..1, Duration::from_secs(1), true),
            // One after the other, so that one of them speaks.
            (_, host, 0) => {
                let turn = Duration::from_millis(50) * host.min(1000) as u32;
                asker(0..1, Duration::from_secs(2) + turn, host == 1)
            }
            _ => None,
        };
        WATCH.set(Some(Watch { label, post: Post::new(), asker, hosts }));
    }

    /// Ends the watch once every word that was sent has been received; `sum` adds numbers of all
    /// ranks. Collective.
    pub fn close(sum: &dyn Fn(&mut [i64])) {
        let Some(mut watch) = WATCH.take() else { return };
        loop {
            watch.answer(Doing::Work);
            while watch.post.hear().is_some() {}
            let mut open = watch.post.balance();
            sum(&mut open);
            if open == [0, 0] {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A wait of this rank for others.
    pub struct Wait {
        clock: WaitClock,
        meeting: Option<u64>,
        called: bool,
        warned: bool,
    }

    impl Wait {
        /// At a meeting of all ranks of the world, to which this one comes now.
        pub fn meeting() -> Wait {
            let meeting = MEETINGS.get() + 1;
            MEETINGS.set(meeting);
            Wait { meeting: Some(meeting), ..Wait::circle() }
        }

        /// For some ranks.
        pub fn circle() -> Wait {
            Wait { clock: WaitClock::default(), meeting: None, called: false, warned: false }
        }

        /// Looks after the others. To be called many times a second, but not before the wait has
        /// lasted for some time.
        pub fn look(&mut self) {
            let now = Instant::now();
            let Some((waited, stopped)) = self.clock.look(now) else { return };
            self.called &= !stopped;
            with(|watch| {
                watch.answer(Doing::Ranks);
                watch.look_after(self, now, waited);
            });
        }
    }

    impl Watch {
        pub(super) fn answer(&mut self, doing: Doing) {
            let answer = Answer { meetings: MEETINGS.get(), doing };
            self.post.answer(answer.to_word());
        }

        fn look_after(&mut self, wait: &mut Wait, now: Instant, waited: Duration) {
            let Some(asker) = &mut self.asker else { return };
            let waited = waited.saturating_sub(asker.grace);
            let limits = Limits::now();
            if waited < limits.ask_after {
                return;
            }
            if !wait.called {
                wait.called = true;
                asker.call.begin(now);
            }
            while let Some((rank, word)) = self.post.hear() {
                asker.call.hear(rank, Answer::from_word(word));
            }
            let post = &mut self.post;
            asker.call.go_on(now, wait.meeting, &mut |rank| post.ask(rank));
            if waited >= limits.warn_after {
                self.warn(wait, now, waited, limits);
            }
            if let Some(end) = limits.end_after.filter(|end| waited >= *end) {
                self.end(wait, now, end, limits);
            }
        }

        fn warn(&mut self, wait: &mut Wait, now: Instant, waited: Duration, limits: Limits) {
            let Some(asker) = self.asker.as_mut().filter(|asker| asker.warns) else { return };
            let silent = asker.call.silent(now, limits.warn_after - limits.ask_after);
            if let Some(silent) = silent.filter(|_| !wait.warned) {
                wait.warned = true;
                self.say_late(silent, waited, "(no sign of life)");
                return;
            }
            let late = asker.call.late().filter(|_| silent.is_none() && waited >= asker.next_late);
            if let Some((late, doing)) = late {
                // A slow rank is no fault: fewer and fewer lines about it.
                asker.next_late = 2 * waited;
                self.say_late(late, waited, &format!("({})", doing.words()));
            }
        }

        fn say_late(&self, ranks: Ranks, waited: Duration, how: &str) {
            let (who, seconds, place) = (self.name(ranks), waited.as_secs(), PLACE.get());
            let have = if ranks.more == 0 { "has" } else { "have" };
            say(&format!("rankio: note: {who} {have} not come to {place} for {seconds} s {how}"));
        }

        fn end(&self, wait: &Wait, now: Instant, end: Duration, limits: Limits) {
            let Some(asker) = &self.asker else { return };
            let (seconds, place) = (end.as_secs(), PLACE.get());
            let remedy = "or give a longer --stall-timeout (0: none)";
            if let Some(silent) = asker.call.silent(now, end - limits.ask_after) {
                let words = LastWords { label: format!("{}: ", self.name(silent)), solo: false };
                words.fail(&format!(
                    "no sign of life for {seconds} s, while others wait at {place}; look for a \
                     stopped process, a lost host or network, {remedy}"
                ));
            }
            // Only rank 0 knows of all.
            let knows = wait.meeting.is_some() && asker.grace.is_zero();
            let complete = asker.call.complete_for(now).filter(|_| knows);
            if complete.is_some_and(|complete| complete >= end) {
                let words = LastWords { label: self.label.clone(), solo: false };
                words.fail(&format!(
                    "all ranks have come to {place} and answer, but MPI has not ended it for \
                     {seconds} s; look at the network between the hosts, {remedy}"
                ));
            }
        }

        /// `rank 3 (node7)`, or more of them.
        fn name(&self, ranks: Ranks) -> String {
            let after = self.hosts.partition_point(|host| host.first <= ranks.first);
            let host = after.checked_sub(1).map_or("", |index| &*self.hosts[index].name);
            let one = format!("rank {} ({host})", ranks.first);
            if ranks.more == 0 { one } else { format!("{one} and {} more", ranks.more) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_limits_follow_from_the_stall_timeout() {
        let limits = |seconds: u64| {
            let limits = Limits::of(SECOND * seconds as u32);
            let whole = |time: Duration| time.as_secs();
            (whole(limits.ask_after), whole(limits.warn_after), limits.end_after.map(whole))
        };
        assert_eq!(limits(STALL_TIMEOUT_S as u64), (10, 30, Some(600)));
        assert_eq!(limits(8), (2, 4, Some(8)));
        assert_eq!(limits(0), (10, 30, None));
    }

    #[test]
    fn places_are_told_as_users_know_them() {
        let told = |place: Milestone| place.to_string();
        assert_eq!(told(Milestone::Step { step: 12, epoch: 2 }), "step 12 of epoch 2");
        assert_eq!(told(Milestone::Checkpoint("the commit", 3)), "the commit of checkpoint 3");
        assert_eq!(told(Milestone::Part("the end of datagen")), "the end of datagen");
    }

    #[test]
    fn a_process_that_was_stopped_begins_to_count_anew() {
        let start = Instant::now();
        let mut clock = WaitClock::default();
        assert_eq!(clock.look(start), Some((Duration::ZERO, false)));
        assert_eq!(clock.look(start + LOOK_EVERY / 2), None);
        assert_eq!(clock.look(start + SECOND), Some((SECOND, false)));
        let resumed = start + 1000 * SECOND;
        assert_eq!(clock.look(resumed), Some((Duration::ZERO, true)));
        assert_eq!(clock.look(resumed + SECOND), Some((SECOND, false)));
    }

    #[test]
    fn a_world_of_one_waits_for_its_storage_without_a_limit() {
        let long_ago = Instant::now().checked_sub(SECOND / 2);
        let clock = WaitClock { begun: long_ago, looked: long_ago };
        let mut wait = IoWait { clock, seen: Some(0), warned: false };
        assert_eq!(wait.look(0), Ok(()));
        assert!(!wait.warned);
    }
}
