//! The wall clock as this host's users read it.

/// A point in time in this host's zone, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Year of our era.
    pub year: u64,
    /// From 1.
    pub month: u64,
    /// From 1.
    pub day: u64,
    /// From 0.
    pub hour: u64,
    /// From 0.
    pub minute: u64,
    /// From 0.
    pub second: u64,
}

/// The local time `unix_s` seconds after 1970-01-01 UTC, by `TZ` or the host's setting; None where
/// the system cannot say it.
pub fn local_time(unix_s: u64) -> Option<LocalTime> {
    let seconds = libc::time_t::try_from(unix_s).ok()?;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, and the second is filled where it succeeds.
    let parts = unsafe {
        if libc::localtime_r(&seconds, parts.as_mut_ptr()).is_null() {
            return None;
        }
        parts.assume_init()
    };
    let part = |value: libc::c_int| u64::try_from(value).ok();
    Some(LocalTime {
        year: part(parts.tm_year + 1900)?,
        month: part(parts.tm_mon + 1)?,
        day: part(parts.tm_mday)?,
        hour: part(parts.tm_hour)?,
        minute: part(parts.tm_min)?,
        second: part(parts.tm_sec)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_less_than_a_day_from_utc() {
        // 2001-09-09, 01:46:40 in Greenwich.
        let time = local_time(1_000_000_000).unwrap();
        assert_eq!((time.year, time.month, time.second), (2001, 9, 40));
        assert!((8..=9).contains(&time.day), "{time:?}");
        assert_eq!(local_time(u64::MAX), None);
    }
}
