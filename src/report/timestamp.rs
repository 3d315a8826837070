//! Points in time as text, without a calendar crate.
//!
//! `result.json` says `2026-01-31T12:00:00.000001Z`. The `mlperf/` files and the names of run
//! folders have local time without a zone, as those of the reference. Where the system cannot say
//! local time it is UTC.

use crate::host::{LocalTime, local_time};

const NS_PER_S: u64 = 1_000_000_000;

/// ISO 8601 in UTC with microseconds and `Z`; `unix_ns` counts from 1970-01-01.
pub fn iso_utc(unix_ns: u64) -> String {
    iso(utc(unix_ns / NS_PER_S), unix_ns) + "Z"
}

/// ISO 8601 in local time with microseconds and without a zone, as the `mlperf/` files have it.
pub fn iso_local(unix_ns: u64) -> String {
    iso(local(unix_ns), unix_ns)
}

/// `YYYYMMDD_HHMMSS` in local time, as the reference names the folders of runs.
pub fn stamp_local(unix_ns: u64) -> String {
    let LocalTime { year, month, day, hour, minute, second } = local(unix_ns);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

fn local(unix_ns: u64) -> LocalTime {
    let seconds = unix_ns / NS_PER_S;
    local_time(seconds).unwrap_or_else(|| utc(seconds))
}

fn utc(seconds: u64) -> LocalTime {
    let (year, month, day) = date_of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    LocalTime { year, month, day, hour, minute, second }
}

fn iso(time: LocalTime, unix_ns: u64) -> String {
    let LocalTime { year, month, day, hour, minute, second } = time;
    let micros = unix_ns % NS_PER_S / 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// The wall clock now in nanoseconds since 1970-01-01; 0 if it is set before that.
pub fn unix_ns_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Year, month and day of a day since 1970-01-01. Counting through the years is quick enough: a
/// 64-bit count of nanoseconds ends in 2554.
fn date_of(days_since_epoch: u64) -> (u64, u64, u64) {
    let (mut year, mut left) = (1970, days_since_epoch);
    while left >= days_of_year(year) {
        left -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    (year, month, left + 1)
}

fn days_of_year(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    365 + u64::from(is_leap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(iso_utc(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(iso_utc(951_782_400 * NS_PER_S), "2000-02-29T00:00:00.000000Z");
        assert_eq!(iso_utc(1_000_000_000 * NS_PER_S + 1_999), "2001-09-09T01:46:40.000001Z");
        assert_eq!(iso_utc(4_107_542_399 * NS_PER_S), "2100-02-28T23:59:59.000000Z");
        assert_eq!(iso_utc(4_107_542_400 * NS_PER_S), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn local_time_has_the_same_seconds_and_microseconds() {
        let moment = 1_000_000_000 * NS_PER_S + 1_999;
        let (local, utc) = (iso_local(moment), iso_utc(moment));
        assert_eq!(local[17..], utc[17..26], "{local}");
        let digits: String = local.chars().filter(char::is_ascii_digit).take(14).collect();
        assert_eq!(stamp_local(moment).replace('_', ""), digits);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut leap_years = (1970..3000).filter(|year: &u64| match year % 100 {
            0 => year.is_multiple_of(400),
            _ => year.is_multiple_of(4),
        });
        let mut next_leap_year = leap_years.next().unwrap();
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            assert_eq!(date_of(days), (year, month, day), "day {days}");
            let length = match month {
                2 => 28 + u64::from(year == next_leap_year),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
                if year > next_leap_year {
                    next_leap_year = leap_years.next().unwrap();
                }
            }
        }
    }
}
