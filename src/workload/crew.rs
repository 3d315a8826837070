//! The I/O threads of datagen and of the read-back: all have their stores open before the clock
//! starts, and what goes wrong in one is known at once, whatever the others wait for.

use crate::world::IoWait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Stage {
    ready: usize,
    done: usize,
    going: bool,
    failure: Option<String>,
}

/// What the main thread and its I/O threads share.
pub struct Crew {
    threads: usize,
    stage: Mutex<Stage>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Crew {
    /// For `threads` I/O threads.
    pub fn new(threads: usize) -> Crew {
        let (stage, changed) = (Mutex::new(Stage::default()), Condvar::new());
        Crew { threads, stage, changed, stop: AtomicBool::new(false) }
    }

    /// True once one of them failed: the others shall stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What went wrong, once one of them failed and said so.
    pub fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Lets the threads begin, for a main thread that has work of its own before it waits for them.
    pub fn begin(&self) {
        self.change(|stage| stage.going = true);
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("no thread panics while it holds this lock")
    }

    /// Changes the stage and wakes whoever waits for that.
    fn change(&self, how: impl FnOnce(&mut Stage)) {
        how(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `reached` holds; the first failure of a thread ends the wait.
    fn wait(&self, reached: impl Fn(&Stage) -> bool) -> Result<(), String> {
        let (mut stage, mut io) = (self.lock(), IoWait::default());
        loop {
            if let Some(failure) = &stage.failure {
                return Err(failure.clone());
            }
            if reached(&stage) {
                return Ok(());
            }
            let waited = self.changed.wait_timeout(stage, LOOK_EVERY);
            stage = waited.expect("no thread panics while it holds this lock").0;
            io.look((stage.ready + stage.done) as u64)?;
        }
    }

    /// The first failure counts.
    fn fail(&self, message: String) {
        self.stop.store(true, Ordering::SeqCst);
        self.change(|stage| {
            stage.failure.get_or_insert(message);
        });
    }
}

/// Tells the main thread of a panic, where no hook has ended the process.
struct Alarm<'a>(&'a Crew);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("an I/O thread panicked".into());
        }
    }
}

/// Runs the threads of `crew`: each opens its store by `open`, and works with it by `work`, which
/// gets the thread's number, once all are ready and `measured` calls what it is given; that call
/// returns when all are done. On a failure `fail` is called with the message before any thread is
/// waited for, since one may hang in its store; a caller that wants to end the job then does so
/// there.
///
/// # Errors
/// The first failure, if `fail` returned.
pub fn with_crew<S, R: Send, T>(
    crew: &Crew,
    name: &str,
    open: impl Fn() -> Result<S, String> + Sync,
    work: impl Fn(S, usize) -> Result<R, String> + Sync,
    fail: &dyn Fn(&str),
    measured: impl FnOnce(&dyn Fn()) -> T,
) -> Result<(T, Vec<R>), String> {
    let thread = |index| {
        let _alarm = Alarm(crew);
        let outcome = open().and_then(|store| {
            crew.change(|stage| stage.ready += 1);
            crew.wait(|stage| stage.going)?;
            work(store, index)
        });
        match outcome {
            Ok(report) => {
                crew.change(|stage| stage.done += 1);
                Some(report)
            }
            Err(message) => {
                crew.fail(message);
                None
            }
        }
    };
    let told = |outcome: Result<(), String>| outcome.inspect_err(|message| fail(message));
    std::thread::scope(|scope| {
        let mut handles = Vec::with_capacity(crew.threads);
        for index in 0..crew.threads {
            let builder = std::thread::Builder::new().name(format!("{name}-{index}"));
            match builder.spawn_scoped(scope, move || thread(index)) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    crew.fail(format!("cannot start I/O thread {index}: {error}; use fewer"));
                    break;
                }
            }
        }
        told(crew.wait(|stage| stage.ready == crew.threads))?;
        let value = measured(&|| {
            crew.begin();
            // What it returns is looked at below.
            let _ = told(crew.wait(|stage| stage.done == crew.threads));
        });
        let reports = handles.into_iter().filter_map(|handle| handle.join().ok().flatten());
        let reports = reports.collect();
        crew.wait(|_| true).map(|()| (value, reports))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn the_clock_starts_when_all_stores_are_open() {
        let crew = Crew::new(4);
        let (opened, worked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let open = || {
            std::thread::sleep(Duration::from_millis(20));
            Ok(opened.fetch_add(1, Ordering::SeqCst))
        };
        let work = |_, index: usize| {
            worked.fetch_add(1, Ordering::SeqCst);
            Ok(index)
        };
        let measured = |go: &dyn Fn()| {
            let before = (opened.load(Ordering::SeqCst), worked.load(Ordering::SeqCst));
            go();
            (before, worked.load(Ordering::SeqCst))
        };
        let none = |message: &str| panic!("{message}");
        let (seen, reports) = with_crew(&crew, "t", open, work, &none, measured).unwrap();
        assert_eq!(seen, ((4, 0), 4));
        assert_eq!(reports, [0, 1, 2, 3]);
    }

    #[test]
    fn a_failure_is_told_while_another_thread_hangs() {
        let crew = Crew::new(3);
        let released = AtomicBool::new(false);
        let work = |(), index: usize| {
            if index == 1 {
                return Err("broken".to_string());
            }
            while !released.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        };
        // Were the others waited for first, this would never be called.
        let fail = |message: &str| {
            assert_eq!(message, "broken");
            released.store(true, Ordering::SeqCst);
        };
        let outcome = with_crew(&crew, "t", || Ok(()), work, &fail, |go| go());
        assert_eq!(outcome.unwrap_err(), "broken");
        assert!(crew.stopped());
    }

    #[test]
    fn a_store_that_cannot_be_opened_ends_the_wait_for_it() {
        let crew = Crew::new(2);
        let first = AtomicBool::new(true);
        let open = || match first.swap(false, Ordering::SeqCst) {
            true => Err("no ring".to_string()),
            false => Ok(()),
        };
        let measured = |_: &dyn Fn()| panic!("not all are ready");
        let outcome: Result<((), Vec<()>), _> =
            with_crew(&crew, "t", open, |(), _| Ok(()), &|_| {}, measured);
        assert_eq!(outcome.unwrap_err(), "no ring");
    }

    #[test]
    fn a_panic_of_a_thread_is_a_failure() {
        let crew = Crew::new(2);
        let work = |(), index: usize| if index == 0 { panic!("on purpose") } else { Ok(()) };
        let outcome = with_crew(&crew, "t", || Ok(()), work, &|_| {}, |go| go());
        assert_eq!(outcome.unwrap_err(), "an I/O thread panicked");
    }
}
