//! Progress of a phase on rank 0: a bar with a live rate on a terminal, plain lines in a batch log.
//!
//! Everything goes to standard error, so that standard output holds results only. Lines come at
//! most every ten seconds, because a batch log of a day should stay readable.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(10);
/// A step may take less than a millisecond: most updates must only read the clock.
const DRAW_EVERY: Duration = Duration::from_millis(200);
const REDRAWS_PER_S: u8 = 5;
const TEMPLATE: &str = "{prefix} [{bar:30}] {pos}/{len} {percent:>3}% {elapsed_precise} {msg}";
const GIB: f64 = (1u64 << 30) as f64;

/// Where progress goes.
enum Sink {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

/// Progress of one phase. Other ranks than 0 make a quiet one.
pub struct Progress {
    kind: String,
    total_units: u64,
    sink: Sink,
    rate: LiveRate,
    start: Instant,
    last_shown: Instant,
    done_units: u64,
}

/// Rate between two updates that are at least this far apart.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The rate of the recent past, from a growing byte count.
struct LiveRate {
    since: Instant,
    bytes: u64,
    gib_per_s: f64,
}

impl LiveRate {
    fn update(&mut self, now: Instant, bytes: u64) -> f64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= RATE_WINDOW {
            let moved = bytes.saturating_sub(self.bytes) as f64 / GIB;
            self.gib_per_s = moved / elapsed.as_secs_f64();
            (self.since, self.bytes) = (now, bytes);
        }
        self.gib_per_s
    }
}

impl Progress {
    /// Starts the display of a phase (`kind`) of `total_units` steps or files; `quiet` shows
    /// nothing.
    pub fn new(kind: &str, total_units: u64, quiet: bool) -> Self {
        let sink = if quiet {
            Sink::Nothing
        } else if io::stderr().is_terminal() {
            Sink::Bar(bar(kind, total_units))
        } else {
            Sink::Lines
        };
        Self::with_sink(kind, total_units, sink, Instant::now())
    }

    fn with_sink(kind: &str, total_units: u64, sink: Sink, start: Instant) -> Self {
        let rate = LiveRate { since: start, bytes: 0, gib_per_s: 0.0 };
        let kind = kind.to_owned();
        Progress { kind, total_units, sink, rate, start, last_shown: start, done_units: 0 }
    }

    /// Shows that `done_units` units and `bytes` bytes are done in all, and `note` (an epoch, say).
    /// Reads the clock and, unless a display is due, does nothing else. Not for I/O threads.
    pub fn update(&mut self, done_units: u64, bytes: u64, note: &str) {
        let now = Instant::now();
        self.done_units = done_units;
        match &self.sink {
            Sink::Nothing => {}
            Sink::Bar(bar) => {
                if now.saturating_duration_since(self.last_shown) < DRAW_EVERY {
                    return;
                }
                self.last_shown = now;
                let gib_per_s = self.rate.update(now, bytes);
                bar.set_message(format!("{gib_per_s:.2} GiB/s {note}"));
                bar.set_position(done_units);
            }
            Sink::Lines => {
                if let Some(line) = self.line(now, bytes, note) {
                    print_line(&line);
                }
            }
        }
    }

    /// The line that is due now, if one is.
    fn line(&mut self, now: Instant, bytes: u64, note: &str) -> Option<String> {
        if now.saturating_duration_since(self.last_shown) < LINE_EVERY {
            return None;
        }
        self.last_shown = now;
        let gib_per_s = self.rate.update(now, bytes);
        let elapsed_s = now.saturating_duration_since(self.start).as_secs();
        let (kind, done, total) = (&self.kind, self.done_units, self.total_units);
        let percent = 100.0 * done as f64 / total.max(1) as f64;
        let line = format!(
            "{kind}: {done}/{total} ({percent:.0} %) after {elapsed_s} s, {gib_per_s:.2} GiB/s"
        );
        Some(if note.is_empty() { line } else { format!("{line}, {note}") })
    }

    /// Ends the display.
    pub fn finish(self) {
        let elapsed_s = self.start.elapsed().as_secs_f64();
        let (kind, done, total) = (&self.kind, self.done_units, self.total_units);
        match &self.sink {
            Sink::Nothing => {}
            Sink::Bar(bar) => bar.finish_and_clear(),
            Sink::Lines => print_line(&format!("{kind}: {done}/{total} done in {elapsed_s:.1} s")),
        }
    }
}

fn bar(kind: &str, total_units: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_S);
    let bar = ProgressBar::with_draw_target(Some(total_units), target);
    let style = ProgressStyle::with_template(TEMPLATE).expect("the template is a valid constant");
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(kind.to_owned());
    bar
}

/// A log that cannot be written must not end the run.
fn print_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_most_every_ten_seconds_with_the_rate_between_them() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut progress = Progress::with_sink("training", 200, Sink::Lines, start);
        progress.done_units = 1;
        assert_eq!(progress.line(at(9), 1 << 30, ""), None);
        progress.done_units = 50;
        let line = progress.line(at(10), 5 << 30, "epoch 1/5").unwrap();
        assert_eq!(line, "training: 50/200 (25 %) after 10 s, 0.50 GiB/s, epoch 1/5");
        assert_eq!(progress.line(at(19), 6 << 30, ""), None);
        progress.done_units = 100;
        let line = progress.line(at(20), 25 << 30, "").unwrap();
        assert_eq!(line, "training: 100/200 (50 %) after 20 s, 2.00 GiB/s");
    }

    #[test]
    fn the_template_draws_and_a_quiet_one_does_not() {
        let sink = Sink::Bar(bar("datagen", 10));
        let mut drawn = Progress::with_sink("datagen", 10, sink, Instant::now());
        drawn.update(5, 1 << 30, "too early");
        drawn.last_shown -= DRAW_EVERY;
        drawn.update(6, 1 << 30, "resumed");
        let Sink::Bar(bar) = &drawn.sink else { unreachable!("made above") };
        assert_eq!(bar.position(), 6);
        assert!(bar.message().ends_with(" GiB/s resumed"), "{}", bar.message());
        drawn.finish();
        let mut quiet = Progress::new("datagen", 0, true);
        quiet.update(0, 0, "");
        quiet.finish();
    }
}
